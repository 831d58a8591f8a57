"""Smells of columns that the tables and subqueries in scope do not have."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import Smell


def unknown_columns(r: Reading) -> Iterator[Smell]:
    """Columns of a table that has none of this name, or of a subquery that does not return it."""
    for select in r.tree.find_all(exp.Select):
        sources = _sources(r, select)
        if sources is None:
            continue
        aliases = {part.alias.lower() for part in select.expressions if isinstance(part, exp.Alias)}
        for column in select.find_all(exp.Column):
            if column.find_ancestor(exp.Select) is not select or isinstance(column.this, exp.Star):
                continue
            name, table = column.name.lower(), column.table.lower()
            columns_in_scope = (
                sources.get(table, {name}) if table else {*aliases, *(n for names in sources.values() for n in names)}
            )
            # A subquery may refer to columns of the queries around it.
            if name not in columns_in_scope and (table or select.parent is None):
                yield Smell("column not there", f"{column.sql()}: there is no such column")


def _sources(r: Reading, select: exp.Select) -> dict[str, set[str]] | None:
    """The columns of each table or subquery that a SELECT reads, by alias; None if one is unknown."""
    origin = select.args.get("from_") or select.args.get("from")
    parts = [origin.this] if origin is not None else []
    parts += [join.this for join in select.args.get("joins") or []]
    sources = {}
    cte_names = {cte.alias.lower() for cte in r.tree.find_all(exp.CTE)}
    for part in parts:
        name = part.alias_or_name.lower()
        # A CTE may have a table's name, and an alias may rename columns.
        if part.name.lower() in cte_names or part.alias_column_names:
            return None
        if isinstance(part, exp.Table):
            table = r.schema.tables.get(part.name.lower())
            if table is None:
                return None
            sources[name] = {*table.columns, "rowid"}
        elif isinstance(part, exp.Subquery) and isinstance(part.this, exp.Select):
            if part.this.is_star:
                return None
            sources[name] = {shown.alias_or_name.lower() for shown in part.this.expressions}
        else:
            return None
    return sources or None
