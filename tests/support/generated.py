"""Generated schemas and queries, ways to write a query otherwise, and ways to break it."""

from __future__ import annotations

import random
import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from typing import Any

import sqlglot
from hypothesis import strategies as st
from sqlglot import exp

_TYPES = ("INTEGER", "INT", "REAL", "TEXT", "VARCHAR", "DATE")
_LITERALS = {"INTEGER": (0, 3, 18, 2000), "INT": (1, 7), "REAL": (0.5, 3, 99.9), "TEXT": ("'Paris'", "'a b'")}
_LITERALS |= {"VARCHAR": ("'10'", "'x'"), "DATE": ("'2001-02-03'", "'2019-12-31'")}


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, str]:
    """A schema of two tables and a query over it."""
    tables = {name: _columns(draw, name) for name in ("city", "person")}
    ddl = "; ".join(
        f"CREATE TABLE {name} ({', '.join(f'{c} {kind}' for c, kind in columns.items())})"
        for name, columns in tables.items()
    )
    return ddl, _query(draw, tables)


def _columns(draw: st.DrawFn, table: str) -> dict[str, str]:
    key = draw(st.sampled_from(("INTEGER PRIMARY KEY", "INT", "TEXT NOT NULL")))
    columns = {"id": key} | ({"city_id": "INTEGER REFERENCES city(id)"} if table == "person" else {})
    kinds = draw(st.lists(st.sampled_from(_TYPES), min_size=2, max_size=4))
    return columns | {f"{table[0]}{number}": kind for number, kind in enumerate(kinds)}


def _query(draw: st.DrawFn, tables: dict[str, dict[str, str]]) -> str:
    joined = draw(st.booleans())
    names = {"p": "person"} | ({"c": "city"} if joined else {})
    source = "person AS p" + (" JOIN city AS c ON p.city_id = c.id" if joined else "")
    columns = [(f"{a}.{c}", kind.split()[0]) for a, name in names.items() for c, kind in tables[name].items()]
    conditions = draw(st.lists(st.sampled_from(columns).flatmap(_condition), max_size=3))
    shown = draw(st.lists(st.sampled_from(columns), min_size=1, max_size=2, unique=True))
    output, tail = ", ".join(column for column, _ in shown), ""
    kind = draw(st.sampled_from(("plain", "plain", "distinct", "aggregate", "grouped", "having")))
    measured = draw(st.sampled_from(columns))[0]
    aggregate = draw(
        st.sampled_from(("COUNT(*)", f"COUNT({measured})", f"COUNT(DISTINCT {measured})", f"MAX({measured})"))
    )
    if kind == "distinct":
        output = f"DISTINCT {output}"
    elif kind == "aggregate":
        output = aggregate
    elif kind in ("grouped", "having"):
        output, tail = f"{shown[0][0]}, {aggregate}", f" GROUP BY {shown[0][0]}"
        tail += f" HAVING COUNT(*) > {draw(st.sampled_from((1, 2, 4)))}" if kind == "having" else ""
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT {output} FROM {source}{where}{tail}"


def _condition(column: tuple[str, str]) -> st.SearchStrategy[str]:
    name, kind = column
    literals = st.sampled_from(_LITERALS[kind])
    return st.one_of(
        st.builds(lambda op, value: f"{name} {op} {value}", st.sampled_from(("=", "<>", "<", ">=", ">")), literals),
        st.builds(lambda value: f"{name} BETWEEN {value} AND {value}", literals),
        st.builds(lambda value: f"{name} IN ({value}, {_LITERALS[kind][0]})", literals),
        st.just(f"{name} IS NOT NULL"),
        st.builds(lambda value: f"({name} = {value} OR p.id > 2)", literals),
        st.builds(lambda value: f"{name} IN (SELECT {name.split('.')[1]} FROM {_home(name)} WHERE id >= 2)", literals),
    )


def _home(column: str) -> str:
    return "person" if column.startswith("p.") else "city"


# -- what keeps the meaning

_FLIPPED = {exp.EQ: exp.EQ, exp.NEQ: exp.NEQ, exp.GT: exp.LT, exp.LT: exp.GT, exp.GTE: exp.LTE, exp.LTE: exp.GTE}
_NEGATED = {exp.EQ: exp.NEQ, exp.NEQ: exp.EQ, exp.GT: exp.LTE, exp.LT: exp.GTE, exp.GTE: exp.LT, exp.LTE: exp.GT}
Change = Callable[[exp.Expr, random.Random], "exp.Expr | None"]


def _one(tree: exp.Expr, rng: random.Random, *kinds: type[exp.Expr]) -> Any:
    found = list(tree.find_all(*kinds))
    return rng.choice(found) if found else None


def _flip(tree: exp.Expr, rng: random.Random) -> exp.Expr | None:
    node = _one(tree, rng, *_FLIPPED)
    return _replaced(tree, node, lambda: _FLIPPED[type(node)](this=node.expression, expression=node.this))


def _double_negation(tree: exp.Expr, rng: random.Random) -> exp.Expr | None:
    node = _one(tree, rng, *_NEGATED)

    def negated() -> exp.Expr:
        return exp.paren(exp.Not(this=exp.paren(_NEGATED[type(node)](this=node.this, expression=node.expression))))

    return _replaced(tree, node, negated)


def _between(tree: exp.Expr, rng: random.Random) -> exp.Expr | None:
    node = _one(tree, rng, exp.Between)

    def both() -> exp.Expr:
        low = exp.GTE(this=node.this.copy(), expression=node.args["low"])
        return exp.paren(exp.And(this=low, expression=exp.LTE(this=node.this.copy(), expression=node.args["high"])))

    return _replaced(tree, node, both)


def _in_as_or(tree: exp.Expr, rng: random.Random) -> exp.Expr | None:
    found = [node for node in tree.find_all(exp.In) if node.expressions]
    node = found[0] if found else None
    return _replaced(
        tree,
        node,
        lambda: exp.paren(exp.or_(*(exp.EQ(this=node.this.copy(), expression=e.copy()) for e in node.expressions))),
    )


def _reversed_conjuncts(tree: exp.Expr, rng: random.Random) -> exp.Expr | None:
    where = tree.args.get("where")
    if where is None or not isinstance(where.this, exp.And):
        return None
    return _replaced(tree, where.this, lambda: exp.and_(*[part.copy() for part in where.this.flatten()][::-1]))


def _comma_join(tree: exp.Expr, rng: random.Random) -> exp.Expr | None:
    joins = tree.args.get("joins")
    if not joins:
        return None
    on = joins[0].args["on"].copy()
    joins[0].set("on", None)
    joins[0].set("kind", "CROSS")
    return tree.where(on)  # type: ignore[attr-defined]


def _wrapped(tree: exp.Expr, rng: random.Random) -> exp.Expr | None:
    form = rng.choice(("SELECT * FROM ({}) AS q", "WITH q AS ({}) SELECT * FROM q"))
    return sqlglot.parse_one(form.format(tree.sql("sqlite")), read="sqlite")


def _count_one(tree: exp.Expr, rng: random.Random) -> exp.Expr | None:
    found = [node for node in tree.find_all(exp.Count) if isinstance(node.this, exp.Star)]
    return _replaced(tree, found[0] if found else None, lambda: exp.Count(this=exp.Literal.number(1)))


def _renamed(tree: exp.Expr, rng: random.Random) -> exp.Expr | None:
    text = re.sub(r"\bp\.|\bAS p\b", lambda found: found.group().replace("p", "first"), tree.sql("sqlite"))
    text = re.sub(r"\bc\.|\bAS c\b", lambda found: found.group().replace("c", "other"), text)
    return sqlglot.parse_one(text, read="sqlite")


def _group_for_distinct(tree: exp.Expr, rng: random.Random) -> exp.Expr | None:
    if not tree.args.get("distinct"):
        return None
    tree.set("distinct", None)
    return tree.group_by(*[item.copy() for item in tree.expressions])  # type: ignore[attr-defined]


def _replaced(tree: exp.Expr, node: exp.Expr | None, made: Callable[[], exp.Expr]) -> exp.Expr | None:
    if node is None:
        return None
    node.replace(made())
    return tree


SOUND: list[Change] = [
    _flip,
    _double_negation,
    _between,
    _in_as_or,
    _reversed_conjuncts,
    _comma_join,
    _count_one,
    _renamed,
    _group_for_distinct,
    _wrapped,
]


# -- what breaks it


def _other_operator(tree: exp.Expr, rng: random.Random) -> exp.Expr | None:
    node = _one(tree, rng, *_FLIPPED)
    other = rng.choice([kind for kind in _FLIPPED if kind is not type(node)])
    return _replaced(tree, node, lambda: other(this=node.this, expression=node.expression))


def _other_literal(tree: exp.Expr, rng: random.Random) -> exp.Expr | None:
    node = _one(tree, rng, exp.Literal)
    if node is None:
        return None
    if node.is_string:
        # A text that is no date is in no column of dates.
        others = ("2001-02-04", "2020-01-01") if node.this[:1] == "2" else (node.this + "x", node.this.upper())
        return _replaced(tree, node, lambda: exp.Literal.string(rng.choice(others)))
    return _replaced(tree, node, lambda: exp.Literal.number(str(float(node.this) + rng.choice((1, 0.5, 10)))))


def _dropped_condition(tree: exp.Expr, rng: random.Random) -> exp.Expr | None:
    node = _one(tree, rng, exp.And)
    return _replaced(tree, node, lambda: rng.choice((node.this, node.expression)).copy())


def _other_distinct(tree: exp.Expr, rng: random.Random) -> exp.Expr | None:
    tree.set("distinct", None if tree.args.get("distinct") else exp.Distinct())
    return tree


def _left_join(tree: exp.Expr, rng: random.Random) -> exp.Expr | None:
    joins = tree.args.get("joins")
    if not joins:
        return None
    joins[0].set("side", "LEFT")
    return tree


def _other_count(tree: exp.Expr, rng: random.Random) -> exp.Expr | None:
    node = _one(tree, rng, exp.Count, exp.Max)
    return _replaced(tree, node, lambda: sqlglot.parse_one("COUNT(DISTINCT p.id)", read="sqlite"))


BREAKING: list[Change] = [
    _other_operator,
    _other_literal,
    _dropped_condition,
    _other_distinct,
    _left_join,
    _other_count,
]


def changed(sql: str, changes: list[Change], rng: random.Random) -> str | None:
    """A query after one or two of the changes; None if none of them applies."""
    tree: exp.Expr = sqlglot.parse_one(sql, read="sqlite")
    done = 0
    for change in rng.sample(changes, len(changes)):
        after = change(tree.copy(), rng)
        if after is not None:
            tree, done = after, done + 1
            if done == 2 or rng.random() < 0.5:
                break
    return tree.sql("sqlite") if done and tree.sql("sqlite") != sql else None


# -- an independent opinion


def differ_somewhere(ddl: str, gold: str, predicted: str, rng: random.Random) -> bool:
    """Whether one of many random databases, made without the evaluator, separates two unsorted queries."""
    db = sqlite3.connect(":memory:")
    db.executescript(ddl)
    literals = [node.this for sql in (gold, predicted) for node in sqlglot.parse_one(sql).find_all(exp.Literal)]
    pool = [*literals, 1, 2, 3, 4, "a", "10", 2.5, *(float(v) + 1 for v in literals if v.replace(".", "").isdigit())]
    for _ in range(40):
        for table in ("city", "person"):
            db.execute(f"DELETE FROM {table}")
            kinds = [row[2] for row in db.execute(f"PRAGMA table_info({table})")]
            for _ in range(rng.randrange(7)):
                row = [_value(kind, pool, rng) for kind in kinds]
                db.execute(f"INSERT OR IGNORE INTO {table} VALUES ({','.join('?' * len(row))})", row)
        known = "SELECT id FROM city WHERE typeof(id) = 'integer'"
        db.execute(f"DELETE FROM person WHERE city_id IS NOT NULL AND city_id NOT IN ({known})")
        if Counter(db.execute(gold)) != Counter(db.execute(predicted)):
            return True
    return False


def _value(kind: str, pool: list[Any], rng: random.Random) -> Any:
    value = rng.choice(pool)
    if kind in ("INTEGER", "INT"):
        return rng.choice((rng.randrange(4), None)) if not str(value).isdigit() else int(value)
    return None if rng.random() < 0.1 else value
