"""Error labels for the conditions of a prediction that differ from those of its gold query.

Similar conditions are matched first, so that a changed condition is not labelled as a missing and an extra one.
"""

from __future__ import annotations

from collections import Counter

# Column, operator and operand of a comparison.
Condition = tuple[str, str, str]
# Parts of a `Condition` that two conditions must share to be matched, tried in this order: closer matches come first.
_SHARED_PARTS = ((0, 1), (0, 2), (0,), (1, 2))


def compare_conditions(gold: Counter[Condition], other: Counter[Condition]) -> set[str]:
    """The labels for the differences between the conditions of two queries."""
    missing, extra = list((gold - other).elements()), list((other - gold).elements())
    labels: set[str] = set()
    for parts in _SHARED_PARTS:
        for condition in list(missing):
            match = next((each for each in extra if all(each[part] == condition[part] for part in parts)), None)
            if match is not None:
                missing.remove(condition)
                extra.remove(match)
                labels |= _compare_matched(condition, match)
    return labels | ({"missing condition"} if missing else set()) | ({"extra condition"} if extra else set())


def _compare_matched(gold: Condition, other: Condition) -> set[str]:
    """The labels for the differences between two matched conditions."""
    labels = set()
    if other[0] != gold[0]:
        labels.add("condition column")
    if other[1] != gold[1]:
        labels.add("wrong operator")
    if other[2] != gold[2]:
        labels.add(_compare_literals(gold[2], other[2]))
    return labels


def _compare_literals(gold: str, other: str) -> str:
    """The label for two different operands."""
    if "subquery" in gold + other:
        return "nesting"
    if gold.casefold() == other.casefold():
        return "literal case"
    return "literal type" if gold.replace("'", "") == other.replace("'", "") else "wrong literal"
