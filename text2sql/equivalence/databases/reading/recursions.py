"""What recursive queries follow from row to row: the value of one column that the next row has in another one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from text2sql.equivalence.databases.plan import Condition, Plan, Query, Recursion, condition_tree, query_tree


class _Link(NamedTuple):
    """A condition by which a step finds its rows.

    Attributes:
        condition: The condition.
        column: The result column whose value the step follows, by index.
        slot: The slot of the next row that has this value.
    """

    condition: Condition
    column: int
    slot: int


def find_recursions(plan: Plan, base: Query, step: Query) -> list[Recursion]:
    """The ways from a row to the next of a recursive CTE.

    Args:
        plan: What the slots of the queries mean.
        base: The part that it begins with.
        step: The part that reads itself, compiled as if that were ``base``.
    """
    instances = {instance for part in query_tree(step) if part is not base for instance in part.instances}
    instances -= {instance for part in query_tree(base) for instance in part.instances}
    links = list(_links(base, step))
    conditions = [link.condition for link in links]
    recursions: list[Recursion] = []
    for condition, index, slot in links:
        source = step.projections[index] if index < len(step.projections) else None
        # A row that hands on what it was reached by, or what its way began with, leads nowhere.
        if source is None or source == slot or not {plan.slots[slot][0], plan.slots[source][0]} <= instances:
            continue
        from_constant = bool(condition.constants_column)
        constants = base.constants.get(base.column_names[index], ()) if from_constant else ()
        start = None if from_constant else base.projections[index]
        recursion = Recursion(
            source=plan.column_of(source),
            target=plan.column_of(slot),
            base=base,
            step=replace(step, condition=_without_links(plan, step.condition, base, conditions)),
            start_column=None if start is None else plan.column_of(start),
            start_value=constants[0] if constants else None,
        )
        recursions += [recursion] if recursion.source != recursion.target else []
    return recursions


def _links(base: Query, step: Query) -> Iterator[_Link]:
    """The conditions by which a step finds its rows."""
    for condition in condition_tree(step.condition):
        if condition.kind == "equal":
            for followed, slot in (condition.slots, condition.slots[::-1]):
                # A column may be there twice: as where a way begins, and as where it is.
                indices = [index for index, shown in enumerate(base.projections) if shown == followed]
                yield from (_Link(condition, index, slot) for index in indices)
        elif condition.constants_column and condition.constants_column in base.constants:
            yield _Link(condition, base.column_names.index(condition.constants_column), condition.slots[0])


def _without_links(plan: Plan, condition: Condition, base: Query, links: Sequence[Condition]) -> Condition:
    """What is asked of the rows of a step, whatever they follow."""
    follows = any(plan.slots[slot][0] in base.instances for slot in condition.slots)
    if follows or condition.subquery is base or any(condition is link for link in links):
        return Condition("and")
    return replace(condition, parts=[_without_links(plan, part, base, links) for part in condition.parts])
