"""uv.lock: the versions of constraints.txt, from the public package index alone."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.repository import REPOSITORY

PINNED = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)


@pytest.fixture(scope="module")
def locked() -> dict[str, set[str]]:
    """The versions of each package in the lock file."""
    found: dict[str, set[str]] = {}
    for package in _lock()["package"]:
        found.setdefault(package["name"], set()).add(package.get("version", ""))
    return found


def _lock() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "uv.lock").read_text(encoding="utf-8"))


def test_versions_are_those_of_the_constraints(locked: dict[str, set[str]]) -> None:
    pinned = {canonicalize_name(name): version for name, version in PINNED.findall(_text("constraints.txt"))}
    differ = {name: locked[name] for name, version in pinned.items() if name in locked and version not in locked[name]}
    assert not differ
    assert len(locked.keys() & pinned.keys()) > 100


def test_every_requirement_is_locked(locked: dict[str, set[str]]) -> None:
    project = tomllib.loads(_text("pyproject.toml"))["project"]
    wanted = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    missing = {canonicalize_name(Requirement(text).name) for text in wanted} - locked.keys()
    assert not missing, "run `uv lock`"


def test_it_names_the_public_index_alone() -> None:
    hosts = {urlsplit(url).hostname for url in re.findall(r'"((?:https?|file)://[^"]+)"', _text("uv.lock"))}
    assert hosts == {"pypi.org", "files.pythonhosted.org"}


def _text(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")
