"""The windows of a query: their partitions, and how far they look within one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlglot import exp

from text2sql.equivalence.databases.phenomena.window_reach import (
    WindowReach,
    named_windows,
    window_kind,
    window_offset,
)
from text2sql.equivalence.databases.plan import Plan, Query
from text2sql.sql.tokens import fold


def note_windows(
    plan: Plan, tree: exp.Select, query: Query, slots_in: Callable[[exp.Expr], list[int]], sources: Sequence[Query]
) -> None:
    """Notes the partitions of a SELECT's windows, and the windows that look some rows away.

    Args:
        plan: Added to.
        tree: The SELECT.
        query: What it has been compiled to; added to.
        slots_in: Returns the slots of the columns in an expression.
        sources: The subqueries that it reads.
    """
    named = named_windows(tree)
    for window in tree.find_all(exp.Window):
        for term in window.args.get("partition_by") or ():
            query.partition_by += slots_in(term)
        definition = named.get(fold(window.alias))
        offset, kind = window_offset(window, definition), window_kind(window)
        if window.find_ancestor(exp.Select) is not tree:
            continue
        order = window.args.get("order") or (definition.args.get("order") if definition else None)
        terms = [term.this for term in order.expressions] if order else []
        # The slots that the window is sorted by; whether each stands there alone.
        ordered = [(slot, isinstance(term, exp.Column)) for term in terms for slot in slots_in(term)]
        plan.windows.order_columns |= {plan.column_of(slot) for slot, alone in ordered if alone}
        if kind == "offset" and not offset:
            continue
        # Of a grouped query, its groups are the rows.
        grouped = query.group_by or [slot for source in sources for slot in source.group_by]
        ordered += [(slot, False) for slot in grouped if slot not in query.partition_by]
        # Each column once, as it stands first.
        keys = dict(reversed([(plan.column_of(slot), alone) for slot, alone in ordered]))
        measured = dict.fromkeys(map(plan.column_of, slots_in(window.this)))
        reach = WindowReach(len(plan.queries), kind, offset, tuple(reversed(keys.items())), tuple(measured))
        if reach not in plan.windows.reaches:
            plan.windows.reaches.append(reach)
