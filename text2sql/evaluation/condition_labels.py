"""In which ways the conditions of a prediction depart from those of its gold query.

Conditions that stand for each other are paired first, so that a changed one is not a missing and an extra one.
"""

from __future__ import annotations

from collections import Counter

# Of a comparison the column, the operator, and what it is compared with.
Condition = tuple[str, str, str]
# Which parts two conditions must share to stand for each other; the more they share, the sooner they are paired.
_ALIKE = ((0, 1), (0, 2), (0,), (1, 2))


def compare_conditions(gold: Counter[Condition], other: Counter[Condition]) -> set[str]:
    """The labels for what differs between the conditions of two queries."""
    missing, extra = list((gold - other).elements()), list((other - gold).elements())
    found: set[str] = set()
    for parts in _ALIKE:
        for condition in list(missing):
            twin = next((each for each in extra if all(each[part] == condition[part] for part in parts)), None)
            if twin is not None:
                missing.remove(condition)
                extra.remove(twin)
                found |= _changes(condition, twin)
    return found | ({"missing condition"} if missing else set()) | ({"extra condition"} if extra else set())


def _changes(condition: Condition, twin: Condition) -> set[str]:
    """The labels for a condition that stands for another."""
    found = set()
    if twin[0] != condition[0]:
        found.add("condition column")
    if twin[1] != condition[1]:
        found.add("wrong operator")
    if twin[2] != condition[2]:
        found.add(_compare_literals(condition[2], twin[2]))
    return found


def _compare_literals(gold: str, other: str) -> str:
    """The label for two values, that a column is compared with."""
    if "subquery" in gold + other:
        return "nesting"
    if gold.casefold() == other.casefold():
        return "literal case"
    return "literal type" if gold.replace("'", "") == other.replace("'", "") else "wrong literal"
