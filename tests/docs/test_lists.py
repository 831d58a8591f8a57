"""What the program has, the pages list: sources, templates, losses, strategies, configurations, extras."""

from __future__ import annotations

import tomllib

import pytest

from backends.losses import LOSSES
from tests.docs.test_commands import read
from tests.support.repository import REPOSITORY, repository_files
from text2sql.config import EvaluationConfig
from text2sql.config.templates import TEMPLATES
from text2sql.data.sources import NAMED

EXTRAS = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
SHIPPED = [
    file.removeprefix("configs/").removesuffix(".yaml") for file in repository_files("*.yaml") if "configs/" in file
]


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("docs/data.md", list(NAMED)),
        ("docs/data.md", list(TEMPLATES)),
        ("docs/data.md", [f"evaluation.{key}" for key in EvaluationConfig().strategies]),
        ("docs/local_backend.md", list(LOSSES)),
        ("docs/recipes.md", [name for name in SHIPPED if name != "quickstart"]),
    ],
    ids=["sources", "templates", "strategies", "losses", "configurations"],
)
def test_the_page_lists_all_of_them(page: str, names: list[str]) -> None:
    text = read(page)
    assert names
    assert [name for name in names if f"`{name}`" not in text and f"`{name}:" not in text] == []


def test_each_licence_is_attributed() -> None:
    text = read("ATTRIBUTION.md")
    assert [name for name, named in NAMED.items() if named.licence not in text] == []


def test_the_workflow_calls_the_script_that_people_call() -> None:
    assert "run: .ci/run" in read(".github/workflows/ci.yml")
    assert "\n\t.ci/run\n" in read("Makefile")
    assert "text2sql-tune[docs,test]" in EXTRAS["dev"]
    assert (REPOSITORY / ".ci" / "run").stat().st_mode & 0o100
