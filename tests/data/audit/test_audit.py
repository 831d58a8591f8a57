"""The audit of gold queries: each smell finds its place and not its neighbour, and decisions are respected."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.repository import REPOSITORY
from tests.support.tiny_runs import read_jsonl, tiny_config, write_jsonl
from text2sql.config import DataConfig
from text2sql.data.audit.audit import audit
from text2sql.data.audit.on_data import on_data
from text2sql.data.audit.reading import read
from text2sql.data.audit.smells import smells
from text2sql.data.audit.weights import WEIGHTS
from text2sql.data.dataset import load_dataset
from text2sql.data.decisions import DROPPED
from text2sql.data.example import Example
from text2sql.errors import UserError

SCHEMA = (
    "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT, age INTEGER, code TEXT);"
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (id), price REAL, day DATE, "
    "clerk_name TEXT)"
)
JOINED = "customers AS c JOIN orders AS o ON o.customer_id = c.id"


def kinds(question: str, sql: str, evidence: str | None = None) -> set[str]:
    reading = read(Example("x", question, SCHEMA, sql, evidence=evidence))
    assert reading is not None, sql
    return {smell.kind for smell in smells(reading)}


# A smell, a pair that has it, and one that nearly has it.
PAIRS = [
    (
        "number ignored",
        "Orders above 70?",
        "SELECT id FROM orders",
        "SELECT id FROM orders WHERE price > 70",
    ),
    (
        "number word ignored",
        "Name any three customers.",
        "SELECT name FROM customers",
        "SELECT name FROM customers LIMIT 3",
    ),
    (
        "quoted value ignored",
        "Who lives in 'Lisbon'?",
        "SELECT name FROM customers",
        "SELECT name FROM customers WHERE city = 'Lisbon'",
    ),
    (
        "name ignored",
        "How many customers are from Lisbon?",
        "SELECT COUNT(*) FROM customers",
        "SELECT COUNT(*) FROM customers WHERE city = 'Lisbon'",
    ),
    (
        "text unsaid",
        "Which customers live in Lisbon?",
        "SELECT name FROM customers WHERE city = 'Porto'",
        "SELECT name FROM customers WHERE city = 'Lisbon'",
    ),
    (
        "number unsaid",
        "Orders above 70?",
        "SELECT id FROM orders WHERE price > 90",
        "SELECT id FROM orders WHERE price > 70",
    ),
    (
        "average missing",
        "What is the average price?",
        "SELECT MAX(price) FROM orders",
        "SELECT AVG(price) FROM orders",
    ),
    (
        "average unasked",
        "What is the highest price?",
        "SELECT AVG(price) FROM orders",
        "SELECT MAX(price) FROM orders",
    ),
    (
        "count missing",
        "How many customers are there?",
        "SELECT name FROM customers",
        "SELECT COUNT(*) FROM customers",
    ),
    (
        "sum for how many",
        "How many orders are there?",
        "SELECT SUM(price) FROM orders",
        "SELECT COUNT(*) FROM orders",
    ),
    (
        "key added up",
        "What is the total of orders?",
        "SELECT SUM(id) FROM orders",
        "SELECT SUM(price) FROM orders",
    ),
    (
        "extreme unasked",
        "What is the price of orders?",
        "SELECT MIN(price) FROM orders",
        "SELECT price FROM orders",
    ),
    (
        "direction",
        "What is the highest price?",
        "SELECT MIN(price) FROM orders",
        "SELECT MAX(price) FROM orders",
    ),
    (
        "direction",
        "Who is the oldest customer?",
        "SELECT name FROM customers ORDER BY age LIMIT 1",
        "SELECT name FROM customers ORDER BY age DESC LIMIT 1",
    ),
    (
        "superlative without one",
        "Which customer is the tallest?",
        "SELECT name FROM customers",
        "SELECT name FROM customers ORDER BY age DESC LIMIT 1",
    ),
    (
        "order without its limit",
        "Which order has the highest price?",
        "SELECT id FROM orders ORDER BY price DESC",
        "SELECT id FROM orders ORDER BY price DESC LIMIT 1",
    ),
    (
        "comparison",
        "Orders of more than 5?",
        "SELECT id FROM orders WHERE price < 5",
        "SELECT id FROM orders WHERE price > 5",
    ),
    (
        "compared twice in one direction",
        "Prices between 5 and 9?",
        "SELECT id FROM orders WHERE price >= 5 AND price >= 9",
        "SELECT id FROM orders WHERE price >= 5 AND price <= 9",
    ),
    (
        "limit",
        "The top 5 prices?",
        "SELECT price FROM orders ORDER BY price DESC LIMIT 7",
        "SELECT price FROM orders ORDER BY price DESC LIMIT 5",
    ),
    (
        "limit without order",
        "Show 5 customers.",
        "SELECT name FROM customers LIMIT 5",
        "SELECT name FROM customers ORDER BY name LIMIT 5",
    ),
    (
        "negation missing",
        "Customers that are not from Lisbon?",
        "SELECT name FROM customers WHERE city = 'Lisbon'",
        "SELECT name FROM customers WHERE city <> 'Lisbon'",
    ),
    (
        "negation unasked",
        "Customers from Lisbon?",
        "SELECT name FROM customers WHERE city <> 'Lisbon'",
        "SELECT name FROM customers WHERE city = 'Lisbon'",
    ),
    (
        "distinct missing",
        "Show the different cities.",
        "SELECT city FROM customers",
        "SELECT DISTINCT city FROM customers",
    ),
    (
        "parents counted through a join",
        "How many customers have orders?",
        f"SELECT COUNT(c.id) FROM {JOINED}",
        f"SELECT COUNT(DISTINCT c.id) FROM {JOINED}",
    ),
    (
        "declared key unused",
        "Customers with orders?",
        "SELECT c.name FROM customers AS c JOIN orders AS o ON o.id = c.age",
        f"SELECT c.name FROM {JOINED}",
    ),
    (
        "join of unlike types",
        "Customers with orders?",
        "SELECT c.name FROM customers AS c JOIN orders AS o ON o.price = c.city",
        f"SELECT c.name FROM {JOINED}",
    ),
    (
        "text compared as number",
        "Customers with a code above 7?",
        "SELECT name FROM customers WHERE code > 7",
        "SELECT name FROM customers WHERE age > 7",
    ),
    (
        "columns beside an aggregate",
        "The name and the number of customers?",
        "SELECT name, COUNT(*) FROM customers",
        "SELECT name, COUNT(*) FROM customers GROUP BY name",
    ),
    (
        "percentage missing",
        "What percentage of customers is from Lisbon?",
        "SELECT COUNT(*) FROM customers WHERE city = 'Lisbon'",
        "SELECT 100.0 * SUM(city = 'Lisbon') / COUNT(*) FROM customers",
    ),
    (
        "other column shown",
        "What is the price of orders?",
        "SELECT clerk_name || day FROM orders",
        "SELECT price FROM orders",
    ),
    (
        "about something else",
        "Whose shoes were red?",
        "SELECT price FROM orders WHERE day = 'x'",
        "SELECT name FROM customers AS shoes WHERE city = 'red'",
    ),
]


@pytest.mark.parametrize(
    ("kind", "question", "smelling", "clean"), PAIRS, ids=[f"{p[0]}-{i}" for i, p in enumerate(PAIRS)]
)
def test_a_smell_finds_its_place_and_not_its_neighbour(kind: str, question: str, smelling: str, clean: str) -> None:
    assert kind in kinds(question, smelling)
    assert kind not in kinds(question, clean)


@pytest.mark.parametrize(
    (
        "kind",
        "evidence",
        "smelling",
        "clean",
    ),
    [
        ("evidence's value ignored", "local refers to city = 'Faro'", "city = 'Porto'", "city = 'Faro'"),
        ("evidence's number ignored", "old refers to age > 65", "age > 60", "age > 65"),
        ("evidence's comparison differs", "old refers to age > 65", "age < 65", "age > 65"),
        ("evidence's column ignored", "local refers to city", "name = 'Faro'", "city = 'Faro'"),
    ],
)
def test_evidence_counts(kind: str, evidence: str, smelling: str, clean: str) -> None:
    question = "Which customers are old and local?"
    assert kind in kinds(question, f"SELECT name FROM customers WHERE {smelling}", evidence)
    assert kind not in kinds(question, f"SELECT name FROM customers WHERE {clean}", evidence)


def test_every_kind_that_tells_something_is_one_that_is_found() -> None:
    """Each key of the weights stands in the source of a smell."""
    sources = "".join(
        p.read_text() for p in (REPOSITORY / "text2sql" / "data" / "audit").glob("*.py") if p.stem != "weights"
    )
    assert [kind for kind in WEIGHTS if f'"{kind}"' not in sources] == []


# On real data


@pytest.fixture
def shop(tmp_path: Path) -> str:
    import sqlite3

    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as database:
        database.executescript(SCHEMA)
        database.executemany(
            "INSERT INTO customers VALUES (?, ?, ?, ?, ?)",
            [(1, "Ines", "Lisbon", 40, "7"), (2, "Rui", "Faro", 40, "10"), (3, "Zoe", "Lisbon", 30, "9")],
        )
        database.executemany("INSERT INTO orders VALUES (?, ?, 5, NULL, NULL)", [(i, 1) for i in range(6)])
    database.close()
    return str(path)


@pytest.mark.parametrize(
    (
        "kind",
        "sql",
    ),
    [
        ("empty on its database", "SELECT name FROM customers WHERE city = 'Rome'"),
        ("zero on its database", "SELECT COUNT(*) FROM customers WHERE city = 'Rome'"),
        ("fails on its database", "SELECT nme FROM customers"),
        ("tie under LIMIT 1", "SELECT name FROM customers ORDER BY age DESC LIMIT 1"),
        ("arbitrary cut", "SELECT id FROM orders ORDER BY price LIMIT 2"),
        ("rows repeated by a join", f"SELECT c.name FROM {JOINED}"),
    ],
)
def test_real_data_tell(kind: str, sql: str, shop: str) -> None:
    reading = read(Example("x", "q", SCHEMA, sql, db=shop))
    assert reading is not None
    found, witness = on_data(reading)
    assert kind in {smell.kind for smell in found}
    assert witness or kind.startswith(("empty", "fails"))
    fine = read(Example("x", "q", SCHEMA, "SELECT name FROM customers ORDER BY age LIMIT 1", db=shop))
    assert fine is not None and on_data(fine) == ([], [])


# The command

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
    assert "1. mine/1  How many customers live in Porto?" in said and "text unsaid: 'Lisbon'" in said
    assert f"data.decisions={file}" in said
    rows = read_jsonl(file)
    assert rows[0]["question"].endswith("Porto?") and rows[1]["question"] == "What is the average price?"
    assert all(row["score"] < rows[1]["score"] for row in rows[2:]) and not any("decision" in row for row in rows)
    rows[0] |= {"decision": "drop"}
    rows[1] |= {"decision": "fix", "fixed": "SELECT AVG(price) FROM orders"}
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
    assert share >= 60, out
