"""Ties: what ORDER BY and LIMIT leave open, and queries whose result depends on more than the data."""

from __future__ import annotations

import json
import operator
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlglot import exp

from text2sql.equivalence.databases.values.comparisons import stored_as
from text2sql.equivalence.results import AllowedResults
from text2sql.equivalence.syntax import SQLITE, Syntax
from text2sql.sql.sandbox import Result, SqliteSandbox
from text2sql.sql.tokens import fold
from text2sql.sql.trees import keeps_ties, literal_value
from text2sql.sql.values import Row, Value


class TieBreaker:
    """What breaks ties: at random, or in the order in which rows are met, or against it.

    Two opposite orders show that a tie is one; random values alone would miss every other tie of two rows.

    Attributes:
        direction: 0 for a random order, 1 for that in which rows are met, -1 for its reverse.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._count = 0
        self.direction = 0

    def __call__(self) -> float:
        """The next value to sort by."""
        self._count += 1
        return self.direction * self._count if self.direction else self._rng.random()


@dataclass(frozen=True)
class OrderPlan:
    """How to run a query so that its ties can be seen.

    Attributes:
        sql: The query without its LIMIT, with its ORDER BY keys as further columns.
        keys: The index of each ORDER BY term's column in the result; negative numbers count from the end.
        extra_columns: How many columns were appended.
        offset: Rows that OFFSET skips.
        limit: Rows that LIMIT keeps, None for all.
        ordered: Whether there is a top-level ORDER BY.
        is_tie: Whether two values are one to ORDER BY.
    """

    sql: str
    keys: tuple[int, ...]
    extra_columns: int
    offset: int
    limit: int | None
    ordered: bool
    is_tie: Callable[[Value, Value], bool] = operator.eq

    def allowed_results(self, result: Result) -> AllowedResults:
        """Groups the rows by their keys."""
        rows = result.rows
        if not self.ordered:
            return AllowedResults(rows, [len(rows)] if rows else [], self.offset, self.limit)
        ends: list[int] = []
        for index, row in enumerate(rows):
            if index and not self._are_tied(rows[index - 1], row):
                ends.append(index)
        ends += [len(rows)] if rows else []
        without_keys = [row[: len(row) - self.extra_columns] for row in rows] if self.extra_columns else rows
        return AllowedResults(without_keys, ends, self.offset, self.limit)

    def _are_tied(self, a: Row, b: Row) -> bool:
        return all(self.is_tie(a[key], b[key]) for key in self.keys)


def plan_order(tree: exp.Expr, syntax: Syntax = SQLITE) -> OrderPlan | None:
    """Plans how to see a query's ties; None if its ORDER BY or LIMIT is of a kind that cannot be taken apart."""
    limit_node, offset_node, order = tree.args.get("limit"), tree.args.get("offset"), tree.args.get("order")
    limit = _limit(limit_node)
    offset = literal_value(offset_node.expression) if offset_node else 0
    # All rows that are tied with the last one are kept, so that nothing is open but their order.
    with_ties = keeps_ties(limit_node)
    known = with_ties or limit_node is None or limit is not None
    if not isinstance(offset, int) or not (limit is None or isinstance(limit, int)) or not known:
        return None
    if limit is not None and limit < 0:
        # SQLite: a negative LIMIT is none.
        limit = None
    bare = tree.copy()
    if with_ties:
        offset = 0
    else:
        bare.set("limit", None)
        bare.set("offset", None)
    # Rows sorted by random values alone are not sorted.
    terms = [term for term in order.expressions if not _is_random(term)] if order else []
    if order and len(terms) < len(order.expressions):
        bare.set("order", exp.Order(expressions=[term.copy() for term in terms]) if terms else None)
    extras: list[exp.Expr] = []
    keys = _keys(tree, terms, extras)
    if keys is None or (extras and (tree.args.get("distinct") or not isinstance(tree, exp.Select))):
        return None
    for number, extra in enumerate(extras):
        bare.append("expressions", exp.alias_(extra.copy(), f"_t2s_key{number}"))
    return OrderPlan(syntax.write(bare), keys, len(extras), max(offset, 0), limit, bool(terms), syntax.is_tie)


def unordered_plan(sql: str, tree: exp.Expr) -> OrderPlan | None:
    """The plan of a query that neither sorts nor cuts, which is run as it stands; None for any other."""
    sorts_or_cuts = any(tree.args.get(key) for key in ("order", "limit", "offset"))
    return None if sorts_or_cuts else OrderPlan(sql, (), extra_columns=0, offset=0, limit=None, ordered=False)


def _limit(node: exp.Expr | None) -> Value:
    """How many rows a LIMIT or FETCH FIRST keeps; None where it is not known."""
    if isinstance(node, exp.Fetch):
        options = node.args.get("limit_options")
        plain = options is None or not (options.args.get("percent") or options.args.get("with_ties"))
        return literal_value(node.args.get("count")) if plain else None
    return literal_value(node.expression) if node else None


def _is_random(term: exp.Expr) -> bool:
    return term.find(exp.Rand) is not None and term.find(exp.Column) is None


def _keys(tree: exp.Expr, terms: list[exp.Expr], extras: list[exp.Expr]) -> tuple[int, ...] | None:
    """The index of each ORDER BY term's result column; terms that no column holds are appended to ``extras``."""
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
    extra_indices = iter(range(-len(extras), 0))
    return tuple(next(extra_indices) if key is None else key for key in keys)


def _output_index(node: exp.Expr, outputs: list[exp.Expr]) -> int | None:
    """The index of the result column that an ORDER BY term names or repeats."""
    if isinstance(node, exp.Column) and not node.table:
        for index, item in enumerate(outputs):
            if isinstance(item, exp.Alias) and fold(item.alias) == fold(node.name):
                return index
    for index, item in enumerate(outputs):
        if item.unalias() == node:
            return index
    return None


def _without_aliases(node: exp.Expr, outputs: list[exp.Expr]) -> exp.Expr:
    """The term with the names of result columns replaced by what they stand for."""
    aliased = {fold(item.alias): item.this for item in outputs if isinstance(item, exp.Alias)}

    def replace(part: exp.Expr) -> exp.Expr:
        if isinstance(part, exp.Column) and not part.table and fold(part.name) in aliased:
            return exp.paren(aliased[fold(part.name)].copy())
        return part

    return node.copy().transform(replace)


def randomize_ties(tree: exp.Expr, syntax: Syntax = SQLITE) -> str:
    """The query with all that its data leave open decided at random; on SQLite, by `RANDOM_FUNCTION`.

    Ties under a LIMIT, and before a window that numbers its rows, are broken at random. A column that is neither
    grouped by nor aggregated keeps its value if its group agrees on it, and gets a random one if not; so does one that
    a DISTINCT result is sorted by and does not show.
    """
    tree = tree.copy()
    for window in tree.find_all(exp.Window):
        order = window.args.get("order")
        if order and isinstance(window.this, _NUMBERING):
            order.append("expressions", exp.Ordered(this=syntax.random_value()))
    for select in list(tree.find_all(exp.Select)):
        if _sorts_by_hidden_terms(select):
            select.set("distinct", None)
            select.set("group", exp.Group(expressions=[item.unalias().copy() for item in select.expressions]))
            select.args["order"].append("expressions", exp.Ordered(this=syntax.random_value()))
        limit = select.args.get("limit")
        if _has_distinct_on(select) or (limit and not keeps_ties(limit) and not select.args.get("distinct")):
            order = select.args.get("order")
            terms = [*order.expressions] if order else []
            select.set("order", exp.Order(expressions=[*terms, exp.Ordered(this=syntax.random_value())]))
        # With a single MIN or MAX, SQLite takes such columns from the row of the extreme value.
        extremes = [node for item in select.expressions for node in item.find_all(exp.Min, exp.Max)]
        if not extremes:
            for column in list(_bare_columns(select)):
                if isinstance(column, exp.Column) and not isinstance(column.this, exp.Star):
                    column.replace(syntax.agreed_value(column))
    return syntax.write(tree)


# With ties, which row gets which number is open; sums over a window with ties are not.
_NUMBERING = (exp.RowNumber, exp.Ntile, exp.Lag, exp.Lead, exp.FirstValue)


def _has_distinct_on(select: exp.Expr) -> bool:
    """Whether a SELECT takes one row of each group as it comes: DISTINCT ON."""
    distinct = select.args.get("distinct")
    return isinstance(distinct, exp.Distinct) and distinct.args.get("on") is not None


def _sorts_by_hidden_terms(select: exp.Select) -> bool:
    """Whether DISTINCT rows are sorted by what they do not show: of the rows that are one, any may decide."""
    order = select.args.get("order")
    if not select.args.get("distinct") or not order or select.args.get("group") or select.find(exp.AggFunc):
        return False
    if _has_distinct_on(select) or any(item.is_star for item in select.expressions):
        return False
    terms = [term.this for term in order.expressions if isinstance(term, exp.Ordered)]
    return any(
        not isinstance(term, exp.Literal) and _output_index(term, list(select.expressions)) is None for term in terms
    )


_FIXED_AGGREGATES = (exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max)


def is_unstable(tree: exp.Expr, *, top_limit: bool) -> bool:
    """Whether a query's result may depend on more than its data: LIMIT, bare columns of groups, windows, RANDOM().

    Args:
        tree: The query.
        top_limit: Whether its own LIMIT counts, or only those of its subqueries.
    """
    top = tree.args.get("limit")
    for node in tree.walk():
        if isinstance(node, exp.Limit) and (top_limit or node is not top):
            return True
        if isinstance(node, (exp.Window, exp.Rand, exp.GroupConcat, exp.Anonymous)):
            return True
        if isinstance(node, exp.AggFunc) and not isinstance(node, _FIXED_AGGREGATES):
            return True
        if isinstance(node, exp.Select) and (
            _has_distinct_on(node) or _sorts_by_hidden_terms(node) or _has_bare_columns(node)
        ):
            return True
    return False


def _ungrouped_columns(part: exp.Expr, grouped: set[str]) -> list[exp.Column]:
    """The columns of an expression that do not stand in one that is grouped by; ``grouped`` holds these as text."""
    columns = list(part.find_all(exp.Column))
    if not grouped:
        return columns
    ungrouped = []
    for column in columns:
        node: exp.Expr | None = column
        while node is not None and node is not part and node.sql().lower() not in grouped:
            node = node.parent
        if node is not None and (node is column or node.sql().lower() not in grouped):
            ungrouped.append(column)
    return ungrouped


def _has_bare_columns(select: exp.Select) -> bool:
    return next(_bare_columns(select), None) is not None


def _bare_columns(select: exp.Select) -> Iterator[exp.Expr]:
    """The columns of a grouped SELECT that are neither grouped by nor aggregated, in what it shows and sorts by."""
    group = select.args.get("group")
    terms = list(group.expressions) if group else []
    grouped = {term.sql().lower() for term in terms}
    columns = [term for term in terms if isinstance(term, exp.Column)]
    aggregates = any(
        aggregate.find_ancestor(exp.Window, exp.Select) is select
        for item in select.expressions
        for aggregate in item.find_all(exp.AggFunc)
    )
    if not group and not aggregates:
        return
    parts = [item.unalias() for item in select.expressions]
    parts += [select.args[key] for key in ("having", "order") if select.args.get(key)]
    aliases = {fold(item.alias) for item in select.expressions if isinstance(item, exp.Alias)}
    for part in parts:
        if isinstance(part, exp.Star):
            yield part
        for column in _ungrouped_columns(part, grouped):
            name = fold(column.name)
            # Two tables may have columns of one name: only a missing table leaves it to the name.
            known = column.sql().lower() in grouped or (not column.table and name in aliases)
            known |= any(name == fold(term.name) and not (column.table and term.table) for term in columns)
            if not known and column.find_ancestor(exp.AggFunc, exp.Select) is select:
                yield column


# Functions that make JSON elements, which a plain list of values would quote.
_JSON_FUNCTIONS = re.compile(r"json_(?:object|array|extract|quote|each|tree)\b|\bjson\s*\(|->", re.IGNORECASE)


def sort_aggregates(sandbox: SqliteSandbox, queries: str) -> None:
    """Has aggregates that list their rows do so in the order of the values: SQL leaves the order open.

    Args:
        sandbox: Where the queries run.
        queries: Their texts.
    """
    lowered = queries.lower()
    if "group_concat" in lowered:
        for count in (1, 2):
            sandbox.create_aggregate("group_concat", count, _GroupConcat)
    if "json_group_array" in lowered and not _JSON_FUNCTIONS.search(queries):
        sandbox.create_aggregate("json_group_array", 1, _JsonGroupArray)


# Far more than a result may hold, which SQLite then says.
_MAX_COLLECTED_ROWS = 30_000


class _SortedAggregate:
    """An aggregate over sorted rows, for groups and for windows that move; see `SqliteSandbox.create_aggregate`."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def step(self, *values: Value) -> None:
        if len(self._rows) < _MAX_COLLECTED_ROWS:
            self._rows.append(values)

    def inverse(self, *values: Value) -> None:
        if values in self._rows:
            self._rows.remove(values)

    def _sorted(self) -> list[Row]:
        return sorted(self._rows, key=_sort_key)

    def finalize(self) -> Value:
        return self.value()

    def value(self) -> Value:
        raise NotImplementedError


def _sort_key(row: Row) -> tuple[int, float, str]:
    value = row[0]
    if isinstance(value, (int, float)):
        return 1, value, ""
    return (0, 0.0, "") if value is None else (2, 0.0, str(value))


class _GroupConcat(_SortedAggregate):
    """GROUP_CONCAT (https://sqlite.org/lang_aggfunc.html#group_concat)."""

    def value(self) -> Value:
        rows = [row for row in self._sorted() if row[0] is not None]
        text = ""
        for number, row in enumerate(rows):
            separator = "," if len(row) == 1 else "" if row[1] is None else str(stored_as(row[1], "TEXT"))
            text += (separator if number else "") + str(stored_as(row[0], "TEXT"))
        return text if rows else None


class _JsonGroupArray(_SortedAggregate):
    """JSON_GROUP_ARRAY over plain values."""

    def value(self) -> Value:
        return json.dumps([row[0] for row in self._sorted()], separators=(",", ":"), ensure_ascii=False)
