"""What recursive queries follow from row to row: the value of one column that the next row has in another one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from text2sql.equivalence.databases.plan import Condition, Plan, Query, Recursion, parts, subqueries


def recursions(plan: Plan, base: Query, step: Query) -> list[Recursion]:
    """The ways from a row to the next of a recursive CTE.

    Args:
        plan: What the slots of the queries mean.
        base: The part that it begins with.
        step: The part that reads itself, compiled as if that were ``base``.
    """
    found: list[Recursion] = []
    instances = {instance for part in subqueries(step) if part is not base for instance in part.instances}
    instances -= {instance for part in subqueries(base) for instance in part.instances}
    links = list(_links(base, step))
    for condition, place, slot in links:
        source = step.projections[place] if place < len(step.projections) else None
        # A row that hands on what it was reached by, or what its way began with, leads nowhere.
        if source is None or source == slot or not {plan.slots[slot][0], plan.slots[source][0]} <= instances:
            continue
        start = base.constants.get(base.names[place], ()) if condition.of else ()
        head = None if condition.of else base.projections[place]
        alone = replace(step, condition=_without(plan, step.condition, base, [link for link, _, _ in links]))
        found.append(
            Recursion(
                plan.column_of(source),
                plan.column_of(slot),
                base,
                alone,
                None if head is None else plan.column_of(head),
                start[0] if start else None,
            )
        )
    return [one for one in found if one.source != one.target]


def _links(base: Query, step: Query) -> Iterator[tuple[Condition, int, int]]:
    """Conditions by which a step finds its rows: the place of the column that it follows, and the slot of the row."""
    for condition in parts(step.condition):
        if condition.kind == "eq":
            for followed, slot in (condition.slots, condition.slots[::-1]):
                # A column may be there twice: as where a way begins, and as where it is.
                places = [place for place, shown in enumerate(base.projections) if shown == followed]
                yield from ((condition, place, slot) for place in places)
        elif condition.of and condition.of in base.constants:
            yield condition, base.names.index(condition.of), condition.slots[0]


def _without(plan: Plan, condition: Condition, base: Query, links: list[Condition]) -> Condition:
    """What is asked of the rows of a step, whatever they follow."""
    followed = any(plan.slots[slot][0] in base.instances for slot in condition.slots)
    if followed or condition.query is base or any(condition is link for link in links):
        return Condition("and")
    return replace(condition, parts=[_without(plan, part, base, links) for part in condition.parts])
