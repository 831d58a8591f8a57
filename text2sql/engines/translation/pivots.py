"""PIVOT and UNPIVOT written out as groups and unions, so that rows can be made for what they ask about."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from text2sql.sql.schema import Schema
from text2sql.sql.tokens import fold


def without_pivots(tree: exp.Expr, schema: Schema) -> tuple[exp.Expr, bool]:
    """A query without PIVOT and UNPIVOT, and whether it gives the same rows.

    A PIVOT that names no values has as many columns as its data have values; its groups stand for it.

    Args:
        tree: The query.
        schema: The tables that it reads.
    """
    if tree.find(exp.Pivot) is None:
        return tree, True
    changed, exact = tree.copy(), True
    for pivot in reversed(list(changed.find_all(exp.Pivot, bfs=True))):
        found = _written_out(pivot, schema)
        if found is None:
            return tree, False
        exact &= _names_values(pivot)
        place = pivot.parent
        if isinstance(place, (exp.Subquery, exp.Table)):
            alias = pivot.args.get("alias") or place.args.get("alias")
            place.replace(exp.Subquery(this=found, alias=alias.copy() if alias is not None else None))
        else:
            pivot.replace(found)
    return changed, exact


def _written_out(pivot: exp.Pivot, schema: Schema) -> exp.Expr | None:
    source = pivot.this if isinstance(pivot.this, exp.Expression) else pivot.parent
    if source is None:
        return None
    if source is pivot.parent:
        # The long form stands behind what it is of.
        source = source.copy()
        source.set("pivots", None)
    return _unpivoted(pivot, source, schema) if pivot.args.get("unpivot") else _pivoted(pivot, source, schema)


def _names_values(pivot: exp.Pivot) -> bool:
    return bool(pivot.args.get("unpivot") or all(isinstance(field, exp.In) for field in _fields(pivot)))


def _fields(pivot: exp.Pivot) -> list[exp.Expr]:
    """What is made columns: in DuckDB's short form, behind ON; in the long one, behind FOR."""
    return pivot.args.get("fields") or pivot.expressions


def _aggregates(pivot: exp.Pivot) -> list[exp.Expr]:
    if pivot.args.get("fields"):
        return list(pivot.expressions)
    return pivot.args.get("using") or [exp.Count(this=exp.Star())]


def _columns(source: exp.Expr, schema: Schema) -> list[str] | None:
    """The columns of a table; None for anything else."""
    table = schema.tables.get(fold(source.name)) if isinstance(source, exp.Table) else None
    if table is not None:
        return [column.name for column in table.columns.values()]
    inner = source.this if isinstance(source, exp.Subquery) else None
    names = [item.alias_or_name for item in inner.expressions] if isinstance(inner, exp.Select) else []
    return names if names and "*" not in names else None


def _from(source: exp.Expr, *items: exp.Expr) -> exp.Select:
    return exp.select(*(item.copy() for item in items)).from_(source.copy())


def _pivoted(pivot: exp.Pivot, source: exp.Expr, schema: Schema) -> exp.Expr | None:
    fields, aggregates = _fields(pivot), _aggregates(pivot)
    group = pivot.args.get("group")
    keys: list[exp.Expr] = list(group.expressions) if group is not None else []
    if group is None:
        used = {fold(column.name) for part in (*fields, *aggregates) for column in part.find_all(exp.Column)}
        used |= {fold(field.this.name) for field in fields if isinstance(field, exp.In)}
        keys = [exp.column(name) for name in _columns(source, schema) or () if fold(name) not in used]
    cells: list[exp.Expr] = []
    for field in fields:
        if not isinstance(field, exp.In):
            keys.append(field)
            continue
        for value in field.expressions:
            same = exp.EQ(this=exp.column(field.this.name), expression=value.unalias().copy())
            where = exp.Where(this=same)
            cells += [exp.Filter(this=item.unalias().copy(), expression=where.copy()) for item in aggregates]
    if not keys and not cells:
        return None
    plain = [item.unalias() for item in aggregates]
    found = _from(source, *keys, *(cells or plain))
    return found.group_by(*(key.unalias().copy() for key in keys)) if keys else found


def _unpivoted(pivot: exp.Pivot, source: exp.Expr, schema: Schema) -> exp.Expr | None:
    known = _columns(source, schema)
    if known is None:
        return None
    into = pivot.args.get("into")
    field = next(iter(pivot.args.get("fields") or ()), None)
    if field is not None:
        listed, name, value = list(field.expressions), field.this.name, pivot.expressions[0].name
    else:
        listed = list(pivot.expressions)
        name = into.this.name if into is not None else "name"
        value = into.expressions[0].name if into is not None and into.expressions else "value"
    columns = [column for item in listed for column in _meant(item, known)]
    kept = [column for column in known if fold(column) not in set(map(fold, columns))]
    parts: list[exp.Expr] = []
    for column in columns:
        label = exp.alias_(exp.Literal.string(column), name)
        part = _from(source, *map(exp.column, kept), label, exp.alias_(exp.column(column), value))
        if not pivot.args.get("include_nulls"):
            part = part.where(exp.Not(this=exp.Is(this=exp.column(column), expression=exp.Null())))
        parts.append(part)
    if not parts:
        return None
    found: exp.Expr = parts[0]
    for further in parts[1:]:
        found = exp.Union(this=found, expression=further, distinct=False)
    return found


def _meant(item: exp.Expr, known: list[str]) -> Iterator[str]:
    """The columns that one part of a list stands for: a name, or ``COLUMNS(* EXCLUDE id)``."""
    star = item.find(exp.Star)
    if star is None:
        yield from (column.name for column in item.find_all(exp.Column))
        return
    left_out = {fold(part.name) for part in star.args.get("except_") or star.args.get("except") or ()}
    yield from (column for column in known if fold(column) not in left_out)
