"""Two different values that something makes equal must meet: functions, collations and casts that are not injective.

``GROUP BY date(at)`` differs from ``GROUP BY at`` where two moments of one day meet; ``lower(a) = lower(b)`` from
``a = b`` where two texts differ in case alone. What meets is found by asking SQLite: a few values of the column and
`variations` of them are put through the very expression, and those that come out the same meet in some databases.
"""

from __future__ import annotations

import datetime
import itertools
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlglot import exp

from text2sql.equivalence.databases.declared import Declared
from text2sql.equivalence.databases.plan import ColumnKey, Plan
from text2sql.equivalence.databases.samples import Sample, meeting_samples
from text2sql.sql.schema import Column
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value, to_sqlite
from text2sql.sql.values import Row, Value

# Puts values of a column through expressions over v0; None where SQLite does not say.
Evaluate = Callable[[Sequence[str], Column, Sequence[Value]], "list[Row] | None"]

_MOST_FUNCTIONS = 6
_MOST_VALUES = 160
_MOST_BUCKETS = 24
# Of what functions take out of a text: steps, characters of a set, and characters of one step.
_MAX_STEPS, _MAX_CHARACTERS, _MAX_TAKEN_OUT = 4, 8, 20
_LOWER, RTRIM = exp.Lower(this=exp.column("v0")), exp.Anonymous(this="rtrim", expressions=[exp.column("v0")])
# Without any of these, nothing but a declared collation makes two values equal. AND is a function in sqlglot's trees.
FUNCTIONS = (exp.Func, exp.Binary, exp.Collate, exp.Cast, exp.Neg)
OPAQUE = (exp.Connector, exp.Predicate, exp.Not, exp.AggFunc, exp.Case, exp.If, exp.Dot, exp.Window, exp.Select)


@dataclass(frozen=True)
class Collision:
    """Values of which those of one bucket come out the same, and the columns in which they may meet."""

    columns: tuple[ColumnKey, ...]
    buckets: tuple[tuple[Value, ...], ...]


def column_functions(tree: exp.Expr) -> dict[str, list[exp.Expr]]:
    """Of a query, by lower-case name of a column, the expressions over it alone, in which it is called v0."""
    aliases = {
        fold(item.alias): item.this for item in tree.find_all(exp.Alias) if not isinstance(item.this, exp.Select)
    }
    found: dict[str, list[exp.Expr]] = {}
    for node in tree.find_all(*FUNCTIONS):
        for name, expression in _functions(node, aliases):
            known = found.setdefault(name, [])
            if expression not in known and len(known) < _MOST_FUNCTIONS:
                known.append(expression)
    return found


def _functions(node: exp.Expr, aliases: dict[str, exp.Expr]) -> Iterator[tuple[str, exp.Expr]]:
    if isinstance(node, exp.Like):
        # Texts compare case aside in LIKE; with a literal pattern the condition itself is tried.
        sides = [side for side in (node.this, node.expression) if isinstance(side, exp.Column)]
        if len(sides) == 2:
            yield from ((fold(side.name), _LOWER) for side in sides)
        return
    within = isinstance(node.parent, _FUNCTIONS) and not isinstance(node.parent, OPAQUE)
    if isinstance(node, OPAQUE) or within or node.find(exp.AggFunc, exp.Select):
        return
    columns = list(node.find_all(exp.Column))
    names = {fold(column.name) for column in columns}
    if len(names) != 1:
        return
    name = names.pop()
    if isinstance(node, exp.Collate):
        collation = node.expression.name.upper()
        if collation in _FOLDED:
            yield name, _FOLDED[collation]
        return
    copied = node.copy()
    for column in list(copied.find_all(exp.Column)):
        column.replace(exp.column("v0"))
    yield name, copied
    inner = aliases.get(name)
    if inner is not None and not isinstance(inner, exp.Column) and inner.find(exp.AggFunc, exp.Select) is None:
        below = {fold(column.name) for column in inner.find_all(exp.Column)}
        if len(below) == 1:
            yield below.pop(), _composed(node, inner)
    elif isinstance(inner, exp.Column) and fold(inner.name) != name:
        yield fold(inner.name), copied


def _composed(outer: exp.Expr, inner: exp.Expr) -> exp.Expr:
    inner = inner.copy()
    for column in list(inner.find_all(exp.Column)):
        column.replace(exp.column("v0"))
    copied = outer.copy()
    for column in list(copied.find_all(exp.Column)):
        column.replace(exp.Paren(this=inner.copy()))
    return copied


_FUNCTIONS = (exp.Func, exp.Binary, exp.Cast, exp.Neg)
_FOLDED: dict[str, exp.Expr] = {"NOCASE": _LOWER, "RTRIM": RTRIM}


def collisions(
    plan: Plan,
    declared: Declared,
    columns: dict[ColumnKey, Column],
    pools: dict[ColumnKey, list[Value]],
    ask: Evaluate,
) -> tuple[list[Collision], list[tuple[Sample, ...]]]:
    """What may meet in which columns, and databases in which what the queries tell apart differently does.

    Args:
        plan: The compiled pair.
        declared: Which values suit the columns.
        columns: The columns of the tables that rows are made for.
        pools: Of each column some values that it may hold.
        ask: Puts values through expressions.
    """
    wanted: dict[str, list[ColumnKey]] = {}
    by_column: dict[ColumnKey, list[str]] = {}
    for key, column in columns.items():
        expressions = [*plan.functions.get(key[1], ()), *([_FOLDED[column.collation]] if column.collation else ())]
        if column.generated:
            continue
        by_column[key] = [to_sqlite(expression) for expression in expressions]
        for text in by_column[key]:
            wanted.setdefault(text, []).append(key)
    found: dict[str, dict[Value | tuple[str, Value], set[Value]]] = {}
    samples: list[tuple[Sample, ...]] = []
    for key, texts in by_column.items():
        if not texts:
            continue
        literals = [
            literal_value(part) for node in plan.functions.get(key[1], ()) for part in node.find_all(exp.Literal)
        ]
        values = _spread(pools[key], declared.kinds[key], literals)
        values = declared.fitting(key, values)[:_MOST_VALUES]
        rows = ask(texts, columns[key], values)
        if rows is None and len(texts) > 1:
            # One that SQLite does not have says nothing of the others.
            by_column[key] = texts = [text for text in texts if ask([text], columns[key], values) is not None]
            rows = ask(texts, columns[key], values) if texts else None
        if key[1] in plan.parting:
            made = meeting_samples(plan.reader(key[0]), key, rows or (), values)
            # Where a query reads the table twice, once more without other rows in it: these might be larger.
            twice = made if plan.tables.count(key[0]) > len(plan.queries) else []
            samples += [*made, *(tuple(replace(one, ranked=True) for one in group) for group in twice)]
        for value, row in zip(values, rows or (), strict=False):
            for text, result in zip(texts, row, strict=True):
                found.setdefault(text, {}).setdefault((type(result).__name__, result), set()).add(value)
    met = [_collision(keys, found.get(text, {})) for text, keys in wanted.items()]
    return [collision for collision in met if collision is not None], samples


def _collision(keys: list[ColumnKey], results: dict[Value | tuple[str, Value], set[Value]]) -> Collision | None:
    buckets = [tuple(sorted(values, key=repr)) for values in results.values() if len(values) > 1]
    # Where nearly all come out the same, as from typeof, nothing in particular meets.
    buckets = [bucket for bucket in buckets if len(bucket) <= _MOST_VALUES // 4] or buckets
    buckets.sort(key=repr)
    random.Random(0).shuffle(buckets)
    return Collision(tuple(keys), tuple(buckets[:_MOST_BUCKETS])) if buckets else None


def _spread(pool: Iterable[Value], kind: str, literals: Sequence[Value]) -> list[Value]:
    found: list[Value] = [None, *literals]
    for value in pool:
        found += (value, *variations(value, kind, literals))
    return list(dict.fromkeys(found))


def variations(value: Value, kind: str, literals: Sequence[Value] = ()) -> list[Value]:
    """Values that differ from one in a single respect that some function overlooks.

    Args:
        value: A value of the column.
        kind: See `text2sql.sql.ddl.Column.kind`.
        literals: Of the functions around the column: what REPLACE takes out may be in or not.
    """
    if isinstance(value, (int, float)):
        near = [value + 1, value - 1, value + 10, -value]
        if kind not in ("integer", "boolean"):
            near += [value + step for step in (0.04, -0.04, 0.004, 0.3, 0.45)]
        return list(near)
    if not isinstance(value, str):
        return []
    if kind == "json":
        return list(dict.fromkeys(map(_document, _varied(json.loads(value)))))
    if kind in ("date", "datetime", "time", "moment"):
        return list(_moments(value))
    found = [value.swapcase(), value.lower(), value.upper(), value + " ", " " + value, f" {value} ", value + "x"]
    found += [value[:-1] + "~", "~" + value[1:], value[:2] + "~" + value[3:], "-" + value, "0" + value, value + ".0"]
    found += [value + ".5", value + "abc"]
    for literal in literals[:4]:
        if isinstance(literal, str) and literal and len(literal) < 20:
            found += [value[:1] + literal + value[1:], value.replace(literal, "")]
            # What stands in front of it, or behind it, may be all that is looked at.
            found += ["~" + literal + value[1:], value[:1] + literal + "~"]
    return [*found, *_uncleaned(value, literals)]


def _uncleaned(value: str, literals: Sequence[Value]) -> list[str]:
    """Texts that only several steps of cleaning, or a set of characters taken out, bring to a text.

    Args:
        value: The text.
        literals: What the functions take out: texts one after the other, or the characters of one.
    """
    texts = list(dict.fromkeys(text for text in literals if isinstance(text, str) and 0 < len(text) < _MAX_TAKEN_OUT))
    sets = [list(text) for text in texts if 1 < len(set(text)) == len(text) <= _MAX_CHARACTERS and not text.isalnum()]
    found = []
    for parts in (*itertools.combinations(texts[:_MAX_STEPS], 2), texts[:_MAX_STEPS], *sets):
        if len(parts) > 1:
            first, *others = parts
            found += [value[:1] + first + value[1:2] + "".join(others) + value[2:], first + value + "".join(others)]
    return list(dict.fromkeys(found))


def _document(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _varied(value: Any) -> Iterator[Any]:
    """Documents that differ from one in one of its values, in a respect that some function overlooks."""
    if isinstance(value, str):
        yield from (value.swapcase(), value + " ")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from (value + 0.25, str(value))
    elif isinstance(value, dict):
        for key, part in list(value.items())[:4]:
            yield from ({**value, key: other} for other in _varied(part))


def _moments(text: str) -> Iterator[str]:
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


def collide(collision: Collision, rows: dict[str, list[Row]], tables: dict[str, list[str]], rng: random.Random) -> None:
    """Puts two or three values of one bucket into rows of a database.

    Args:
        collision: What may meet.
        rows: By table; changed in place.
        tables: Of each table its columns in order, empty where they must keep their values.
        rng: Chooses.
    """
    places = [
        (name, tables[name].index(key), number)
        for name, key in collision.columns
        if key in tables[name]
        for number in range(len(rows[name]))
    ]
    if len(places) < 2:
        return
    first, *others = rng.sample(places, min(len(places), rng.choice((2, 2, 3))))
    present = rows[first[0]][first[2]][first[1]]
    bucket = next((bucket for bucket in collision.buckets if present in bucket), None)
    if bucket is None or rng.random() < 0.4:
        bucket = rng.choice(collision.buckets)
    chosen = rng.sample(bucket, min(len(bucket), 1 + len(others)))
    if present in bucket:
        chosen = [present, *(value for value in chosen if value != present)]
    for (name, at, number), value in zip((first, *others), chosen, strict=False):
        row = rows[name][number]
        rows[name][number] = (*row[:at], value, *row[at + 1 :])
