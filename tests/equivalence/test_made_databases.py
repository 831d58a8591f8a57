"""Made databases: every value suits its column, declared constraints hold, and what queries need is there."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlglot
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.generated import cases
from text2sql.equivalence.databases.column_constraints import suits_kind
from text2sql.equivalence.databases.differences.collisions import variations
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.drawing.generator import Database, Generator
from text2sql.equivalence.databases.drawing.recipes import counted_recipes
from text2sql.equivalence.databases.limits import count_beyond_limit
from text2sql.equivalence.databases.phenomena.count_thresholds import MAX_COUNTED_ROWS, read_count_thresholds
from text2sql.equivalence.databases.probe import ConditionProbe
from text2sql.equivalence.databases.reading.compiler import compile_plan
from text2sql.equivalence.databases.values.json_documents import documents, read_json_paths
from text2sql.equivalence.match import DEFAULT_EFFORT
from text2sql.equivalence.results import ABSOLUTE, RELATIVE
from text2sql.equivalence.search import MIN_INFORMATIVE
from text2sql.sql.ddl import parse_schema
from text2sql.sql.sandbox import MAX_ROWS
from text2sql.sql.values import Value

KINDS = yaml.safe_load((Path(__file__).parent / "data" / "kinds.yaml").read_text())
# What SQLite itself says of a value that its column's declared type allows; whatever is not here may hold anything.
ALLOWED = {
    "INT": "typeof({0}) = 'integer'",
    "REAL": "typeof({0}) IN ('real', 'integer')",
    "BOOLEAN": "{0} IN (0, 1) AND typeof({0}) = 'integer'",
    "DATETIME": "datetime({0}) = {0}",
    "TIMESTAMP": "datetime({0}) = {0}",
    "DATE": "date({0}) = {0}",
    "TIME": "time({0}) = {0}",
    "TEXT": "typeof({0}) = 'text'",
    "VARCHAR": "typeof({0}) = 'text'",
}


def databases_for(schema: str, queries: list[str], count: int = 24, seed: int = 0) -> Iterator[Database]:
    """The first databases for some queries."""
    parsed = parse_schema(schema)
    probe = ConditionProbe()
    plan = compile_plan(parsed, [sqlglot.parse_one(query, read="sqlite") for query in queries])
    generator = Generator(plan, parsed.tables, Domains(plan, parsed.tables, probe), seed)
    yield from map(generator.database, range(count))
    probe.close()


def load(schema: str, rows: Database) -> sqlite3.Connection:
    """A database in SQLite with these rows, those left out that its CHECKs refuse."""
    db = sqlite3.connect(":memory:")
    db.executescript(schema)
    for name, table in parse_schema(schema).tables.items():
        places = [at for at, key in enumerate(table.columns) if key in table.stored_columns]
        names = ",".join(f"`{column}`" for column in table.stored_columns)
        data = [tuple(row[at] for at in places) for row in rows[name]]
        db.executemany(f"INSERT OR IGNORE INTO `{name}` ({names}) VALUES ({','.join('?' * len(places))})", data)
    return db


def values_of_another_kind(db: sqlite3.Connection) -> list[Any]:
    """The values that their declared types do not allow."""
    found = []
    for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE TABLE%'"):
        for row in db.execute(f"PRAGMA table_xinfo(`{table}`)").fetchall():
            kind = next((kind for kind in ALLOWED if row[2].upper().startswith(kind)), None)
            kind = "DATETIME" if row[2].upper().startswith("DATETIME") else kind
            if kind:
                wrong = f"`{row[1]}` IS NOT NULL AND ({ALLOWED[kind].format(f'`{row[1]}`')}) IS NOT 1"
                found += [(table, row[1], *v) for v in db.execute(f"SELECT `{row[1]}` FROM `{table}` WHERE {wrong}")]
    return found


DECLARED = [
    (group["schema"], pair[1], pair[2])
    for kind in ("declared types", "values that meet", "declared things", "deciding rows", "duplicate names")
    for group in KINDS[kind]
    for pair in group["pairs"]
    # A gold query that compares an INTEGER column with a text says itself that texts are in it.
    if "fts5" not in group["schema"] and "'Tree'" not in pair[1]
]


@pytest.mark.parametrize(("schema", "gold", "predicted"), DECLARED[::3])
def test_every_value_suits_its_column_and_every_constraint_holds(schema: str, gold: str, predicted: str) -> None:
    for rows in databases_for(schema, [gold, predicted]):
        db = load(schema, rows)
        assert not values_of_another_kind(db)
        if "CHECK" not in schema and "COLLATE" not in schema:
            # Nothing was refused, so keys and NOT NULL hold; nothing points nowhere.
            for name, data in rows.items():
                assert db.execute(f"SELECT COUNT(*) FROM `{name}`").fetchone()[0] == len(data)
        assert not db.execute("PRAGMA foreign_key_check").fetchall()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(cases(), st.integers(0, 10**6))
def test_every_value_suits_columns_of_generated_schemas(case: tuple[str, str], seed: int) -> None:
    schema, gold = case
    for rows in databases_for(schema, [gold], 12, seed):
        assert not values_of_another_kind(load(schema, rows))


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (5, "integer", True),
        (5.5, "integer", False),
        ("y", "integer", False),
        (2, "boolean", False),
        ("2020-02-30", "date", False),
        ("2020-02-28", "date", True),
        ("2020-02-28 10:00:00", "date", False),
        ("2020-02-28 10:00:00", "datetime", True),
        ("2020-02-28", "datetime", False),
        (2020, "date", False),
        ("24:00:00", "time", False),
        ('{"a": 1}', "json", True),
        ("{a}", "json", False),
        (None, "date", True),
    ],
)
def test_kinds_and_their_values(value: Value, kind: str, expected: bool) -> None:
    assert suits_kind(value, kind) == expected


def test_a_column_holds_what_the_gold_query_says_is_in_it() -> None:
    schema = "CREATE TABLE t (score INTEGER, day DATE)"
    kept = [rows["t"] for rows in databases_for(schema, ["SELECT day FROM t WHERE score = 'n/a'"])]
    assert any("n/a" in {row[0] for row in data} for data in kept)
    # SQLite takes nothing but whole numbers in an alias of the rowid, whatever the query says.
    alias = databases_for("CREATE TABLE t (id INTEGER PRIMARY KEY, day DATE)", ["SELECT day FROM t WHERE id = 'n/a'"])
    assert all(isinstance(row[0], int) for rows in alias for row in rows["t"])
    # What only the prediction says is not believed.
    queries = ["SELECT day FROM t WHERE score > 3", "SELECT day FROM t WHERE score = 'n/a'"]
    assert all(isinstance(row[0], int | None) for rows in databases_for(schema, queries) for row in rows["t"])


def test_two_values_that_a_function_makes_equal_are_in_one_database() -> None:
    schema = "CREATE TABLE t (at DATETIME, name TEXT)"
    days = names = 0
    for rows in databases_for(schema, ["SELECT date(at), lower(name) FROM t", "SELECT at, name FROM t"]):
        moments = {row[0] for row in rows["t"] if row[0]}
        texts = {row[1] for row in rows["t"] if row[1]}
        days += len({moment[:10] for moment in moments}) < len(moments)
        names += len({text.lower() for text in texts}) < len(texts)
    assert days > 3 and names > 3


@pytest.mark.parametrize("kind", ["date", "datetime", "time"])
def test_variations_of_a_moment_are_moments(kind: str) -> None:
    value = {"date": "2020-12-31", "datetime": "2020-12-31 23:59:59", "time": "23:59:59"}[kind]
    assert all(suits_kind(other, kind) for other in variations(value, kind)) and len(variations(value, kind)) > 4


@pytest.mark.parametrize("seed", range(3))
def test_as_many_rows_as_a_threshold_counts_whatever_the_seed(seed: int) -> None:
    schema = "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE q (p_id INT NOT NULL REFERENCES p(id), w INT)"
    gold = "SELECT p_id FROM (SELECT p_id, COUNT(*) AS c FROM q GROUP BY p_id) WHERE c > 120"
    sizes = set()
    for rows in databases_for(schema, [gold], 20, seed):
        keys = [row[0] for row in rows["q"]]
        sizes |= {keys.count(key) for key in set(keys)}
    assert {119, 120, 121} <= sizes


def test_thresholds() -> None:
    def found(sql: str) -> set[int]:
        return {threshold.number for threshold in read_count_thresholds(sqlglot.parse_one(sql, read="sqlite"))}

    assert found("SELECT a FROM t ORDER BY b LIMIT 5 OFFSET 20") == {25, 20}
    assert found("SELECT a FROM t GROUP BY a HAVING COUNT(*) BETWEEN 3 AND 9") == {3, 9}
    assert found("WITH n(c) AS (SELECT COUNT(*) FROM t) SELECT 1 FROM n WHERE 7 < c") == {7}
    assert found("SELECT a FROM (SELECT a, ROW_NUMBER() OVER (ORDER BY b) AS r FROM t) WHERE r <= 50") == {50}
    assert found("SELECT a FROM t WHERE price > 99") == set()
    assert found("SELECT a FROM t GROUP BY a HAVING SUM(price) > 99") == set()


def test_a_count_beyond_the_limit_matters_only_where_the_queries_differ_in_it() -> None:
    def both(gold: str, predicted: str) -> int | None:
        return count_beyond_limit(
            *(read_count_thresholds(sqlglot.parse_one(sql, read="sqlite")) for sql in (gold, predicted))
        )

    assert both(f"SELECT a FROM t LIMIT {MAX_COUNTED_ROWS}", "SELECT a FROM t") is None
    assert both(f"SELECT a FROM t LIMIT {MAX_COUNTED_ROWS + 1}", "SELECT a FROM t") == MAX_COUNTED_ROWS + 1
    assert (
        both(f"SELECT a FROM t LIMIT {MAX_COUNTED_ROWS + 1}", f"SELECT a AS b FROM t LIMIT {MAX_COUNTED_ROWS + 1}")
        is None
    )
    having = "SELECT a FROM t GROUP BY a HAVING COUNT(*) {} 9000"
    assert both(having.format("<"), having.format("<=")) == 9000


def test_counted_recipes_reach_the_limit() -> None:
    tree = sqlglot.parse_one(f"SELECT a FROM t GROUP BY a HAVING COUNT(*) > {MAX_COUNTED_ROWS}", read="sqlite")
    plan = compile_plan(parse_schema("CREATE TABLE t (a INT)"), [tree])
    assert max(size for recipe in counted_recipes(plan) for size in recipe.exact_copies) == MAX_COUNTED_ROWS + 1


def test_documents_follow_the_paths_of_the_queries() -> None:
    gold = "SELECT d ->> '$.a.b[1]', json_extract(d, '$.c') FROM t WHERE d ->> 'e' > 5"
    tree = sqlglot.parse_one(gold, read="sqlite")
    paths = read_json_paths(tree)
    assert set(paths["d"]) == {("a", "b", 1), ("c",), ("e",), ()}
    found = [json.loads(str(text)) for text in documents(paths["d"], [5])]
    assert {5, 6, 4} <= {document.get("e") for document in found if isinstance(document.get("e"), int)}
    assert any("c" not in document for document in found) and any(isinstance(d.get("c"), list) for d in found)


def test_checks_give_the_columns_their_values() -> None:
    schema = """CREATE TABLE t (a TEXT CHECK (a IN ('x', 'y')), n INTEGER CHECK (n BETWEEN 18 AND 20), m INTEGER,
      CHECK (m > n))"""
    rows = [row for database in databases_for(schema, ["SELECT a FROM t WHERE m > 3"]) for row in database["t"]]
    assert {a for a, _, _ in rows} - {None} == {"x", "y"}
    assert {n for _, n, _ in rows} - {None} == {18, 19, 20}
    # A CHECK over two columns holds wherever rows are made on purpose.
    assert sum(m is None or n is None or m > n for _, n, m in rows) > 40


def test_other_seeds_give_other_databases_and_one_seed_the_same() -> None:
    schema, gold = "CREATE TABLE t (a INT, b TEXT)", "SELECT b FROM t WHERE a > 3"
    first, again, other = (list(databases_for(schema, [gold], 8, seed)) for seed in (0, 0, 1))
    assert first == again and first != other


def test_documentation_states_the_bounds_of_the_code() -> None:
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
    section = re.split(r"^## ", text.split("## What it cannot see", 1)[1], flags=re.MULTILINE)[0]
    for bound in (f"{MAX_COUNTED_ROWS:,}", f"{MAX_ROWS:,}"):
        assert bound in section, bound
    assert f"at least {['', 'one', 'two', 'three', 'four', 'five', 'six'][MIN_INFORMATIVE]} of the databases" in text
    assert f"default {DEFAULT_EFFORT}" in text
    assert f"relative {RELATIVE:.0e}".replace("e-0", "e-") in text and f"{ABSOLUTE:.0e}".replace("e-0", "e-") in text
