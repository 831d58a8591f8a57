"""Columns that are not where the query looks for them."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from text2sql.data.audit.reading import Reading
from text2sql.data.audit.smell import Smell


def scopes(r: Reading) -> Iterator[Smell]:
    """A column of a table that has none of this name, or of a subquery that does not show it."""
    for select in r.tree.find_all(exp.Select):
        shown = _sources(r, select)
        if shown is None:
            continue
        aliases = {part.alias.lower() for part in select.expressions if isinstance(part, exp.Alias)}
        for column in select.find_all(exp.Column):
            if column.find_ancestor(exp.Select) is not select or isinstance(column.this, exp.Star):
                continue
            name, table = column.name.lower(), column.table.lower()
            here = shown.get(table, {name}) if table else {*aliases, *(n for names in shown.values() for n in names)}
            # A subquery may read the columns of what is around it.
            if name not in here and (table or select.parent is None):
                yield Smell("column not there", f"{column.sql()}: there is no such column")


def _sources(r: Reading, select: exp.Select) -> dict[str, set[str]] | None:
    """The columns of each table or subquery that a SELECT reads, by its alias; None where one is not known."""
    origin = select.args.get("from_") or select.args.get("from")
    parts = [origin.this] if origin is not None else []
    parts += [join.this for join in select.args.get("joins") or []]
    found = {}
    named = {cte.alias.lower() for cte in r.tree.find_all(exp.CTE)}
    for part in parts:
        name = part.alias_or_name.lower()
        # A WITH may call a query as a table is called, and an alias may call its columns otherwise.
        if part.name.lower() in named or part.alias_column_names:
            return None
        if isinstance(part, exp.Table):
            table = r.schema.tables.get(part.name.lower())
            if table is None:
                return None
            found[name] = {*table.columns, "rowid"}
        elif isinstance(part, exp.Subquery) and isinstance(part.this, exp.Select):
            if part.this.is_star:
                return None
            found[name] = {shown.alias_or_name.lower() for shown in part.this.expressions}
        else:
            return None
    return found or None
