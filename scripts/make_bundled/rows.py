"""Rows for a domain: the same seed gives the same rows, on every machine."""

from __future__ import annotations

import sqlite3
from datetime import date, timedelta
from random import Random

from scripts.make_bundled.pools import FIRST_NAMES, LAST_NAMES
from text2sql.data.make.conditions import random_day
from text2sql.data.make.domain import PEOPLE, Column, Domain, Table
from text2sql.data.make.query import Row, Rows, Value

_SPARSE_SHARE = 0.3
_CHILDLESS_SHARE = 0.2


def make_rows(domain: Domain, seed: int = 0) -> Rows:
    """Return the rows of every table of the domain."""
    rows: Rows = {}
    for table in domain.tables:
        rng = Random(f"rows/{seed}/{domain.name}/{table.name}")
        columns = [_column_values(rng, column, table.size, domain) for column in table.columns]
        rows[table.name] = [
            dict(zip((column.name for column in table.columns), values, strict=True))
            for values in zip(*columns, strict=True)
        ]
        _order_dates(rng, table, rows[table.name])
    return rows


def fill(connection: sqlite3.Connection, domain: Domain, rows: Rows) -> None:
    """Create the tables of the domain in an empty database and insert the rows."""
    names = [table.name for table in domain.tables]
    for table in domain.tables:
        connection.execute(table.ddl(names))
        marks = ", ".join("?" * len(table.columns))
        connection.executemany(
            f"INSERT INTO {table.name} VALUES ({marks})", [tuple(row.values()) for row in rows[table.name]]
        )
    connection.commit()


def _column_values(rng: Random, column: Column, size: int, domain: Domain) -> list[Value]:
    values: list[Value]
    match column.kind:
        case "key":
            return list(range(1, size + 1))
        case "ref":
            return _references(rng, domain.table(column.target).size, size)
        case "label":
            pool = _people(rng, size) if column.values == PEOPLE else column.values
            return list(rng.sample(pool, size))
        case "category":
            # A linear slope: the most common value is about twice as common as the least common.
            weights = range(len(column.values), 2 * len(column.values))
            values = list(rng.choices(rng.sample(column.values, len(column.values)), weights, k=size))
        case "code":
            values = list(_people(rng, size) if column.values == PEOPLE else _codes(rng, column.values[0], size))
        case "number":
            values = [_number(rng, column) for _ in range(size)]
        case "year":
            values = [rng.randint(int(column.low), int(column.high)) for _ in range(size)]
        case "date":
            values = [random_day(rng, column).isoformat() for _ in range(size)]
        case "flag":
            values = [int(rng.random() < 0.6) for _ in range(size)]
    if column.sparse:
        values = [None if rng.random() < _SPARSE_SHARE else value for value in values]
    return values


def _number(rng: Random, column: Column) -> int | float:
    steps = int((column.high - column.low) / column.step)
    value = column.low + column.step * rng.randint(0, steps)
    return round(value, 2) if column.sql_type == "REAL" else int(value)


def _references(rng: Random, targets: int, size: int) -> list[Value]:
    """Point to some targets often and to some never, so that "most" and "none" have an answer."""
    chosen = rng.sample(range(1, targets + 1), targets - max(1, round(targets * _CHILDLESS_SHARE)))
    weights = [1 + 3 * rng.random() for _ in chosen]
    return list(rng.choices(chosen, weights, k=size))


def _people(rng: Random, size: int) -> list[str]:
    # A dict keeps the order in which names were drawn; a set would not.
    people: dict[str, None] = {}
    while len(people) < size:
        people[f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}"] = None
    return list(people)


def _codes(rng: Random, pattern: str, size: int) -> list[str]:
    codes: dict[str, None] = {}
    while len(codes) < size:
        codes["".join(str(rng.randint(1, 9)) if char == "#" else char for char in pattern)] = None
    return list(codes)


def _order_dates(rng: Random, table: Table, rows: list[Row]) -> None:
    """Let a later date column follow the first one within a season: nothing is returned before it is lent."""
    first, *later = [column.name for column in table.of_kind("date", sparse=True)] or [""]
    for row in rows:
        for name in later:
            if row[name] is not None:
                start = date.fromisoformat(str(row[first]))
                row[name] = (start + timedelta(days=rng.randint(1, 120))).isoformat()
