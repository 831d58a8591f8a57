"""A normal form of queries: equal forms mean equivalent queries, different forms mean nothing.

Only rewrites that hold on every database are applied: letter case of names, names of aliases, order of conjuncts and of
the sides of symmetric comparisons, redundant parentheses, spelling of operators. Collations of columns in the schema
are ignored, as in the databases that are made for a pair.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from text2sql.sql.tokens import fold
from text2sql.sql.trees import to_sqlite

# Operands that must not change sides: they bind differently, or, of two collations, the left one decides.
_FIXED_OPERANDS = (exp.Predicate, exp.Not, exp.Connector, exp.Collate)


def canonical(tree: exp.Expr, write: Callable[[exp.Expr], str] = to_sqlite) -> str:
    """The normal form of a query's tree, as text of a dialect."""
    tree = _unwrap(tree).copy()
    _rename_aliases(tree)
    for identifier in tree.find_all(exp.Identifier):
        identifier.set("this", fold(str(identifier.this)))
        # The column "1992" is not the number.
        identifier.set("quoted", True)
    _strip_output_names(tree)
    tree = tree.transform(_simplify, write, copy=False)
    return write(tree)


def _unwrap(tree: exp.Expr) -> exp.Expr:
    """The query within ``SELECT * FROM (query)`` or ``WITH x AS (query) SELECT * FROM x``, unless it has ORDER BY."""
    while isinstance(tree, exp.Select):
        clauses = {key: value for key, value in tree.args.items() if value}
        with_ = clauses.pop("with_", None) or clauses.pop("with", None)
        source = clauses.pop("from_", None) or clauses.pop("from", None)
        if set(clauses) != {"expressions"} or len(tree.expressions) != 1 or source is None:
            break
        inner = _single_source(source.this, with_)
        selects_all = isinstance(tree.expressions[0], exp.Star) and not any(tree.expressions[0].args.values())
        if not selects_all or inner is None or any(inner.args.get(key) for key in ("order", "limit", "offset")):
            break
        tree = inner
    return tree


def _single_source(source: exp.Expr, with_: exp.Expr | None) -> exp.Expr | None:
    """The query that a FROM reads, if it is a subquery or the only CTE; else None."""
    if isinstance(source, exp.Subquery) and with_ is None:
        other_args = {key for key, value in source.args.items() if value} - {"this", "alias"}
        inner = None if other_args or source.alias_column_names else source.this
    elif isinstance(source, exp.Table) and with_ is not None and len(with_.expressions) == 1:
        (cte,) = with_.expressions
        other_args = {key for key, value in source.args.items() if value} - {"this", "alias"}
        reads_cte = fold(cte.alias) == fold(source.name) and not cte.args["alias"].columns
        inner = cte.this if reads_cte and not other_args and not with_.args.get("recursive") else None
    else:
        inner = None
    return inner if isinstance(inner, (exp.Select, exp.SetOperation)) else None


def _rename_aliases(tree: exp.Expr) -> None:
    """Renames table aliases by their order of appearance.

    Queries in which an alias occurs twice, or which have CTEs or derived tables, are left unchanged.
    """
    tables = [table for table in tree.find_all(exp.Table) if table.args.get("db") is None]
    names = [fold(table.alias or table.name) for table in tables]
    ctes = {fold(cte.alias) for cte in tree.find_all(exp.CTE)}
    if len(set(names)) < len(names) or ctes or (tree.find(exp.Subquery) is not None and _has_derived_table(tree)):
        return
    new_names = {name: f"t{index}" for index, name in enumerate(names)}
    is_single_table = len(tables) == 1
    outputs = {fold(item.alias) for item in tree.find_all(exp.Alias)}
    for column in tree.find_all(exp.Column):
        if fold(column.table) in new_names:
            # In a query of one table a qualifier is redundant, unless a result column has the same name.
            drops_qualifier = is_single_table and fold(column.name) not in outputs
            column.set("table", None if drops_qualifier else exp.to_identifier(new_names[fold(column.table)]))
    for table, name in zip(tables, names, strict=True):
        table.set("alias", None if is_single_table else exp.TableAlias(this=exp.to_identifier(new_names[name])))


def _has_derived_table(tree: exp.Expr) -> bool:
    return any(isinstance(sub.parent, (exp.From, exp.Join)) for sub in tree.find_all(exp.Subquery))


def _strip_output_names(tree: exp.Expr) -> None:
    """Drops aliases of result columns that nothing refers to; in SQLite, WHERE and ON may refer to them too."""
    if not isinstance(tree, exp.Select) or tree.args.get("order") or tree.args.get("having") or tree.args.get("group"):
        return
    names = {item.alias for item in tree.expressions if isinstance(item, exp.Alias)}
    elsewhere = [node for node in tree.iter_expressions() if node.arg_key != "expressions"]
    if any(column.name in names for node in elsewhere for column in node.find_all(exp.Column) if not column.table):
        return
    tree.set("expressions", [item.this if isinstance(item, exp.Alias) else item for item in tree.expressions])


def _simplify(node: exp.Expr, write: Callable[[exp.Expr], str]) -> exp.Expr:
    if isinstance(node, exp.Paren) and isinstance(node.this, (exp.Column, exp.Literal, exp.Paren, exp.AggFunc)):
        return node.this
    is_swappable = isinstance(node, exp.Binary) and not any(
        isinstance(side, _FIXED_OPERANDS) for side in (node.left, node.right)
    )
    if is_swappable and isinstance(node, (exp.GT, exp.GTE)):
        mirrored = exp.LT if isinstance(node, exp.GT) else exp.LTE
        return mirrored(this=node.right, expression=node.left)
    if is_swappable and isinstance(node, (exp.EQ, exp.NEQ)):
        left, right = sorted((node.left, node.right), key=write)
        return type(node)(this=left, expression=right)
    if isinstance(node, exp.Ordered) and not node.args.get("desc"):
        node.set("desc", None)
    if isinstance(node, exp.And) and not isinstance(node.parent, exp.And):
        parts = sorted(map(write, node.flatten()))
        return exp.Anonymous(this="AND", expressions=[exp.Var(this=part) for part in parts])
    return node
