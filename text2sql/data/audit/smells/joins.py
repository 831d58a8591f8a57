"""Smells of joins and types: joins along no key, rows that joins repeat, comparisons of different types."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlglot import exp

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import DISTINCT, Smell, inside_join
from text2sql.data.schema_text import stems


def repeated_rows(r: Reading) -> Iterator[Smell]:
    """Rows that a join repeats, and a missing or unasked DISTINCT."""
    is_asked = bool(DISTINCT.search(r.text))
    distinct = r.tree.find(exp.Distinct) is not None
    if re.search(r"\b(?:distinct|different|unique)\b", r.text) and not distinct and not r.tree.find(exp.Group):
        yield Smell("distinct missing", "the question asks for different ones, the query repeats them")
    joins = [*r.tree.find_all(exp.Join)]
    counts = [node for node in r.tree.find_all(exp.Count) if not node.find(exp.Distinct)]
    if joins and not distinct:
        for node in [*counts, *r.tree.find_all(exp.Sum, exp.Avg)]:
            for column in _aggregated_columns(node):
                table = r.schema.tables.get(r.tables.get(column.table.lower(), ""))
                if table is None or not _is_parent(r, table.name.lower()):
                    continue
                if isinstance(node, exp.Count) and column.name.lower() in table.primary_key:
                    yield Smell(
                        "parents counted through a join", f"{column.sql()} is counted once for each row of a join"
                    )
                elif not isinstance(node, exp.Count):
                    yield Smell("parents added up through a join", f"{column.sql()} counts once for each row of a join")
    if distinct and not is_asked and not joins and not counts:
        yield Smell("distinct unasked", "the query drops repetitions, of which the question says nothing")
    select = r.select
    if joins and not distinct and isinstance(select, exp.Select) and not select.args.get("group") and not r.limits:
        shown = [c for part in select.expressions for c in part.find_all(exp.Column)]
        if (
            shown
            and not select.find(exp.AggFunc)
            and all(_is_parent(r, r.tables.get(c.table.lower(), "")) for c in shown)
        ):
            yield Smell("parents listed through a join", "a row is listed once for each row of a join")


def _aggregated_columns(node: exp.Expr) -> list[exp.Column]:
    """The columns whose values an aggregate takes, without those in conditions."""
    tested = {id(c) for case in node.find_all(exp.If) for c in case.this.find_all(exp.Column)}
    return [column for column in node.find_all(exp.Column) if id(column) not in tested]


def _is_parent(r: Reading, table: str) -> bool:
    """Whether a foreign key of another table of the query refers to a table."""
    others = {*r.tables.values()} - {table}
    return any(key.parent == table for other in others if (t := r.schema.tables.get(other)) for key in t.foreign_keys)


def joins(r: Reading) -> Iterator[Smell]:
    """Joins along no key, and tables that are joined without use."""
    for join in r.tree.find_all(exp.Join):
        on = join.args.get("on")
        if on is None and not join.args.get("using") and join.args.get("kind") != "CROSS":
            yield Smell("join without condition", "every row meets every row")
        for pair in on.find_all(exp.EQ) if on is not None else ():
            left, right = pair.this, pair.expression
            if not isinstance(left, exp.Column) or not isinstance(right, exp.Column):
                continue
            one, other = (r.tables.get(c.table.lower(), "") for c in (left, right))
            if one == other or not one or not other:
                continue
            if one and other and not are_joined_by_key(r, (one, left.name.lower()), (other, right.name.lower())):
                if _have_foreign_key(r, one, other):
                    yield Smell(
                        "declared key unused",
                        f"{left.sql()} = {right.sql()} is not how {one} and {other} belong together",
                    )
                elif left.name.lower() != right.name.lower() and _share_id_column(r, one, other):
                    yield Smell("column of one name unused", f"{left.sql()} = {right.sql()}")
                have_similar_names = left.name.lower() == right.name.lower() or stems(left.name) & stems(right.name)
                kind = "join along no declared key" if have_similar_names else "join of unlike columns"
                yield Smell(kind, f"{left.sql()} = {right.sql()}")
            kinds = {r.type_of(left), r.type_of(right)} - {""}
            is_key_join = are_joined_by_key(r, (one, left.name.lower()), (other, right.name.lower()))
            if len(kinds) == 2 and "TEXT" in kinds and not is_key_join:
                yield Smell("join of unlike types", f"{left.sql()} = {right.sql()}")
    used_tables = [c.table.lower() for c in r.columns if not inside_join(c)]
    aliases = [node.alias_or_name.lower() for node in r.tree.find_all(exp.Table)]
    if len(aliases) > 1 and all(c.table for c in r.columns):
        join_tables = [c.table.lower() for c in r.columns if inside_join(c)]
        for alias in aliases:
            if alias not in used_tables and join_tables.count(alias) == 1 and _is_redundant(r, alias):
                yield Smell("table joined for nothing", f"nothing of {r.tables[alias]} is used")


def _is_redundant(r: Reading, alias: str) -> bool:
    """Whether a join with a table of which nothing else is used keeps every row exactly once.

    The join finds at most one row if it is along a key of the table, and at least one if a foreign key refers to that
    key, or if it is an outer join. Any other join repeats rows or filters them.
    """
    for join in r.tree.find_all(exp.Join):
        on = join.args.get("on")
        for pair in on.find_all(exp.EQ) if on is not None else ():
            for joined, other in ((pair.this, pair.expression), (pair.expression, pair.this)):
                if (
                    not (isinstance(joined, exp.Column) and isinstance(other, exp.Column))
                    or joined.table.lower() != alias
                ):
                    continue
                table, child = (r.schema.tables.get(r.tables.get(c.table.lower(), "")) for c in (joined, other))
                column = joined.name.lower()
                if table is None or child is None or (column,) not in {*map(tuple, table.keys)}:
                    return False
                is_referenced = any(
                    key.parent == table.name.lower()
                    and (other.name.lower(), column) in zip(key.columns, key.parent_columns, strict=False)
                    for key in child.foreign_keys
                )
                return is_referenced or (join.side == "LEFT" and join.alias_or_name.lower() == alias)
    return False


def _have_foreign_key(r: Reading, one: str, other: str) -> bool:
    """Whether a foreign key of one table refers to the other."""
    pairs = ((one, other), (other, one))
    return any(key.parent == b for a, b in pairs if (t := r.schema.tables.get(a)) for key in t.foreign_keys)


def _share_id_column(r: Reading, one: str, other: str) -> bool:
    tables = r.schema.tables.get(one), r.schema.tables.get(other)
    if tables[0] is None or tables[1] is None:
        return False
    return any(name.endswith("id") and name != "id" for name in tables[0].columns.keys() & tables[1].columns.keys())


def are_joined_by_key(r: Reading, one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether declared keys connect two columns, each given as lower-case table and name."""
    for (child, column), (parent, target) in ((one, other), (other, one)):
        table = r.schema.tables.get(child)
        for key in table.foreign_keys if table else ():
            for child_column, parent_column in zip(key.columns, key.parent_columns, strict=False):
                if (child_column, key.parent, parent_column) == (column, parent, target):
                    return True
    # Two children of the same parent.
    keys = [
        {
            (key.parent, parent_column)
            for key in t.foreign_keys
            for child_column, parent_column in zip(key.columns, key.parent_columns, strict=False)
            if child_column == c
        }
        for name, c in (one, other)
        if (t := r.schema.tables.get(name))
    ]
    return len(keys) == 2 and bool(keys[0] & keys[1])


def mismatched_types(r: Reading) -> Iterator[Smell]:
    """Texts compared as numbers, numbers compared as texts, and sums of texts."""
    for node in r.tree.find_all(exp.GT, exp.LT, exp.GTE, exp.LTE, exp.EQ, exp.NEQ):
        column, literal = node.this, node.expression
        if isinstance(literal, exp.Neg):
            literal = literal.this
        if not isinstance(column, exp.Column) or not isinstance(literal, exp.Literal):
            continue
        kind = r.type_of(column)
        if kind == "TEXT" and not literal.is_string and not isinstance(node, (exp.EQ, exp.NEQ)):
            yield Smell("text compared as number", node.sql())
        elif kind == "TEXT" and not literal.is_string:
            yield Smell("text equals number", node.sql())
        elif (
            kind in ("INTEGER", "REAL") and literal.is_string and not re.fullmatch(r"-?\d+(\.\d+)?", str(literal.this))
        ):
            yield Smell("number equals text", node.sql())
        elif (
            kind == "TEXT"
            and literal.is_string
            and re.fullmatch(r"\d+", str(literal.this))
            and not isinstance(node, (exp.EQ, exp.NEQ))
        ):
            yield Smell("numbers compared as text", node.sql())
    for aggregate in r.tree.find_all(exp.Sum, exp.Avg):
        if isinstance(aggregate.this, exp.Column) and r.type_of(aggregate.this) == "TEXT":
            yield Smell("text added up", aggregate.sql())
