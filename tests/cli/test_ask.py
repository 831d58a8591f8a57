"""text2sql ask: the answer alone on the standard output, and the database as it was."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from backends.fake import FakeSamplingClient
from tests.support.command_line import SHOP, Outcome
from tests.support.tiny_runs import rows, tiny_config
from text2sql import console
from text2sql.config import dump_config
from text2sql.console import show_warnings
from text2sql.pipeline.run import run_pipeline

# ask


def test_ask_answers_from_a_schema_file_and_from_a_database(
    text2sql: Callable[..., Outcome], finished: Path, tmp_path: Path, shop: Path
) -> None:
    (tmp_path / "shop.sql").write_text(SHOP + "\n")
    for source in (("--schema", "shop.sql"), ("--schema", f"\n{SHOP} "), ("--database", shop)):
        outcome = text2sql("ask", "How many goods?", *source, "--run", finished)
        assert (outcome.code, outcome.out) == (0, "SELECT COUNT(*) AS n FROM goods\n")
        assert text2sql("ask", "How many goods?", *source, "--run", finished, "--base").out == outcome.out


def test_ask_uses_what_was_trained_and_base_does_not(
    text2sql: Callable[..., Outcome], finished: Path, tmp_path: Path
) -> None:
    row = rows(1)[0]
    (tmp_path / "t0.sql").write_text(row["context"])
    arguments = ("ask", row["question"], "--schema", "t0.sql", "--run", finished)
    assert "t0" in text2sql(*arguments).out.lower()
    assert text2sql(*arguments, "--base").out == "SELECT 1\n"


def test_a_warning_does_not_get_into_the_answer(
    text2sql: Callable[..., Outcome], finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a server that is busy for a while."""
    (tmp_path / "shop.sql").write_text(SHOP)
    sample = FakeSamplingClient.sample

    def busy(self: Any, *args: Any, **options: Any) -> Any:
        logging.getLogger("tinker.server").warning("The server asks for patience.")
        return sample(self, *args, **options)

    monkeypatch.setattr(FakeSamplingClient, "sample", busy)
    show_warnings("tinker")
    outcome = text2sql("ask", "How many goods?", "--schema", "shop.sql", "--run", finished)
    assert outcome.out == "SELECT COUNT(*) AS n FROM goods\n"
    assert outcome.err == "Warning: The server asks for patience.\n"


def test_a_warning_does_not_tear_a_live_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120, legacy_windows=False)
    monkeypatch.setattr(console, "console", terminal)
    show_warnings("tinker")
    with console.progress_bar("Training", 10) as bar:
        bar.advance(5, 50)
        logging.getLogger("tinker.server").warning("No connection.")
    written = terminal.file.getvalue()
    assert written.count("Warning: No connection.\n") == 1
    line = written.split("Warning: No connection.")[0].rsplit("\n")[-1]
    assert "Training" not in re.sub(r".*\x1b\[2K", "", line), "it stands on its own line"


def test_a_path_in_a_log_stays_in_one_piece(text2sql: Callable[..., Outcome], tiny_file: Path, quick: None) -> None:
    long = tiny_file.parent / "a-directory-with-a-long-name" / "and-another-one-inside-of-it" / "and-the-run-in-it"
    assert f"Report: {long / 'report.html'}\n" in text2sql("run", tiny_file, f"output_dir={long}").out


def test_ask_executes_and_changes_nothing(text2sql: Callable[..., Outcome], finished: Path, shop: Path) -> None:
    checksum = hashlib.sha256(shop.read_bytes()).hexdigest()
    before = sorted(shop.parent.iterdir())
    outcome = text2sql("ask", "Which?", "--database", shop, "--run", finished, "--execute")
    assert outcome.code == 0
    assert "[/red]pen" in outcome.out and ":smile:" in outcome.out and "NULL" in outcome.out and "price" in outcome.out
    for question, reason in (
        ("Empty it!", "not a read-only query"),
        ("Nonsense?", "no such table"),
        ("Silence?", "The model wrote nothing. Ask in other words"),
    ):
        line = text2sql("ask", question, "--database", shop, "--run", finished, "--execute").line
        assert reason in line, line
    assert hashlib.sha256(shop.read_bytes()).hexdigest() == checksum
    assert sorted(shop.parent.iterdir()) == before


def test_ask_says_what_is_missing(text2sql: Callable[..., Outcome], finished: Path, tmp_path: Path, shop: Path) -> None:
    ask = ("ask", "How many?", "--run", finished)
    assert "Give the schema with --schema" in text2sql(*ask).line
    assert "--execute needs --database" in text2sql(*ask, "--schema", "x.sql", "--execute").line
    neither = "is neither CREATE TABLE statements nor a file"
    assert f"--schema: none.sql {neither}" in text2sql(*ask, "--schema", "none.sql").line
    assert neither in text2sql(*ask, "--schema", "goods(id, price)").line
    for name, text in (("empty.sql", " \n"), ("text.db", "no database"), ("zero.db", "")):
        (tmp_path / name).write_text(text)
    assert "--schema: empty.sql is empty" in text2sql(*ask, "--schema", "empty.sql").line
    assert "--database: text.db is not a SQLite database" in text2sql(*ask, "--database", "text.db").line
    assert "--database: there is no file none.db" in text2sql(*ask, "--database", "none.db").line
    assert "--database: zero.db has no tables" in text2sql(*ask, "--database", "zero.db").line
    assert not (tmp_path / "none.db").exists()
    assert "There is no run in none" in text2sql("ask", "How many?", "--database", shop, "--run", "none").line
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_text(dump_config(tiny_config(tmp_path)))
    assert "has no checkpoint yet" in text2sql("ask", "How many?", "--database", shop, "--run", "begun").line
    (tmp_path / "begun" / "config.yaml").write_text("sed: 1\n")
    assert "config.yaml is not a configuration" in text2sql("ask", "?", "--database", shop, "--run", "begun").line


def test_ask_answers_with_the_checkpoint_that_was_evaluated(
    text2sql: Callable[..., Outcome], tmp_path: Path, quick: None
) -> None:
    stopping = {"epochs": 9, "validate_every": 1, "early_stopping": {"patience": 2}}
    run = run_pipeline(tiny_config(tmp_path, data={"validation_size": 5}, training=stopping))
    best, last = [json.loads(line) for line in (run / "checkpoints.jsonl").read_text().splitlines()]
    checkpoint = json.loads((run / "summary.json").read_text())["training"]["checkpoint_step"]
    assert best["step"] == checkpoint < last["step"]
    for file in (run / "checkpoints").rglob(f"sampler_weights/{last['name']}.json"):
        file.unlink()
    row = rows(1)[0]
    (tmp_path / "t0.sql").write_text(row["context"])
    assert "t0" in text2sql("ask", row["question"], "--schema", "t0.sql", "--run", run).out.lower()


def test_an_example_to_ask_about(text2sql: Callable[..., Outcome], finished: Path, tmp_path: Path) -> None:
    said = text2sql("example", "shop", "--output", "here")
    assert said.code == 0 and "text2sql ask --database here/shop.sqlite --execute" in said.out
    for source in (("--database", "here/shop.sqlite"), ("--schema", "here/shop.sql")):
        # The scripted model has an answer to everything.
        assert (
            text2sql("ask", "How many customers live in Lisbon?", *source, "--run", finished).out.strip() == "SELECT 1"
        )
    with sqlite3.connect(tmp_path / "here" / "shop.sqlite") as database:
        assert database.execute("SELECT COUNT(*) FROM customers WHERE city = 'Lisbon'").fetchone() == (3,)
    database.close()
    assert "shop.sqlite exists already" in text2sql("example", "shop", "--output", "here").line
