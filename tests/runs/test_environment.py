"""Which commit the program comes from, in a checkout, in a copy, and as pip has installed it."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.repository import REPOSITORY
from text2sql.runs import environment
from text2sql.runs.environment import describe_source, git_commit

GIT = ["git", "-c", "user.name=N", "-c", "user.email=n@example.org"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place where the program is, with nothing noted of an installation."""
    (tmp_path / "place" / "text2sql").mkdir(parents=True)
    monkeypatch.setattr(environment, "_PACKAGE", tmp_path / "place" / "text2sql")
    monkeypatch.setattr(environment.metadata, "distribution", lambda name: SimpleNamespace(read_text=lambda file: None))
    return tmp_path / "place" / "text2sql"


def commit(directory: Path) -> str:
    subprocess.run(["git", "init", "-q", directory], check=True)
    (directory / "file").write_text("1")
    subprocess.run([*GIT, "-C", directory, "add", "file"], check=True)
    subprocess.run([*GIT, "-C", directory, "commit", "-qm", "one"], check=True)
    shown = subprocess.run(["git", "-C", directory, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return shown.stdout.strip()


def test_a_checkout_says_its_commit_and_whether_it_was_changed(package: Path) -> None:
    whole = commit(package.parent)
    found = git_commit()
    assert found and whole.startswith(found) and describe_source() == found
    (package.parent / "file").write_text("2")
    assert git_commit() == f"{found}-dirty"


def test_a_checkout_without_a_commit_says_what_git_says(package: Path) -> None:
    subprocess.run(["git", "init", "-q", package.parent], check=True)
    assert git_commit() is None
    assert "not known: git gives none" in describe_source() and "fatal" in describe_source()


def test_a_copy_inside_of_another_repository_has_none_of_its_commits(package: Path) -> None:
    commit(package.parents[1])
    assert git_commit() is None
    assert describe_source().startswith(f"none: installed in {package.parent}")


def test_what_pip_has_noted_of_a_repository_counts(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = json.dumps({"url": "https://example.org/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc123"}})
    found = SimpleNamespace(read_text=lambda file: noted if file == "direct_url.json" else None)
    monkeypatch.setattr(environment.metadata, "distribution", lambda name: found)
    assert git_commit() == describe_source() == "abc123"
    found.read_text = lambda file: '{"url": "file:///x.whl", "archive_info": {}}'
    assert git_commit() is None


def test_the_distribution_is_the_one_that_is_built() -> None:
    assert tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["name"] == environment.DISTRIBUTION
