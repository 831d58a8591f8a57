"""Small archives in the layouts of Spider, BIRD and WikiSQL, with questions and tables of this project."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.tiny_runs import write_jsonl

HARBOUR = """CREATE TABLE berth (berth_id INTEGER PRIMARY KEY, quay TEXT, depth REAL);
CREATE TABLE vessel (vessel_id INTEGER PRIMARY KEY, title TEXT, berth_id INTEGER,
  FOREIGN KEY (berth_id) REFERENCES berth (berth_id));"""
HARBOUR_ROWS = {
    "berth": [(1, "North", 9.5), (2, "South", 12.0)],
    "vessel": [(1, "Gannet", 1), (2, "Petrel", 2), (3, "Auk", 2)],
}
QUESTIONS = [
    ("How many berths are there?", "SELECT COUNT(*) FROM berth"),
    ("List the titles of all vessels.", "SELECT title FROM vessel"),
    ("Which quays are deeper than 10?", "SELECT quay FROM berth WHERE depth > 10"),
    (
        "How many vessels lie at each quay?",
        "SELECT quay, COUNT(*) FROM vessel JOIN berth ON vessel.berth_id = berth.berth_id GROUP BY quay",
    ),
    ("What is the greatest depth?", "SELECT MAX(depth) FROM berth"),
    ("Which vessel lies at berth 1?", "SELECT title FROM vessel WHERE berth_id = 1"),
    ("Show every quay in order.", "SELECT quay FROM berth ORDER BY quay"),
    ("How many vessels are there?", "SELECT COUNT(*) FROM vessel"),
]


def write_database(file: Path, schema: str = HARBOUR, rows: dict[str, Sequence[Any]] = HARBOUR_ROWS) -> Path:
    """A SQLite file with a schema and rows."""
    file.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(file)
    db.executescript(schema)
    for table, values in rows.items():
        db.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(values[0]))})", values)
    db.commit()
    db.close()
    return file


def _dump(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


TABLES_JSON = {
    "db_id": "harbour",
    "table_names_original": ["berth", "vessel"],
    "table_names": ["berth", "vessel"],
    "column_names_original": [
        [-1, "*"],
        [0, "berth_id"],
        [0, "quay"],
        [0, "depth"],
        [1, "vessel_id"],
        [1, "title"],
        [1, "berth_id"],
    ],
    "column_names": [],
    "column_types": ["text", "number", "text", "number", "number", "text", "number"],
    "primary_keys": [1, 4],
    "foreign_keys": [[6, 1]],
}


def spider(directory: Path, *, databases: bool = True) -> Path:
    """train_spider.json, dev.json, tables.json and database/."""
    rows = [{"db_id": "harbour", "question": question, "query": query} for question, query in QUESTIONS]
    _dump(directory / "train_spider.json", rows[:6])
    _dump(directory / "dev.json", rows[6:])
    _dump(directory / "tables.json", [TABLES_JSON])
    if databases:
        write_database(directory / "database" / "harbour" / "harbour.sqlite")
    return directory


def bird(directory: Path) -> Path:
    """train/ and dev_20240627/, each with its questions, its databases and a description of a table."""
    for split, folder, chosen in (("train", "train", QUESTIONS[:6]), ("dev", "dev_20240627", QUESTIONS[6:])):
        rows = [
            {"db_id": "harbour", "question": question, "evidence": "deep means a depth over 10", "SQL": query}
            for question, query in chosen
        ]
        _dump(directory / folder / f"{split}.json", rows)
        home = directory / folder / f"{split}_databases" / "harbour"
        write_database(home / "harbour.sqlite")
        (home / "database_description").mkdir()
        (home / "database_description" / "berth.csv").write_bytes(
            "original_column_name,column_name,column_description,data_format,value_description\r\n"
            "depth,,depth of the water,real,in m\xe8tres\r\n".encode("cp1252")
        )
    return directory


WIKISQL_TABLE = {
    "id": "1-10-2",
    "header": ["Week", "Date", "Attendance", "date"],
    "types": ["real", "text", "real", "text"],
    "rows": [["1", "September 7, 1986", "55,767", "a"], ["2", "September 14, 1986", "60,000", "b"]],
}
WIKISQL_QUESTIONS = [
    ("What week had an attendance over 56,000?", {"sel": 0, "agg": 4, "conds": [[2, 1, "56,000"]]}),
    ("When was week 1?", {"sel": 1, "agg": 0, "conds": [[0, 0, 1]]}),
    ("What was the attendance on the seventh?", {"sel": 2, "agg": 0, "conds": [[1, 0, "september 7, 1986"]]}),
    ("How many weeks are there?", {"sel": 0, "agg": 3, "conds": []}),
]


def wikisql(directory: Path) -> Path:
    """train and dev: questions with structured queries, and the tables."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = [{"phase": 1, "table_id": "1-10-2", "question": q, "sql": sql} for q, sql in WIKISQL_QUESTIONS]
    for split, chosen in (("train", rows[:2]), ("dev", rows[2:])):
        write_jsonl(directory / f"{split}.jsonl", chosen)
        write_jsonl(directory / f"{split}.tables.jsonl", [WIKISQL_TABLE])
    return directory


INSTRUCTION = "Translate the following into a SQL query"
PSEUDO = [
    (
        "Which sum of week had over 55,767 on 28 September 1986?",
        "SELECT SUM Week FROM table WHERE Attendance > 55,767 AND Date = september 28, 1986",
    ),
    ("What is the date of week 3?", "SELECT Date FROM table WHERE Week = 3"),
    ("How many are there?", "SELECT COUNT Name of club FROM table"),
]


def instruct_rows() -> list[dict[str, str]]:
    """WikiSQL as instruction, input and output."""
    return [{"instruction": INSTRUCTION, "input": question, "output": output} for question, output in PSEUDO]


def gretel_rows() -> list[dict[str, str]]:
    """Rows with the columns of gretel's synthetic set."""
    return [
        {"sql_prompt": question, "sql_context": HARBOUR, "sql": query, "sql_complexity": "basic SQL"}
        for question, query in QUESTIONS
    ]
