"""Two different values that something makes equal: functions, collations and casts that are not injective.

``GROUP BY date(at)`` differs from ``GROUP BY at`` where two moments of one day meet; ``lower(a) = lower(b)`` from
``a = b`` where two texts differ in case alone. Which values collide is found by asking SQLite: a few values of the
column and `variations` of them are put through the very expression, and those that come out the same meet in some
databases.
"""

from __future__ import annotations

import datetime
import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlglot import exp

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.phenomena.column_functions import COLLATIONS
from text2sql.equivalence.databases.plan import Plan
from text2sql.equivalence.databases.samples import Sample, SampleDatabase
from text2sql.sql.schema import Column
from text2sql.sql.trees import literal_value, to_sqlite
from text2sql.sql.values import Row, Value

# Values of one column that are put through each of them.
MAX_VALUES = 160
# Sets of equal values of one expression.
_MAX_BUCKETS = 24
# Of the literals that functions remove from a text: how many, characters of a set, and characters of one.
_MAX_REMOVED = 4
_MAX_SET_SIZE = 8
_MAX_REMOVED_LENGTH = 20
# Values of a column of which variations are made: ordinary ones, and such as lie near the queries' literals.
_ORDINARY_VALUES = 4
_LITERAL_VALUES = 8


@dataclass(frozen=True)
class Collision:
    """Values that one expression makes equal.

    Attributes:
        columns: The columns in which the values may meet.
        buckets: Sets of values; those of one set come out the same.
    """

    columns: tuple[ColumnKey, ...]
    buckets: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True)
class Collisions:
    """What collides in a pair's columns.

    Attributes:
        collisions: The values that meet in some databases.
        databases: Samples of two values that one expression makes equal and another does not.
    """

    collisions: list[Collision] = field(default_factory=list)
    databases: list[SampleDatabase] = field(default_factory=list)


def find_collisions(plan: Plan, domains: Domains) -> Collisions:
    """What collides in which columns, and samples for the columns over which the queries have different expressions."""
    if not plan.columns.functions and not any(column.collation for column in domains.columns.values()):
        return Collisions()
    texts_by_column = {
        key: [to_sqlite(expression) for expression in _expressions(plan, key, column)]
        for key, column in domains.columns.items()
        if not column.generated
    }
    columns_by_text: dict[str, list[ColumnKey]] = {}
    for key, texts in texts_by_column.items():
        for text in texts:
            columns_by_text.setdefault(text, []).append(key)
    buckets: dict[str, dict[tuple[str, Value], set[Value]]] = {}
    databases: list[SampleDatabase] = []
    for key, texts in texts_by_column.items():
        if not texts:
            continue
        values = _values(plan, domains, key)
        texts, rows = _evaluated(domains, key, texts, values)
        if key[1] in plan.columns.differing_functions:
            databases += _samples(plan, key, rows, values)
        for value, row in zip(values, rows, strict=False):
            for text, result in zip(texts, row, strict=True):
                buckets.setdefault(text, {}).setdefault((type(result).__name__, result), set()).add(value)
    collisions = [_collision(keys, buckets.get(text, {})) for text, keys in columns_by_text.items()]
    return Collisions([collision for collision in collisions if collision is not None], databases)


def _expressions(plan: Plan, key: ColumnKey, column: Column) -> list[exp.Expr]:
    """The expressions over a column, and what its collation does."""
    return [*plan.columns.functions.get(key[1], ()), *([COLLATIONS[column.collation]] if column.collation else ())]


def _values(plan: Plan, domains: Domains, key: ColumnKey) -> list[Value]:
    """Values of a column and variations of them."""
    functions = plan.columns.functions.get(key[1], ())
    literals = [literal_value(part) for node in functions for part in node.find_all(exp.Literal)]
    candidates: list[Value] = [None, *literals]
    for value in (*domains.pool(key, 0, _ORDINARY_VALUES), *domains.literals(key)[:_LITERAL_VALUES]):
        candidates += (value, *variations(value, domains.constraints.kinds[key], literals))
    return domains.constraints.allowed(key, list(dict.fromkeys(candidates)))[:MAX_VALUES]


def _evaluated(
    domains: Domains, key: ColumnKey, texts: list[str], values: list[Value]
) -> tuple[list[str], Sequence[Row]]:
    """Those of some expressions that SQLite has, and what they make of each of some values."""
    rows = domains.evaluate(texts, key, values)
    if rows is None and len(texts) > 1:
        # One that SQLite does not have says nothing of the others.
        texts = [text for text in texts if domains.evaluate([text], key, values) is not None]
        rows = domains.evaluate(texts, key, values) if texts else None
    return texts, rows or ()


def _samples(plan: Plan, key: ColumnKey, rows: Sequence[Row], values: Sequence[Value]) -> list[SampleDatabase]:
    databases = colliding_samples(plan.first_reader(key[0]), key, rows, values)
    if plan.tables.count(key[0]) <= len(plan.queries):
        return databases
    # Where a query reads the table twice, once more without other rows in it: these might be larger.
    again = (tuple(replace(sample, no_other_rows=True) for sample in samples) for samples in databases)
    return [*databases, *again]


def colliding_samples(
    query: int, key: ColumnKey, results: Sequence[Row], values: Sequence[Value]
) -> list[SampleDatabase]:
    """Databases of two values that one expression over a column makes equal and another does not.

    Args:
        query: The number of the query.
        key: The column.
        results: Of each value what each of the expressions makes of it, in the order of the values.
        values: The values; the identity is an expression, too.
    """
    if not results:
        return []
    databases: list[SampleDatabase] = []
    rows = [
        [(type(result).__name__, result) for result in (*row, value)]
        for row, value in zip(results, values, strict=True)
    ]
    for merging, separating in itertools.permutations(range(len(rows[0])), 2):
        first_with: dict[tuple[str, Value], int] = {}
        for index, row in enumerate(rows):
            if row[merging][1] is None:
                continue
            other = first_with.setdefault(row[merging], index)
            if rows[other][separating] != row[separating]:
                pair = ((values[other],), (values[index],))
                databases.append((Sample(query, (key,), pair, copies_agree=True),))
                break
    return list(dict.fromkeys(databases))


def _collision(keys: list[ColumnKey], values_by_result: Mapping[tuple[str, Value], set[Value]]) -> Collision | None:
    """What meets by one expression; None if nothing does."""
    buckets = [tuple(sorted(values, key=repr)) for values in values_by_result.values() if len(values) > 1]
    # Where nearly all come out the same, as from typeof, nothing in particular meets.
    buckets = [bucket for bucket in buckets if len(bucket) <= MAX_VALUES // 4] or buckets
    buckets.sort(key=repr)
    # The same buckets for every seed.
    random.Random(0).shuffle(buckets)
    return Collision(tuple(keys), tuple(buckets[:_MAX_BUCKETS])) if buckets else None


def variations(value: Value, kind: str, literals: Sequence[Value] = ()) -> list[Value]:
    """Values that differ from one in a single respect that some function overlooks.

    Args:
        value: A value of the column.
        kind: See `text2sql.sql.schema.Column.kind`.
        literals: The literals of the functions around the column: what REPLACE removes may be in the value or not.
    """
    if isinstance(value, (int, float)):
        near = [value + 1, value - 1, value + 10, -value]
        if kind not in ("integer", "boolean"):
            near += [value + step for step in (0.04, -0.04, 0.004, 0.3, 0.45)]
        return list[Value](near)
    if not isinstance(value, str):
        return []
    if kind == "json":
        return list(dict.fromkeys(map(_dumped, _document_variations(json.loads(value)))))
    if kind in ("date", "datetime", "time", "moment"):
        return list(_moment_variations(value))
    texts = [value.swapcase(), value.lower(), value.upper(), value + " ", " " + value, f" {value} ", value + "x"]
    texts += [value[:-1] + "~", "~" + value[1:], value[:2] + "~" + value[3:], "-" + value, "0" + value, value + ".0"]
    texts += [value + ".5", value + "abc"]
    for literal in literals[:4]:
        if isinstance(literal, str) and literal and len(literal) < 20:
            texts += [value[:1] + literal + value[1:], value.replace(literal, "")]
            # A function may look at nothing but what stands in front of the literal, or behind it.
            texts += ["~" + literal + value[1:], value[:1] + literal + "~"]
    return [*texts, *_uncleaned_texts(value, literals)]


def _uncleaned_texts(value: str, literals: Sequence[Value]) -> list[str]:
    """Texts that become a text only by several steps of cleaning, or by removing a set of characters.

    Args:
        value: The text.
        literals: What the functions remove: texts one after the other, or the characters of one.
    """
    lengths = range(1, _MAX_REMOVED_LENGTH)
    removed = list(dict.fromkeys(text for text in literals if isinstance(text, str) and len(text) in lengths))
    sets = [list(text) for text in removed if 1 < len(set(text)) == len(text) <= _MAX_SET_SIZE and not text.isalnum()]
    texts = []
    for parts in (*itertools.combinations(removed[:_MAX_REMOVED], 2), removed[:_MAX_REMOVED], *sets):
        if len(parts) > 1:
            first, *others = parts
            texts += [value[:1] + first + value[1:2] + "".join(others) + value[2:], first + value + "".join(others)]
    return list(dict.fromkeys(texts))


def _dumped(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _document_variations(value: Any) -> Iterator[Any]:
    """Documents that differ from one in one of its values, in a respect that some function overlooks."""
    if isinstance(value, str):
        yield from (value.swapcase(), value + " ")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from (value + 0.25, str(value))
    elif isinstance(value, dict):
        for key, part in list(value.items())[:4]:
            yield from ({**value, key: other} for other in _document_variations(part))


def _moment_variations(text: str) -> Iterator[str]:
    """Moments that differ from one by a second up to a month, by a year, or by a month."""
    try:
        if ":" in text and "-" not in text:
            moment, form = datetime.datetime.fromisoformat(f"2001-01-01 {text}"), "%H:%M:%S"
        else:
            moment = datetime.datetime.fromisoformat(text)
            form = "%Y-%m-%d %H:%M:%S" if ":" in text else "%Y-%m-%d"
        for seconds in (1, 60, 3600, 86_400, 7 * 86_400, 31 * 86_400):
            yield (moment + datetime.timedelta(seconds=seconds)).strftime(form)
        yield moment.replace(year=moment.year % 9000 + 1).strftime(form)
        yield moment.replace(month=moment.month % 12 + 1, day=1 + moment.day % 28).strftime(form)
    except (ValueError, OverflowError):
        return


def apply_collision(
    collision: Collision, rows: Mapping[str, list[Row]], movable: Mapping[str, Sequence[str]], rng: random.Random
) -> None:
    """Puts two or three values of one bucket into rows of a database.

    Args:
        collision: What may meet.
        rows: By table; changed in place.
        movable: Of each table its columns in order, empty names for those that must keep their values.
        rng: Chooses the rows and the values.
    """
    # Table, index of the column, index of the row.
    cells = [
        (name, movable[name].index(key), row)
        for name, key in collision.columns
        if key in movable[name]
        for row in range(len(rows[name]))
    ]
    if len(cells) < 2:
        return
    first, *others = rng.sample(cells, min(len(cells), rng.choice((2, 2, 3))))
    present = rows[first[0]][first[2]][first[1]]
    bucket = next((bucket for bucket in collision.buckets if present in bucket), None)
    if bucket is None or rng.random() < 0.4:
        bucket = rng.choice(collision.buckets)
    chosen = rng.sample(bucket, min(len(bucket), 1 + len(others)))
    if present in bucket:
        chosen = [present, *(value for value in chosen if value != present)]
    for (name, index, number), value in zip((first, *others), chosen, strict=False):
        row = rows[name][number]
        rows[name][number] = (*row[:index], value, *row[index + 1 :])
