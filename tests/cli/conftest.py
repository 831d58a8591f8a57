"""The command line in this process, and what its tests run on."""

from __future__ import annotations

import io
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import SHOP, Outcome
from tests.support.quick_runs import quick  # noqa: F401
from tests.support.tiny_runs import judge_by_words, tiny_config, tiny_values
from text2sql import cli
from text2sql.config.yaml import dump_yaml
from text2sql.pipeline.run import run_pipeline


@pytest.fixture
def text2sql(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """Runs the command line in this process, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    # No terminal to ask on.
    monkeypatch.setattr("sys.stdin", io.StringIO())

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["text2sql", *map(str, arguments)])
        capfd.readouterr()
        code: Any = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    """A configuration file of a run that takes no time."""
    path = tmp_path / "tiny.yaml"
    path.write_text(dump_yaml(tiny_values(tmp_path)))
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run that can answer two questions on a shop, and one that would empty it."""
    patch = pytest.MonkeyPatch()
    judge_by_words(patch)
    patch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")
    directory = tmp_path_factory.mktemp("finished")
    answers = {
        _prompt("How many goods?"): " SELECT COUNT(*) AS n FROM goods\n\n",
        _prompt("Which?"): " SELECT name, price FROM goods ORDER BY name\n\n",
        _prompt("Empty it!"): " DELETE FROM goods\n\n",
        _prompt("Nonsense?"): " SELECT price FROM nowhere\n\n",
        _prompt("Silence?"): "\n\n",
    }
    yield run_pipeline(tiny_config(directory, fake={"answers": answers}))
    patch.undo()


def _prompt(question: str) -> str:
    return f"Table schema:\n{SHOP}\nQuestion: {question}\nSQL: "


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A SQLite database with one table, of values that look like markup."""
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        connection.execute(SHOP)
        connection.executemany("INSERT INTO goods VALUES (?, ?)", [("[/red]pen", 1.5), (":smile:", None)])
    connection.close()
    return path
