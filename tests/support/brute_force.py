"""An independent tester of the evaluator: large random databases in plain sqlite3, and nothing of the evaluator's.

It knows tables from SQLite's own pragmas and values from the texts of the queries. What it parts is different; what it
does not part may be different all the same.
"""

from __future__ import annotations

import random
import re
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any

import sqlglot
from sqlglot import exp

Rows = dict[str, list[tuple[Any, ...]]]

_LITERAL = re.compile(r"'((?:[^']|'')*)'|\"([^\"]*)\"|\b(\d+(?:\.\d+)?)\b")
_WORDS = ("ann", "Bob", "bob ", "cat dog", "a cat", "dog", "Eve", "eve", "open", "x")
_STEPS = 4_000_000


def parted(schema: str, gold: str, predicted: str, rng: random.Random, tries: int = 60, most: int = 120) -> Rows | None:
    """A database on which two queries give different results, None if none was found.

    Args:
        schema: Statements that SQLite accepts.
        gold: The gold query; where it sorts, the order counts.
        predicted: Another query that SQLite accepts.
        rng: Makes the databases.
        tries: How many.
        most: Rows of a table.
    """
    literals = _literals(f"{gold} {predicted}")
    is_sorted = re.search(r"\border\s+by\b(?!.*\))", gold, re.IGNORECASE | re.DOTALL) is not None
    for number in range(tries):
        size = rng.choice((0, 1, 2, 3, 8, 30, most)) if number else 3
        rows = _rows(schema, literals, size, rng)
        first = _answers(schema, rows, gold, predicted)
        if first is None or not _different(*first, is_sorted):
            continue
        # What hangs on the order in which rows are met is no difference.
        again = [_answers(schema, _shuffled(rows, rng), gold, predicted, reverse=bool(at)) for at in (0, 1, 1)]
        if all(other is not None and _different(*other, is_sorted) for other in again) and all(
            other is not None and Counter(other[0]) == Counter(first[0]) for other in again
        ):
            return rows
    return None


def _literals(text: str) -> list[Any]:
    found: list[Any] = []
    for single, double, number in _LITERAL.findall(text):
        word = single or double
        if number:
            value = float(number) if "." in number else int(number)
            found += [value, value + 1, value - 1]
            found += [f"{number}-05-06", f"{number}-12-31 23:59:59"] if len(number) == 4 else []
        elif word:
            core = word.strip("%")
            found += [word, core, core.lower(), core.upper(), core.title(), f"a{core}", f"{core} b", core[:-1]]
            if word.replace(".", "", 1).isdigit():
                found += [str(int(float(word)) + step) for step in (0, 1, -1, 10)]
    return found


def _rows(schema: str, literals: list[Any], size: int, rng: random.Random) -> Rows:
    db = sqlite3.connect(":memory:")
    db.executescript(schema)
    found: Rows = {}
    wide = rng.choice((3, 6, max(6, size)))
    nulls, near = rng.choice((0.0, 0.1, 0.3)), rng.choice((0.1, 0.4, 0.7))
    for table in _parents_first(db):
        columns = [row for row in db.execute(f"PRAGMA table_xinfo(`{table}`)") if row[6] in (0,)]
        references = {row[3].lower(): (row[2], row[4]) for row in db.execute(f"PRAGMA foreign_key_list(`{table}`)")}
        enums = dict(re.findall(r"(\w+)\s+\w+[^,]*?CHECK\s*\(\w+\s+IN\s*\(([^)]*)\)", schema, re.IGNORECASE))
        for at in range(size):
            row = []
            for _, name, kind, required, _, key, _ in columns:
                value = _value(kind.upper(), literals, near, wide, rng)
                if name in enums:
                    value = rng.choice([part.strip().strip("'") for part in enums[name].split(",")])
                if name.lower() in references:
                    parent, column = references[name.lower()]
                    target = column or next(r[1] for r in db.execute(f"PRAGMA table_info(`{parent}`)") if r[5])
                    known = [r[0] for r in db.execute(f"SELECT `{target}` FROM `{parent}`")]
                    value = rng.choice(known) if known else None
                elif key and kind.upper().startswith("INT"):
                    value = rng.choice((at + 1, rng.randint(1, 2 * size + 3)))
                row.append(None if rng.random() < nulls and not required and not key else value)
            marks = ",".join("?" * len(row))
            names = ",".join(f"`{column[1]}`" for column in columns)
            db.execute(f"INSERT OR IGNORE INTO `{table}` ({names}) VALUES ({marks})", row)
        names = ",".join(f"`{column[1]}`" for column in columns)
        found[table] = db.execute(f"SELECT {names} FROM `{table}`").fetchall()
    db.close()
    return found


def _parents_first(db: sqlite3.Connection) -> list[str]:
    names = [row[0] for row in db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")]
    virtual = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'create virtual%'")]
    names = [name for name in names if not any(name.startswith(f"{table}_") for table in virtual)]
    ordered: list[str] = []
    while len(ordered) < len(names):
        for name in names:
            parents = {row[2] for row in db.execute(f"PRAGMA foreign_key_list(`{name}`)")} & set(names) - {name}
            if name not in ordered and (parents <= set(ordered) or len(ordered) + 1 >= len(names)):
                ordered.append(name)
                break
        else:
            ordered += [name for name in names if name not in ordered]
    return ordered


def _value(kind: str, literals: list[Any], near: float, wide: int, rng: random.Random) -> Any:
    date = f"{rng.choice((2010, 2011, 2014, 2015, 2020))}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
    suiting: list[Any]
    if "BOOL" in kind:
        return rng.randint(0, 1)
    if "DATETIME" in kind or "TIMESTAMP" in kind:
        days = [v[:10] for v in literals if isinstance(v, str) and re.match(r"\d{4}-\d\d-\d\d", v)]
        day = rng.choice(days) if days and rng.random() < near else date
        return f"{day} {rng.choice((0, 0, 9, 10, 23)):02d}:{rng.choice((0, 0, 30)):02d}:00"
    if "DATE" in kind:
        days = [v for v in literals if isinstance(v, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", v)]
        return rng.choice(days) if days and rng.random() < near else date
    if kind.startswith("TIME"):
        return f"{rng.randint(0, 23):02d}:{rng.choice((0, 30)):02d}:00"
    if "INT" in kind:
        suiting = [v for v in literals if isinstance(v, int)]
        return rng.choice(suiting) if suiting and rng.random() < near else rng.randint(-1, wide)
    if any(word in kind for word in ("REAL", "FLOA", "DOUB", "NUM", "DEC")):
        suiting = [v for v in literals if isinstance(v, (int, float))]
        return rng.choice(suiting) if suiting and rng.random() < near else rng.randint(-8, 4 * wide) / 4
    suiting = [str(v) for v in literals]
    if suiting and rng.random() < near:
        return rng.choice(suiting)
    return rng.choice((rng.choice(_WORDS), str(rng.randint(0, wide)), f"w{rng.randint(0, wide)}"))


def _shuffled(rows: Rows, rng: random.Random) -> Rows:
    return {name: rng.sample(data, len(data)) for name, data in rows.items()}


def _answers(
    schema: str, rows: Rows, gold: str, predicted: str, *, reverse: bool = False
) -> tuple[list[Any], list[Any]] | None:
    db = sqlite3.connect(":memory:")
    db.executescript(schema)
    steps = [0]

    def count() -> bool:
        steps[0] += 1000
        return steps[0] > _STEPS

    try:
        for table, data in rows.items():
            columns = [row[1] for row in db.execute(f"PRAGMA table_xinfo(`{table}`)") if row[6] in (0,)]
            names, marks = ",".join(f"`{name}`" for name in columns), ",".join("?" * len(columns))
            db.executemany(f"INSERT INTO `{table}` ({names}) VALUES ({marks})", data)
        db.set_progress_handler(count, 1000)
        db.execute(f"PRAGMA reverse_unordered_selects = {'ON' if reverse else 'OFF'}")
        return _rounded(db.execute(gold).fetchall()), _rounded(db.execute(predicted).fetchall())
    except sqlite3.Error:
        return None
    finally:
        db.close()


def _rounded(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [tuple(float(f"{v:.9g}") if isinstance(v, float) else v for v in row) for row in rows]


def _different(gold: list[Any], predicted: list[Any], is_sorted: bool) -> bool:
    return gold != predicted if is_sorted else Counter(gold) != Counter(predicted)


def mutations(sql: str, rng: random.Random, count: int) -> list[str]:
    """Queries that differ from one in a single place, as a model's answer might.

    Args:
        sql: A query.
        rng: Chooses the places.
        count: How many at most.
    """
    found: list[str] = []
    for _ in range(4 * count):
        if len(found) >= count:
            break
        tree = sqlglot.parse_one(sql, read="sqlite")
        nodes = list(tree.walk())
        node = rng.choice(nodes)
        changed = _changed(node, nodes, rng)
        if changed is None:
            continue
        node.replace(changed)
        text = tree.sql("sqlite")
        if text not in found and text != sqlglot.parse_one(sql, read="sqlite").sql("sqlite"):
            found.append(text)
    return found


_OPERATORS = (exp.GT, exp.GTE, exp.LT, exp.LTE, exp.EQ, exp.NEQ)
_AGGREGATES = (exp.Max, exp.Min, exp.Sum, exp.Avg, exp.Count)


def _changed(node: exp.Expr, nodes: list[exp.Expr], rng: random.Random) -> exp.Expr | None:
    """The node in another form, None where there is nothing to change."""
    if type(node) in _OPERATORS:
        near = {exp.GT: exp.GTE, exp.GTE: exp.GT, exp.LT: exp.LTE, exp.LTE: exp.LT, exp.EQ: exp.NEQ, exp.NEQ: exp.EQ}
        return near[type(node)](this=node.this.copy(), expression=node.expression.copy())
    if isinstance(node, exp.And):
        return rng.choice(
            (
                exp.Paren(this=exp.Or(this=node.left.copy(), expression=node.right.copy())),
                node.left.copy(),
                node.right.copy(),
            )
        )
    if isinstance(node, exp.Or):
        return rng.choice((exp.And(this=node.left.copy(), expression=node.right.copy()), node.left.copy()))
    if isinstance(node, exp.Literal):
        if node.is_string:
            return exp.Literal.string(rng.choice((str(node.this) + "x", str(node.this)[1:], str(node.this).swapcase())))
        return exp.Literal.number(
            str(float(node.this) + 1 if "." in str(node.this) else int(node.this) + rng.choice((1, -1)))
        )
    if isinstance(node, _AGGREGATES) and not node.args.get("distinct"):
        other = rng.choice([kind for kind in _AGGREGATES if kind is not type(node)])
        inner = node.this
        if inner is None or isinstance(inner, exp.Star):
            columns = [n for n in nodes if isinstance(n, exp.Column)]
            return exp.Count(this=rng.choice(columns).copy()) if columns else None
        if isinstance(inner, exp.Distinct):
            return type(node)(this=inner.expressions[0].copy())
        return rng.choice((other(this=inner.copy()), type(node)(this=exp.Distinct(expressions=[inner.copy()]))))
    if isinstance(node, exp.Ordered):
        return exp.Ordered(this=node.this.copy(), desc=not node.args.get("desc"), nulls_first=not node.args.get("desc"))
    if isinstance(node, exp.Column) and not isinstance(node.this, exp.Star):
        others = [n for n in nodes if isinstance(n, exp.Column) and n.table == node.table and n.name != node.name]
        return rng.choice(others).copy() if others else None
    if isinstance(node, exp.Join):
        copied = node.copy()
        copied.set("side", None if node.args.get("side") else "LEFT")
        return copied
    if isinstance(node, exp.Select):
        copied = node.copy()
        part = rng.choice(("distinct", "limit", "where", "order", "group", "having"))
        if part == "distinct":
            copied.set("distinct", None if node.args.get("distinct") else exp.Distinct())
        elif node.args.get(part):
            copied.set(part, None)
        else:
            return None
        return copied
    if isinstance(node, exp.Like):
        return exp.EQ(this=node.this.copy(), expression=node.expression.copy())
    if isinstance(node, exp.Union):
        copied = node.copy()
        copied.set("distinct", not node.args.get("distinct"))
        return copied
    return None
