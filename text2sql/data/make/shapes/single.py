"""Easy shapes: one table, at most one condition, no grouping."""

from __future__ import annotations

from random import Random

from text2sql.data.make import conditions as test
from text2sql.data.make.domain import Column, Table, plural
from text2sql.data.make.phrasing import (
    AGGREGATES,
    COUNTS,
    LISTS,
    aggregate,
    columns,
    named,
    nouns,
    say,
    spoken_order,
)
from text2sql.data.make.query import Draft, Query, View, draft, literal

DISTINCTS = (
    "What are the different {cols} of {many}?",
    "List the distinct {cols} of {many}.",
    "Show every different {col} of {many} once.",
    "Which different {cols} of {many} are there?",
)

DISTINCT_COUNTS = (
    "How many different {cols} do {many} have?",
    "Count the distinct {cols} of {many}.",
    "How many distinct {cols} of {many} are there?",
    "What is the number of different {cols} of {many}?",
)


def pick_columns(rng: Random, table: Table, avoid: tuple[Column, ...] = ()) -> list[Column]:
    """Choose one or two columns that a person would ask to see."""
    plain = [c for c in table.of_kind("category", "number", "year", "date") if c not in avoid and c.phrases]
    names = [c for c in table.of_kind("code") if c not in avoid and c is not table.handle]
    if table.handle is None:
        return rng.sample(plain, 2) if len(plain) > 1 else []
    if not plain or rng.random() < 0.55:
        return [table.handle]
    return [table.handle, rng.choice(plain + names)]


def listing(rng: Random, table: Table, shown: list[Column], *where: test.Condition) -> Draft:
    """Return the draft "list these columns of the rows that meet all the conditions"."""
    one, many = nouns(rng, table, list(where))
    query = Query(
        ", ".join(c.name for c in shown),
        table.name,
        where=" AND ".join(condition.sql() for condition in spoken_order(where)),
    )
    return draft(say(rng, LISTS, one=one, many=many, **columns(rng, *shown)), query, table)


def list_where(rng: Random, view: View) -> Draft | None:
    """SELECT title FROM books WHERE genre = 'Fantasy'."""
    table = rng.choice(view.domain.tables)
    where = test.condition(rng, view, table)
    shown = pick_columns(rng, table, (where.column,) if where else ())
    return listing(rng, table, shown, where) if where and shown else None


def list_all(rng: Random, view: View) -> Draft | None:
    """SELECT title, pages FROM books."""
    table = rng.choice(view.domain.tables)
    shown = pick_columns(rng, table)
    return listing(rng, table, shown) if len(shown) > 1 else None


def lookup(rng: Random, view: View) -> Draft | None:
    """SELECT pages FROM books WHERE title = 'Silent River'."""
    table = rng.choice(view.domain.tables)
    handle = table.handle
    plain = table.of_kind("category", "number", "year", "date", "code")
    plain = [column for column in plain if column is not handle]
    if handle is None or not plain:
        return None
    value = view.some_row(rng, table)[handle.name]
    shown = rng.sample(plain, 2) if len(plain) > 1 and rng.random() < 0.3 else [rng.choice(plain)]
    patterns: tuple[str, ...] = ("Find the {col} of {row}.", "Show the {col} of {row}.", "Look up the {col} of {row}.")
    patterns += ("What are the {col} of {row}?",) if len(shown) > 1 else ("What is the {col} of {row}?",) * 3
    if table.is_person and len(shown) == 1:
        patterns += ("What is {row}'s {col}?",) * 2
    question = say(rng, patterns, row=named(rng, table, value), col=columns(rng, *shown)["col"])
    query = Query(", ".join(c.name for c in shown), table.name, where=f"{handle.name} = {literal(value)}")
    return draft(question, query, table)


def count_where(rng: Random, view: View) -> Draft | None:
    """SELECT COUNT(*) FROM books WHERE pages > 300."""
    table = rng.choice(view.domain.tables)
    where = test.condition(rng, view, table)
    return counting(rng, table, where) if where else None


def counting(rng: Random, table: Table, *where: test.Condition) -> Draft:
    """Return the draft "how many rows meet all the conditions"."""
    many = nouns(rng, table, list(where))[1]
    query = Query("COUNT(*)", table.name, where=" AND ".join(condition.sql() for condition in spoken_order(where)))
    return draft(say(rng, COUNTS, many=many), query, table)


def count_all(rng: Random, view: View) -> Draft | None:
    """SELECT COUNT(*) FROM books."""
    return counting(rng, rng.choice(view.domain.tables))


def distinct(rng: Random, view: View) -> Draft | None:
    """SELECT DISTINCT genre FROM books, or COUNT(DISTINCT genre)."""
    table = rng.choice(view.domain.tables)
    categories = table.of_kind("category")
    if not categories:
        return None
    column = rng.choice(categories)
    cols, many = plural(rng.choice(column.phrases)), nouns(rng, table)[1]
    if rng.random() < 0.4:
        question = say(rng, DISTINCT_COUNTS, cols=cols, many=many)
        return draft(question, Query(f"COUNT(DISTINCT {column.name})", table.name), table)
    question = say(rng, DISTINCTS, cols=cols, col=rng.choice(column.phrases), many=many)
    return draft(question, Query(f"DISTINCT {column.name}", table.name), table)


def total_aggregate(rng: Random, view: View) -> Draft | None:
    """SELECT AVG(price) FROM books."""
    table = rng.choice(view.domain.tables)
    numbers = table.of_kind("number")
    return aggregating(rng, table, rng.choice(numbers)) if numbers else None


def aggregating(rng: Random, table: Table, column: Column, *where: test.Condition) -> Draft:
    """Return the draft "one aggregate over the rows that meet all the conditions"."""
    function = rng.choice(("AVG", "MAX", "MIN", "SUM", "SUM") if column.total else ("AVG", "AVG", "MAX", "MIN"))
    question = say(rng, AGGREGATES, agg=aggregate(rng, function, column), many=nouns(rng, table, list(where))[1])
    query = Query(f"{function}({column.name})", table.name, where=" AND ".join(c.sql() for c in where))
    return draft(question, query, table)


def matching_text(rng: Random, view: View) -> Draft | None:
    """SELECT title FROM books WHERE title LIKE '%River%'."""
    table = rng.choice(view.domain.tables)
    if table.label is None:
        return None
    where = test.like(rng, view, table, table.label)
    if rng.random() < 0.25:
        return counting(rng, table, where)
    shown = rng.choice([[table.label], pick_columns(rng, table)])
    return listing(rng, table, shown, where)


def within_range(rng: Random, view: View) -> Draft | None:
    """SELECT title FROM books WHERE pages BETWEEN 100 AND 200."""
    table = rng.choice(view.domain.tables)
    ranges = [c for c in table.of_kind("number", "year", sparse=True) if c.high - c.low > 8]
    where = test.between(rng, rng.choice(ranges)) if ranges else None
    return _list_or_count(rng, table, where)


def in_list(rng: Random, view: View) -> Draft | None:
    """SELECT title FROM books WHERE genre IN ('Fantasy', 'Poetry')."""
    table = rng.choice(view.domain.tables)
    categories = table.of_kind("category", sparse=True)
    return _list_or_count(rng, table, test.one_of(rng, rng.choice(categories)) if categories else None)


def not_equal(rng: Random, view: View) -> Draft | None:
    """SELECT title FROM books WHERE genre != 'Fantasy'."""
    table = rng.choice(view.domain.tables)
    categories = table.of_kind("category")
    return _list_or_count(rng, table, test.other_than(rng, rng.choice(categories)) if categories else None)


def null_test(rng: Random, view: View) -> Draft | None:
    """SELECT COUNT(*) FROM loans WHERE return_date IS NULL."""
    pairs = [(table, column) for table in view.domain.tables for column in table.columns if column.sparse]
    if not pairs:
        return None
    table, column = rng.choice(pairs)
    return _list_or_count(rng, table, test.has_value(rng, column))


def dated(rng: Random, view: View) -> Draft | None:
    """SELECT title FROM episodes WHERE aired LIKE '2021-%'."""
    table = rng.choice(view.domain.tables)
    dates = table.of_kind("date", sparse=True)
    return _list_or_count(rng, table, test.in_time(rng, rng.choice(dates)) if dates else None)


def _list_or_count(rng: Random, table: Table, where: test.Condition | None) -> Draft | None:
    if where is None:
        return None
    shown = pick_columns(rng, table, (where.column,))
    if not shown or rng.random() < 0.35:
        return counting(rng, table, where)
    return listing(rng, table, shown, where)
