"""Rows of SQLite in another dialect: names without case, texts told from names, and only what the engine judges."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from scripts import translate_rows

CONTEXT = 'CREATE TABLE "Singer" ("Singer ID" INT PRIMARY KEY, "Name" TEXT, "Country" TEXT, "Age" INT)'


def test_rows_are_translated_and_those_that_the_engine_refuses_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [
        'SELECT Name FROM Singer WHERE Country = "France" ORDER BY `Singer ID` LIMIT 3',
        # A text is no number, which SQLite does not mind.
        "SELECT Name FROM Singer WHERE Age > 'old'",
        "SELECT Nothing FROM Singer",
    ]
    rows = [{"question": "Who?", "context": CONTEXT, "answer": answer, "db_id": "concerts"} for answer in answers]
    given, made = tmp_path / "rows.jsonl", tmp_path / "made.jsonl"
    given.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(sys, "argv", ["translate_rows.py", str(given), "--dialect", "duckdb", "--output", str(made)])
    translate_rows.main()
    (row,) = map(json.loads, made.read_text().splitlines())
    assert row["context"] == "CREATE TABLE singer (singer_id INT PRIMARY KEY, name TEXT, country TEXT, age INT);"
    assert row["answer"].startswith("SELECT name FROM singer WHERE country = 'France' ORDER BY singer_id")
    assert "1 row on 1 database; 3 were tried" in capsys.readouterr().out
