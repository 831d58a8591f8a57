"""What models, rows, files and databases hold is shown on a terminal and never obeyed; JSON stays exact."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from tests.support.command_line import Outcome
from tests.support.tiny_runs import judge_by_words, rows, tiny_config, write_jsonl
from text2sql.console import SafeConsole, printable, progress_bar
from text2sql.pipeline.run import run_pipeline

# Clears the screen, sets the window's title, turns the direction of writing, and is markup of rich.
EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e[bold red]x[/]"
SCHEMA = "CREATE TABLE t (a TEXT)"


def _is_plain(text: str) -> bool:
    return printable(text) == text and "[bold red]x[/]" in text


@pytest.fixture
def evil_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose model answers with control characters."""
    judge_by_words(monkeypatch)
    monkeypatch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")
    prompt = f"Table schema:\n{SCHEMA}\nQuestion: Which?\nSQL: "
    return run_pipeline(tiny_config(tmp_path, fake={"answers": {prompt: f" SELECT '{EVIL}' AS \"{EVIL}\"\n\n"}}))


def test_ask_shows_what_a_model_writes_and_a_database_holds(
    text2sql: Callable[..., Outcome], evil_run: Path, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "x.db") as database:
        database.execute(SCHEMA)
    asked = text2sql("ask", "Which?", "--schema", SCHEMA, "--run", evil_run)
    assert asked.code == 0 and _is_plain(asked.out) and "␛[2J" in asked.out
    executed = text2sql("ask", "Which?", "--database", tmp_path / "x.db", "--execute", "--run", evil_run)
    assert executed.code == 0 and _is_plain(executed.out)


def test_match_shows_rows_and_names_and_its_json_is_exact(text2sql: Callable[..., Outcome]) -> None:
    queries = ("--gold", f"SELECT '{EVIL}' AS \"{EVIL}\" FROM t", "--predicted", "SELECT 'y' FROM t")
    shown = text2sql("match", "--schema", SCHEMA, *queries)
    assert shown.code == 1 and _is_plain(shown.out) and not shown.err
    witness = json.loads(text2sql("match", "--schema", SCHEMA, *queries, "--json").out)["witness"]
    assert witness["gold"]["rows"][0] == [EVIL]


def test_commands_on_data_show_rows_and_names(text2sql: Callable[..., Outcome], tmp_path: Path) -> None:
    file = tmp_path / f"{EVIL.replace('/', '')}.jsonl"
    for question in (f"Which {EVIL}?", "Which?"):
        write_jsonl(file, [{**row, "question": f"{question} {i}"} for i, row in enumerate(rows(40))])
        for command in (["data", "inspect", "quickstart"], ["data", "stats", "quickstart"], ["data", "audit"]):
            said = text2sql(*command, f"data.source={file}" if command[-1] == "quickstart" else file, *_SMALL)
            assert printable(said.out + said.err) == said.out + said.err, command


_SMALL = ("data.test_size=4", "data.max_dropped=1")


def test_what_is_wrong_is_shown_too(text2sql: Callable[..., Outcome]) -> None:
    for arguments in (["run", EVIL], ["run", "quickstart", f"{EVIL}=3"], ["report", EVIL], [EVIL], ["match", EVIL]):
        said = text2sql(*arguments)
        assert said.code == 2 and printable(said.err) == said.err


@given(st.text(), st.text())
def test_no_console_obeys_a_text(first: str, second: str) -> None:
    console = SafeConsole()
    console.file = io.StringIO()
    table = Table(first, title=second)
    table.add_row(second)
    console.print(table, Text(first), second)
    assert printable(console.file.getvalue()) == console.file.getvalue()


def test_a_bar_may_be_named_like_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = SafeConsole()
    terminal.file, terminal._force_terminal = io.StringIO(), True
    monkeypatch.setattr("text2sql.console.console", terminal)
    with progress_bar("Judging [/red].jsonl", 1) as bar:
        bar.advance(1, 0, note="[/x]")
    assert "Judging [/red].jsonl" in terminal.file.getvalue()


@pytest.mark.parametrize(
    ("closed", "variables", "code", "shown"),
    [
        (">&-", {}, 0, ""),
        ("2>&-", {"COLUMNS": "40"}, 0, "sql-create-conte"),
        ("", {"COLUMNS": "0"}, 0, "sql-create-context"),
        ("", {"COLUMNS": "1"}, 0, "sql-create-context"),
        ("", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, 0, "sql-create-context"),
        ("| head -1", {"NO_COLOR": "1"}, 0, ""),
        ("> /dev/full", {}, 2, ""),
    ],
)
def test_any_terminal_will_do(closed: str, variables: dict[str, str], code: int, shown: str) -> None:
    command = f"{sys.executable} -m text2sql data list {closed}"
    done = subprocess.run(["bash", "-c", command], env=os.environ | variables, capture_output=True, text=True)
    assert done.returncode == code and shown in done.stdout and "Traceback" not in done.stderr
