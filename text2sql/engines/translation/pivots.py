"""Expands PIVOT and UNPIVOT into GROUP BY and UNION ALL, for which rows can be made."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from text2sql.sql.schema import Schema
from text2sql.sql.tokens import fold


def expand_pivots(tree: exp.Expr, schema: Schema) -> tuple[exp.Expr, bool]:
    """Expands PIVOT and UNPIVOT.

    A PIVOT without listed values has one column for each value in the data; it is approximated by its groups.

    Args:
        tree: The query.
        schema: The schema of the tables that it reads.

    Returns:
        The query, and whether it is equivalent to the original.
    """
    if tree.find(exp.Pivot) is None:
        return tree, True
    changed, exact = tree.copy(), True
    for pivot in reversed(list(changed.find_all(exp.Pivot, bfs=True))):
        expansion = _expand(pivot, schema)
        if expansion is None:
            return tree, False
        exact &= _lists_values(pivot)
        parent = pivot.parent
        if isinstance(parent, (exp.Subquery, exp.Table)):
            alias = pivot.args.get("alias") or parent.args.get("alias")
            parent.replace(exp.Subquery(this=expansion, alias=alias.copy() if alias is not None else None))
        else:
            pivot.replace(expansion)
    return changed, exact


def _expand(pivot: exp.Pivot, schema: Schema) -> exp.Expr | None:
    source = pivot.this if isinstance(pivot.this, exp.Expression) else pivot.parent
    if source is None:
        return None
    if source is pivot.parent:
        # The standard form follows its source.
        source = source.copy()
        source.set("pivots", None)
    return _expand_unpivot(pivot, source, schema) if pivot.args.get("unpivot") else _expand_pivot(pivot, source, schema)


def _lists_values(pivot: exp.Pivot) -> bool:
    return bool(pivot.args.get("unpivot") or all(isinstance(field, exp.In) for field in _fields(pivot)))


def _fields(pivot: exp.Pivot) -> list[exp.Expr]:
    """The expressions whose values become columns: after ON in DuckDB's short form, after FOR in the standard form."""
    return pivot.args.get("fields") or pivot.expressions


def _aggregates(pivot: exp.Pivot) -> list[exp.Expr]:
    if pivot.args.get("fields"):
        return list(pivot.expressions)
    return pivot.args.get("using") or [exp.Count(this=exp.Star())]


def _columns(source: exp.Expr, schema: Schema) -> list[str] | None:
    """The columns of a table or of a subquery that lists them; None for anything else."""
    table = schema.tables.get(fold(source.name)) if isinstance(source, exp.Table) else None
    if table is not None:
        return [column.name for column in table.columns.values()]
    inner = source.this if isinstance(source, exp.Subquery) else None
    names = [item.alias_or_name for item in inner.expressions] if isinstance(inner, exp.Select) else []
    return names if names and "*" not in names else None


def _select_from(source: exp.Expr, *items: exp.Expr) -> exp.Select:
    return exp.select(*(item.copy() for item in items)).from_(source.copy())


def _expand_pivot(pivot: exp.Pivot, source: exp.Expr, schema: Schema) -> exp.Expr | None:
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
            equality = exp.EQ(this=exp.column(field.this.name), expression=value.unalias().copy())
            where = exp.Where(this=equality)
            cells += [exp.Filter(this=item.unalias().copy(), expression=where.copy()) for item in aggregates]
    if not keys and not cells:
        return None
    values = [item.unalias() for item in aggregates]
    query = _select_from(source, *keys, *(cells or values))
    return query.group_by(*(key.unalias().copy() for key in keys)) if keys else query


def _expand_unpivot(pivot: exp.Pivot, source: exp.Expr, schema: Schema) -> exp.Expr | None:
    source_columns = _columns(source, schema)
    if source_columns is None:
        return None
    into = pivot.args.get("into")
    field = next(iter(pivot.args.get("fields") or ()), None)
    if field is not None:
        items, name, value = list(field.expressions), field.this.name, pivot.expressions[0].name
    else:
        items = list(pivot.expressions)
        name = into.this.name if into is not None else "name"
        value = into.expressions[0].name if into is not None and into.expressions else "value"
    columns = [column for item in items for column in _listed_columns(item, source_columns)]
    other_columns = [column for column in source_columns if fold(column) not in set(map(fold, columns))]
    parts: list[exp.Expr] = []
    for column in columns:
        label = exp.alias_(exp.Literal.string(column), name)
        part = _select_from(source, *map(exp.column, other_columns), label, exp.alias_(exp.column(column), value))
        if not pivot.args.get("include_nulls"):
            part = part.where(exp.Not(this=exp.Is(this=exp.column(column), expression=exp.Null())))
        parts.append(part)
    if not parts:
        return None
    query: exp.Expr = parts[0]
    for further in parts[1:]:
        query = exp.Union(this=query, expression=further, distinct=False)
    return query


def _listed_columns(item: exp.Expr, source_columns: list[str]) -> Iterator[str]:
    """The columns that one item stands for: a name, or ``COLUMNS(* EXCLUDE id)``."""
    star = item.find(exp.Star)
    if star is None:
        yield from (column.name for column in item.find_all(exp.Column))
        return
    excluded = {fold(part.name) for part in star.args.get("except_") or star.args.get("except") or ()}
    yield from (column for column in source_columns if fold(column) not in excluded)
