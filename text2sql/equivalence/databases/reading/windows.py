"""The windows of a query: their partitions, and how far they look within one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlglot import exp

from text2sql.equivalence.databases.plan import Plan, Query
from text2sql.equivalence.databases.reaches import Reach, named_windows, window_reach, window_way
from text2sql.sql.tokens import fold


def note_windows(
    plan: Plan, tree: exp.Select, query: Query, slots: Callable[[exp.Expr], list[int]], below: Sequence[Query]
) -> None:
    """Notes the partitions of a SELECT's windows, and the windows that look some rows away.

    Args:
        plan: Added to.
        tree: The SELECT.
        query: What it has been compiled to; added to.
        slots: Those of the columns in an expression.
        below: The subqueries that it reads.
    """
    named = named_windows(tree)
    for window in tree.find_all(exp.Window):
        for term in window.args.get("partition_by") or ():
            query.partition += slots(term)
        other = named.get(fold(window.alias))
        number, way = window_reach(window, other), window_way(window)
        if window.find_ancestor(exp.Select) is not tree:
            continue
        order = window.args.get("order") or (other.args.get("order") if other else None)
        terms = [term.this for term in order.expressions] if order else []
        places = [(slot, isinstance(term, exp.Column)) for term in terms for slot in slots(term)]
        plan.ordered |= {plan.column_of(slot) for slot, alone in places if alone}
        if way == "rows" and not number:
            continue
        # Of a grouped query, its groups are the rows.
        grouped = query.group or [slot for inner in below for slot in inner.group]
        places += [(slot, False) for slot in grouped if slot not in query.partition]
        keys = dict(reversed([(plan.column_of(slot), alone) for slot, alone in places]))
        measured = dict.fromkeys(map(plan.column_of, slots(window.this)))
        reach = Reach(len(plan.queries), way, number, tuple(reversed(keys.items())), tuple(measured))
        plan.reaches += [reach] if reach not in plan.reaches else []
