"""Ties: what ORDER BY and LIMIT leave open, and queries whose result depends on more than the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlglot import exp

from text2sql.equivalence.results import Answers
from text2sql.sql.sandbox import Result
from text2sql.sql.trees import literal_value, parse_sqlite, to_sqlite
from text2sql.sql.values import Row

SHAKE = "_t2s_shake"


@dataclass(frozen=True)
class OrderPlan:
    """How to run a query so that its ties can be seen.

    Attributes:
        sql: The query without its LIMIT, with its ORDER BY keys as further columns.
        keys: Of each ORDER BY term, its column in the result; negative numbers count from the end.
        extra: How many columns were appended.
        ordered: Whether there is a top-level ORDER BY.
    """

    sql: str
    keys: tuple[int, ...]
    extra: int
    offset: int
    limit: int | None
    ordered: bool

    def answers(self, result: Result) -> Answers:
        """Groups the rows by their keys."""
        rows = result.rows
        if not self.ordered:
            return Answers(rows, [len(rows)] if rows else [], self.offset, self.limit)
        ends: list[int] = []
        for index, row in enumerate(rows):
            if index and not self._tied(rows[index - 1], row):
                ends.append(index)
        ends += [len(rows)] if rows else []
        plain = [row[: len(row) - self.extra] for row in rows] if self.extra else rows
        return Answers(plain, ends, self.offset, self.limit)

    def _tied(self, a: Row, b: Row) -> bool:
        return all(a[key] == b[key] for key in self.keys)


def plan_order(tree: exp.Expr) -> OrderPlan | None:
    """Plans how to see a query's ties; None if its ORDER BY or LIMIT is of a kind that cannot be taken apart."""
    limit_node, offset_node, order = tree.args.get("limit"), tree.args.get("offset"), tree.args.get("order")
    limit = literal_value(limit_node.expression) if limit_node else None
    offset = literal_value(offset_node.expression) if offset_node else 0
    if not isinstance(offset, int) or not (limit is None or isinstance(limit, int)) or (limit_node and limit is None):
        return None
    if limit is not None and limit < 0:
        # SQLite: a negative LIMIT is none.
        limit = None
    bare = tree.copy()
    bare.set("limit", None)
    bare.set("offset", None)
    extras: list[exp.Expr] = []
    keys = _keys(tree, order.expressions, extras) if order else ()
    if keys is None or (extras and (tree.args.get("distinct") or not isinstance(tree, exp.Select))):
        return None
    for number, extra in enumerate(extras):
        bare.append("expressions", exp.alias_(extra.copy(), f"_t2s_key{number}"))
    return OrderPlan(to_sqlite(bare), keys, len(extras), max(offset, 0), limit, bool(order))


def _keys(tree: exp.Expr, terms: list[exp.Expr], extras: list[exp.Expr]) -> tuple[int, ...] | None:
    """Of each ORDER BY term the result column that holds it; terms that no column holds are appended to ``extras``."""
    select = tree
    while isinstance(select, (exp.SetOperation, exp.Subquery)):
        select = select.this
    outputs = list(select.expressions)
    star = next((i for i, item in enumerate(outputs) if item.is_star), len(outputs))
    keys: list[int | None] = []
    for term in terms:
        node = term.this if isinstance(term, exp.Ordered) else term
        number = literal_value(node)
        if isinstance(node, exp.Literal) and isinstance(number, int):
            keys.append(number - 1)
            continue
        index = _output_index(node, outputs[:star])
        if index is None:
            if not isinstance(tree, exp.Select):
                return None
            extras.append(_without_aliases(node, outputs))
        keys.append(index)
    # Extra columns are counted from the end, for `SELECT *` widens the row by an unknown number.
    places = iter(range(-len(extras), 0))
    return tuple(next(places) if key is None else key for key in keys)


def _output_index(node: exp.Expr, outputs: list[exp.Expr]) -> int | None:
    """The result column that an ORDER BY term names or repeats."""
    if isinstance(node, exp.Column) and not node.table:
        for index, item in enumerate(outputs):
            if isinstance(item, exp.Alias) and item.alias.lower() == node.name.lower():
                return index
    for index, item in enumerate(outputs):
        if item.unalias() == node:
            return index
    return None


def _without_aliases(node: exp.Expr, outputs: list[exp.Expr]) -> exp.Expr:
    """The term with the names of result columns replaced by what they stand for."""
    named = {item.alias.lower(): item.this for item in outputs if isinstance(item, exp.Alias)}

    def replace(part: exp.Expr) -> exp.Expr:
        if isinstance(part, exp.Column) and not part.table and part.name.lower() in named:
            return exp.paren(named[part.name.lower()].copy())
        return part

    return node.copy().transform(replace)


def shaken(tree: exp.Expr) -> str:
    """The query with all that its data leave open decided by chance: `SHAKE` must be a function of the connection.

    Ties under a LIMIT are broken by chance. A column that is neither grouped by nor aggregated keeps its value if its
    group agrees on it, and gets a random one if not.
    """
    tree = tree.copy()
    for select in list(tree.find_all(exp.Select)):
        if select.args.get("limit") and not select.args.get("distinct"):
            order = select.args.get("order")
            terms = [*order.expressions] if order else []
            select.set("order", exp.Order(expressions=[*terms, exp.Ordered(this=exp.Anonymous(this=SHAKE))]))
        # With a single MIN or MAX, SQLite takes such columns from the row of the extreme value.
        extremes = [node for item in select.expressions for node in item.find_all(exp.Min, exp.Max)]
        if not extremes:
            for column in list(_bare_columns(select)):
                if isinstance(column, exp.Column) and not isinstance(column.this, exp.Star):
                    column.replace(_settled(to_sqlite(column)))
    return to_sqlite(tree)


def _settled(column: str) -> exp.Expr:
    text = f"CASE WHEN MIN({column}) IS MAX({column}) AND COUNT({column}) IN (0, COUNT(*)) "
    return parse_sqlite(f"{text} THEN MIN({column}) ELSE {SHAKE}() END")


_FIXED_AGGREGATES = (exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max)


def unstable(tree: exp.Expr, *, top_limit: bool) -> bool:
    """Whether a query's result may depend on more than its data: LIMIT, bare columns of groups, windows, chance.

    Args:
        tree: The query.
        top_limit: Whether its own LIMIT counts, or only those inside it.
    """
    own = tree.args.get("limit")
    for node in tree.walk():
        if isinstance(node, exp.Limit) and (top_limit or node is not own):
            return True
        if isinstance(node, (exp.Window, exp.Rand, exp.GroupConcat, exp.Anonymous)):
            return True
        if isinstance(node, exp.AggFunc) and not isinstance(node, _FIXED_AGGREGATES):
            return True
        if isinstance(node, exp.Select) and any(True for _ in _bare_columns(node)):
            return True
    return False


def _bare_columns(select: exp.Select) -> Iterator[exp.Expr]:
    """The columns of a grouped SELECT that are neither grouped by nor aggregated, in what it shows and sorts by."""
    group = select.args.get("group")
    terms = list(group.expressions) if group else []
    grouped = {term.sql().lower() for term in terms}
    names = {term.name.lower() for term in terms if isinstance(term, exp.Column)}
    aggregates = any(
        aggregate.find_ancestor(exp.Window, exp.Select) is select
        for item in select.expressions
        for aggregate in item.find_all(exp.AggFunc)
    )
    if not group and not aggregates:
        return
    parts = [item.unalias() for item in select.expressions]
    parts += [select.args[key] for key in ("having", "order") if select.args.get(key)]
    aliases = {item.alias.lower() for item in select.expressions if isinstance(item, exp.Alias)}
    for part in parts:
        if isinstance(part, exp.Star):
            yield part
        for column in part.find_all(exp.Column):
            name = column.name.lower()
            known = column.sql().lower() in grouped or name in names or (not column.table and name in aliases)
            if not known and column.find_ancestor(exp.AggFunc, exp.Select) is select:
                yield column
