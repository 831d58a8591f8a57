"""Schemas of many tables, cut to what a question needs."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from text2sql.data.schema_cut import cut_schema
from text2sql.errors import UserError
from text2sql.sql.ddl import parse_schema

WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "theta", "kappa", "lambda", "sigma", "omega", "rho")
SHOP = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (id), day DATE);
CREATE TABLE products (id INTEGER PRIMARY KEY, title TEXT); -- what is sold
CREATE TABLE order_lines (order_id INTEGER REFERENCES orders (id), product_id INTEGER REFERENCES products (id));
CREATE VIEW lisbon (id) AS SELECT id FROM customers WHERE city = 'Lisbon';
"""


def _noise(count: int) -> str:
    draw = random.Random(0)
    tables = []
    for number in range(count):
        columns = ", ".join(f"{a}_{b} TEXT" for a, b in zip(draw.sample(WORDS, 4), draw.sample(WORDS, 4), strict=True))
        tables.append(f"CREATE TABLE {draw.choice(WORDS)}_{number} (id INTEGER, {columns});")
    return "\n".join(tables)


def test_a_small_schema_stays_as_it_is() -> None:
    cut = cut_schema(SHOP, "anything", 5)
    assert (cut.text, cut.left_out, cut.note) == (SHOP, (), "")
    assert cut_schema(_noise(300) + SHOP, "anything", 0).left_out == ()


def test_the_tables_that_the_question_speaks_of_are_kept() -> None:
    cut = cut_schema(_noise(1000) + SHOP, "How many customers live in each city?", 10)
    assert "customers" in cut.kept and len(cut.kept) + len(cut.left_out) == 1005
    assert {*parse_schema(cut.text).tables} | {"lisbon"} >= {*cut.kept}
    assert cut.note.startswith(f"Of 1,005 tables the model was shown {len(cut.kept)}, the nearest to the question")
    assert f"{len(cut.left_out)} were left out" in cut.note.replace(",", "")


def test_tables_that_a_query_joins_through_are_kept_though_no_word_names_them() -> None:
    cut = cut_schema(_noise(200) + SHOP, "Which product titles did people buy, on which day of their orders?", 3)
    assert {"products", "orders", "order_lines", "customers"} <= {*cut.kept}


def test_comments_and_values_count() -> None:
    assert "products" in cut_schema(_noise(200) + SHOP, "what is sold?", 2).kept
    assert "lisbon" in cut_schema(_noise(200) + SHOP, "Who is in Lisbon?", 2).kept


def test_a_question_that_names_nothing_gets_the_first_tables() -> None:
    cut = cut_schema(_noise(50), "hm?", 5)
    assert len(cut.kept) == 5 and len(cut.left_out) == 45


def test_every_statement_is_in_one_of_the_two_lists_and_whole() -> None:
    text = _noise(60) + SHOP
    cut = cut_schema(text, "city day title", 4)
    schema = parse_schema(cut.text)
    whole = parse_schema(text)
    assert {*schema.tables} | {*schema.views} == {*cut.kept}
    for name in schema.tables:
        assert [*schema.tables[name].columns] == [*whole.tables[name].columns]


def test_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(UserError, match=r'A schema of 60 tables.*the extra "retrieval".*--max-tables 0'):
        cut_schema(_noise(60), "a question", 4)
    assert cut_schema(_noise(4), "a question", 4).left_out == ()


def test_the_tables_of_the_gold_query_are_found_among_all_of_spider(shared_data: Path) -> None:
    """Every 17th question of the dev part on one schema of all databases: tables are called as in a warehouse."""
    rows = [json.loads(line) for part in ("dev", "train") for line in (shared_data / f"spider_{part}.jsonl").open()]
    contexts = {row["db_id"]: row["context"] for row in rows}
    numbers = {db_id: number for number, db_id in enumerate(contexts)}
    everything = "\n".join(_numbered(context, numbers[db_id]) for db_id, context in contexts.items())
    assert everything.count("CREATE TABLE") > 800
    asked, found = rows[:1034:17], 0
    for row in asked:
        used = {table.name.lower() for table in sqlglot.parse_one(row["answer"], read="sqlite").find_all(exp.Table)}
        kept = cut_schema(everything, row["question"], 40).kept
        found += {f"{name}_{numbers[row['db_id']]}" for name in used} <= {*kept}
    assert found / len(asked) >= 0.93


def _numbered(context: str, number: int) -> str:
    """A schema whose tables carry a number, so that those of other schemas have other names."""
    made = []
    for table in parse_schema(context).tables.values():
        parts = [f'"{column.name}" {column.type}' for column in table.columns.values()]
        parts += [f"FOREIGN KEY ({', '.join(k.columns)}) REFERENCES {k.parent}_{number}" for k in table.foreign_keys]
        made.append(f'CREATE TABLE "{table.name}_{number}" ({", ".join(parts)});')
    return "\n".join(made)
