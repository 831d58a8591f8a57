"""A normal form of queries: equal forms mean equal queries, different forms mean nothing.

Only rewrites that hold on every database are applied: letter case of names, names of aliases, order of conjuncts and of
the sides of symmetric comparisons, redundant parentheses, spelling of operators. Collations that
a schema gives its columns are left aside, here as in the databases that are made for a pair.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from text2sql.sql.tokens import fold
from text2sql.sql.trees import to_sqlite

# Operands that would be read with others, had they changed places; and of two collations, the left one decides.
_LOOSE = (exp.Predicate, exp.Not, exp.Connector, exp.Collate)


def canonical(tree: exp.Expr, write: Callable[[exp.Expr], str] = to_sqlite) -> str:
    """The normal form of a query's tree, as text of a dialect."""
    tree = _unwrapped(tree).copy()
    _rename_aliases(tree)
    for identifier in tree.find_all(exp.Identifier):
        identifier.set("this", fold(str(identifier.this)))
        # The column "1992" is not the number.
        identifier.set("quoted", True)
    _strip_output_names(tree)
    tree = tree.transform(_simplify, write, copy=False)
    return write(tree)


def _unwrapped(tree: exp.Expr) -> exp.Expr:
    """The query inside ``SELECT * FROM (query)`` or ``WITH x AS (query) SELECT * FROM x``, unless it sorts."""
    while isinstance(tree, exp.Select):
        given = {key: value for key, value in tree.args.items() if value}
        with_ = given.pop("with_", None) or given.pop("with", None)
        source = given.pop("from_", None) or given.pop("from", None)
        if set(given) != {"expressions"} or len(tree.expressions) != 1 or source is None:
            break
        inner = _wrapped(source.this, with_)
        alone = isinstance(tree.expressions[0], exp.Star) and not any(tree.expressions[0].args.values())
        if not alone or inner is None or any(inner.args.get(key) for key in ("order", "limit", "offset")):
            break
        tree = inner
    return tree


def _wrapped(source: exp.Expr, with_: exp.Expr | None) -> exp.Expr | None:
    """The only query that a FROM reads, as a subquery or by the name of the only CTE."""
    if isinstance(source, exp.Subquery) and with_ is None:
        extra = {key for key, value in source.args.items() if value} - {"this", "alias"}
        inner = None if extra or source.alias_column_names else source.this
    elif isinstance(source, exp.Table) and with_ is not None and len(with_.expressions) == 1:
        (cte,) = with_.expressions
        extra = {key for key, value in source.args.items() if value} - {"this", "alias"}
        named = fold(cte.alias) == fold(source.name) and not cte.args["alias"].columns
        inner = cte.this if named and not extra and not with_.args.get("recursive") else None
    else:
        inner = None
    return inner if isinstance(inner, (exp.Select, exp.SetOperation)) else None


def _rename_aliases(tree: exp.Expr) -> None:
    """Gives table aliases names by order of appearance, one query block at a time.

    Only where every alias of the whole query is used once: shadowed aliases are left alone.
    """
    tables = [table for table in tree.find_all(exp.Table) if table.args.get("db") is None]
    names = [fold(table.alias or table.name) for table in tables]
    ctes = {fold(cte.alias) for cte in tree.find_all(exp.CTE)}
    if len(set(names)) < len(names) or ctes or (tree.find(exp.Subquery) is not None and _derived(tree)):
        return
    renamed = {name: f"t{number}" for number, name in enumerate(names)}
    single = len(tables) == 1
    outputs = {fold(item.alias) for item in tree.find_all(exp.Alias)}
    for column in tree.find_all(exp.Column):
        if fold(column.table) in renamed:
            # With one table in all of the query, a qualifier says nothing, unless a result column has the same name.
            plain = single and fold(column.name) not in outputs
            column.set("table", None if plain else exp.to_identifier(renamed[fold(column.table)]))
    for table, name in zip(tables, names, strict=True):
        table.set("alias", None if single else exp.TableAlias(this=exp.to_identifier(renamed[name])))


def _derived(tree: exp.Expr) -> bool:
    return any(isinstance(sub.parent, (exp.From, exp.Join)) for sub in tree.find_all(exp.Subquery))


def _strip_output_names(tree: exp.Expr) -> None:
    """Drops the names of result columns where nothing else uses them: SQLite lets WHERE and ON use them, too."""
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
    swaps = isinstance(node, exp.Binary) and not any(isinstance(side, _LOOSE) for side in (node.left, node.right))
    if swaps and isinstance(node, (exp.GT, exp.GTE)):
        flipped = exp.LT if isinstance(node, exp.GT) else exp.LTE
        return flipped(this=node.right, expression=node.left)
    if swaps and isinstance(node, (exp.EQ, exp.NEQ)):
        left, right = sorted((node.left, node.right), key=write)
        return type(node)(this=left, expression=right)
    if isinstance(node, exp.Ordered) and not node.args.get("desc"):
        node.set("desc", None)
    if isinstance(node, exp.And) and not isinstance(node.parent, exp.And):
        parts = sorted(map(write, node.flatten()))
        return exp.Anonymous(this="AND", expressions=[exp.Var(this=part) for part in parts])
    return node
