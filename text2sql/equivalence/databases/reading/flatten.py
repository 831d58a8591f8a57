"""Rewrites queries over plain views, CTEs and subqueries as queries over the tables themselves.

``SELECT ... FROM v`` with ``CREATE VIEW v AS SELECT a, b AS c FROM t WHERE d > 1`` reads the rows of ``t``: what it
asks of groups of them can be read only if it names ``t``. The result serves to make rows, and is never run.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlglot import exp

from text2sql.sql.prepare import parse
from text2sql.sql.schema import Schema
from text2sql.sql.tokens import fold

# Levels of views over views.
_MAX_VIEW_DEPTH = 6
# The clauses of a query that picks columns and rows of one table, and does nothing else.
_PICKING_CLAUSES = frozenset(("expressions", "from_", "from", "where"))


def flatten_views(tree: exp.Expr, schema: Schema) -> exp.Expr:
    """A query in which what only picks columns and rows of one table is replaced by that table."""
    if not schema.views and tree.find(exp.Subquery, exp.CTE) is None:
        return tree
    tree = tree.copy()
    views = {name: parse(view.query) for name, view in schema.views.items() if not view.columns}
    for _ in range(_MAX_VIEW_DEPTH):
        queries = views | {fold(cte.alias): cte.this for cte in tree.find_all(exp.CTE) if not cte.args["alias"].columns}
        picking = {name: query for name, query in queries.items() if query is not None and _only_picks(query)}
        sources = [
            node for node in tree.find_all(exp.Table, exp.Subquery) if isinstance(node.parent, (exp.From, exp.Join))
        ]
        replaced = [_replace_by_table(source, picking) for source in sources]
        if not any(replaced):
            break
    _drop_unread_ctes(tree)
    return tree


def _only_picks(query: exp.Expr) -> bool:
    """Whether a query picks columns and rows of one table, and does nothing else."""
    if not isinstance(query, exp.Select) or any(
        value for key, value in query.args.items() if key not in _PICKING_CLAUSES
    ):
        return False
    source = _source(query)
    if not isinstance(source, exp.Table) or not isinstance(source.this, exp.Identifier):
        return False
    return all(isinstance(item.unalias(), (exp.Column, exp.Star)) for item in query.expressions)


def _source(query: exp.Expr) -> exp.Expr | None:
    """What a query has in FROM; None if it has none."""
    clause = query.args.get("from_") or query.args.get("from")
    return clause.this if clause is not None else None


def _replace_by_table(source: exp.Expr, picking: Mapping[str, exp.Expr]) -> bool:
    """Replaces one item of FROM by the table that it picks from; returns whether it picks from one."""
    if isinstance(source, exp.Table):
        query = None if source.args.get("db") else picking.get(fold(source.name))
    else:
        alias = source.args.get("alias")
        query = source.this if _only_picks(source.this) and not (alias and alias.columns) else None
    select = source.find_ancestor(exp.Select)
    inner = _source(query) if query is not None else None
    # A CTE may have the name of the table that it reads.
    if query is None or inner is None or select is None or fold(inner.name) == fold(source.name):
        return False
    name = source.alias_or_name or inner.alias_or_name
    _restore_column_names(select, query, name)
    where = query.args.get("where")
    if where is not None:
        condition = where.this.copy()
        for column in condition.find_all(exp.Column):
            if fold(column.table) in ("", fold(inner.alias_or_name)):
                column.set("table", exp.to_identifier(name, quoted=True))
        select.where(condition, copy=False)
    table = exp.alias_(exp.Table(this=inner.this.copy()), name, table=True, quoted=True)
    table.set("joins", source.args.get("joins"))
    source.replace(table)
    return True


def _restore_column_names(select: exp.Expr, query: exp.Expr, name: str) -> None:
    """Undoes the renaming of columns by a query in the SELECT around it, which calls the query ``name``."""
    aliases = [item for item in query.expressions if isinstance(item, exp.Alias)]
    renamed = {fold(item.alias): item.this.name for item in aliases}
    for column in select.find_all(exp.Column) if renamed else ():
        if fold(column.table) in ("", fold(name)) and fold(column.name) in renamed:
            column.set("this", exp.to_identifier(renamed[fold(column.name)], quoted=True))


def _drop_unread_ctes(tree: exp.Expr) -> None:
    """Removes the CTEs that nothing reads any more."""
    read = {fold(table.name) for table in tree.find_all(exp.Table)}
    for with_ in list(tree.find_all(exp.With)):
        remaining = [cte for cte in with_.expressions if fold(cte.alias) in read]
        if remaining:
            with_.set("expressions", remaining)
        else:
            with_.pop()
