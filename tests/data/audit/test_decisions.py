"""Decisions about gold queries: the order in which they are asked for, and what training makes of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.present_run import PREDICTION, write_present_run
from tests.support.repository import REPOSITORY
from tests.support.tiny_runs import read_jsonl, tiny_config, tiny_values, write_jsonl
from text2sql.config import DataConfig
from text2sql.config.yaml import dump_yaml
from text2sql.data.audit.audit import audit
from text2sql.data.audit.samples import read_samples
from text2sql.data.dataset import load_dataset
from text2sql.data.decisions import DROPPED
from text2sql.errors import UserError

SCHEMA = (
    "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT, age INTEGER, code TEXT);"
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (id), price REAL, day DATE, "
    "clerk_name TEXT)"
)


ROWS = [
    {
        "question": "How many customers live in Lisbon?",
        "context": SCHEMA,
        "answer": "SELECT COUNT(*) FROM customers WHERE city = 'Lisbon'",
    },
    {
        "question": "How many customers live in Porto?",
        "context": SCHEMA,
        "answer": "SELECT COUNT(*) FROM customers WHERE city = 'Lisbon'",
    },
    {"question": "What is the average price?", "context": SCHEMA, "answer": "SELECT SUM(id) FROM orders"},
    {"question": "What is the highest price?", "context": SCHEMA, "answer": "SELECT MAX(price) FROM orders"},
]


def test_the_worst_come_first_and_decisions_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, file = DataConfig(source=str(write_jsonl(tmp_path / "mine.jsonl", ROWS))), tmp_path / "decisions.jsonl"
    audit(data, file)
    said = capsys.readouterr().out
    assert "1. mine/2  What is the average price?" in said and "key added up: SUM(id)" in said
    assert f"data.decisions={file}" in said
    rows = read_jsonl(file)
    assert rows[1]["question"].endswith("Porto?") and rows[0]["question"] == "What is the average price?"
    assert all(row["score"] < rows[1]["score"] for row in rows[2:]) and not any("decision" in row for row in rows)
    rows[1] |= {"decision": "drop"}
    rows[0] |= {"decision": "fix", "fixed": "SELECT AVG(price) FROM orders"}
    write_jsonl(file, rows)
    audit(data, file)
    again = {row["question"]: row for row in read_jsonl(file)}
    assert again["What is the average price?"]["fixed"] == "SELECT AVG(price) FROM orders"
    assert again["How many customers live in Porto?"]["decision"] == "drop"


def test_training_respects_decisions(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "mine.jsonl", [*ROWS, *({**ROWS[0], "question": f"Again {i}?"} for i in range(8))])
    decided = [
        {"id": "mine/1", **{k: ROWS[1][k] for k in ("question", "answer")}, "decision": "drop"},
        {
            "id": "mine/2",
            **{k: ROWS[2][k] for k in ("question", "answer")},
            "decision": "fix",
            "fixed": "SELECT AVG(price) FROM orders",
        },
        {"id": "mine/3", **{k: ROWS[3][k] for k in ("question", "answer")}, "decision": "keep"},
    ]
    file = write_jsonl(tmp_path / "decisions.jsonl", decided)
    data = {"source": str(source), "decisions": str(file), "test_size": 2, "limit": None}
    config = tiny_config(tmp_path, data=data)
    dataset = load_dataset(config)
    answers = {e.question: e.answer for side in dataset.split for e in side}
    assert "How many customers live in Porto?" not in answers and dataset.dropped[DROPPED] == 1
    assert answers.get("What is the average price?") == "SELECT AVG(price) FROM orders"
    assert answers["What is the highest price?"] == ROWS[3]["answer"]


@pytest.mark.parametrize(
    (
        "row",
        "said",
    ),
    [
        ({"id": "a", "question": "q", "answer": "SELECT 1", "decision": "fix"}, 'has no query in "fixed"'),
        ({"id": "a", "question": "q", "answer": "SELECT 1", "decision": "maybe"}, "decision"),
        (None, "there is no file"),
    ],
)
def test_decisions_that_cannot_be_followed(row: dict[str, Any] | None, said: str, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "mine.jsonl", ROWS)
    file = tmp_path / "decisions.jsonl"
    if row is not None:
        file.write_text(json.dumps(row) + "\n")
    config = tiny_config(tmp_path, data={"source": str(source), "decisions": str(file), "test_size": 1, "limit": None})
    with pytest.raises(UserError, match=said):
        load_dataset(config)


def test_most_samples_against_a_gold_query_show_where_they_differ(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "mine.jsonl", ROWS)
    right = "SELECT COUNT(*) FROM customers WHERE city = 'Porto'"
    samples = [
        {"question": ROWS[1]["question"], "predictions": [right, right.replace("COUNT(*)", "COUNT(id)"), "SELECT 1"]},
        {"question": ROWS[0]["question"], "predictions": [ROWS[0]["answer"], right, "SELECT 2"]},
    ]
    ranked = audit(
        DataConfig(source=str(source)), tmp_path / "d.jsonl", samples=write_jsonl(tmp_path / "s.jsonl", samples), top=0
    )
    found = {a.example.question: a for a in ranked if any(s.kind == "most samples disagree" for s in a.smells)}
    assert {*found} == {ROWS[1]["question"]}
    (only,) = found.values()
    assert "2 of 3 samples agree on another query" in " ".join(s.detail for s in only.smells) and only.witness


def test_samples_of_a_run_and_of_a_column_with_one_text(tmp_path: Path) -> None:
    run = write_present_run(tmp_path / "run")
    (run / "config.yaml").write_text(dump_yaml(tiny_values(tmp_path)))
    question, answer = PREDICTION["question"], PREDICTION["sql"]
    # A run's rows have the number of samples where a file has the samples themselves.
    assert read_samples(run) == {question: [answer, answer]}
    one = write_jsonl(tmp_path / "s.jsonl", [{"question": question, "samples": answer}])
    assert read_samples(one) == {question: [answer]}


def test_samples_that_are_none(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "mine.jsonl", ROWS)
    empty = write_jsonl(tmp_path / "s.jsonl", [{"question": "q"}])
    for place, said in ((tmp_path / "none.jsonl", "there are no predictions"), (empty, "no rows with a question")):
        with pytest.raises(UserError, match=said):
            audit(DataConfig(source=str(source)), tmp_path / "d.jsonl", samples=place)


def test_planted_faults_are_ranked_first(shared_data: Path) -> None:
    """On the half of the databases that no weight was made from; BIRD's own faults are among the others."""
    script = REPOSITORY / "scripts" / "plant_faults.py"
    command = [sys.executable, str(script), str(shared_data / "bird_train_sample.jsonl"), "--seeds", "5"]
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout
    share = float(out.split(" times: ")[1].split("%")[0])
    assert share >= 70, out
