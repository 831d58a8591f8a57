"""How much each smell tells: by how much it raises the odds that a row has a planted fault.

The weights are those of a logistic regression, none below 0, of planted faults against rows as they are, on half of the
databases of BIRD's sample (`scripts/plant_faults.py --tune`). A smell that is not listed adds nothing to others.
"""

from __future__ import annotations

from collections.abc import Iterable

from text2sql.data.audit.smell import Smell

WEIGHTS: dict[str, float] = {
    # On real data, and by a model's answers: by judgement.
    "unreadable": 9.0,
    "fails on its database": 6.0,
    "too slow on its database": 1.0,
    "empty on its database": 2.5,
    "zero on its database": 2.0,
    "tie under LIMIT 1": 2.0,
    "arbitrary cut": 1.0,
    "rows repeated by a join": 1.0,
    "most samples disagree": 3.0,
    # On the text alone, and too rare in that half to be counted: by judgement.
    "distinct missing": 0.8,
    "evidence's direction turned": 2.5,
    "join without condition": 2.0,
    "negation unasked": 1.2,
    "numbers compared as text": 0.8,
    "text compared as number": 1.0,
    # On the text alone, by the regression.
    "about something else": 0.51,
    "answer of another kind": 0.35,
    "average unasked": 1.85,
    "column said and not shown": 1.56,
    "column said better": 1.80,
    "column unsaid": 0.99,
    "columns beside an aggregate": 0.32,
    "compared twice in one direction": 1.83,
    "compared with another kind": 1.10,
    "comparison": 2.17,
    "comparison missing": 0.25,
    "count for a total": 1.17,
    "count unasked": 0.40,
    "declared key unused": 3.70,
    "direction": 2.96,
    "direction against a rank": 1.07,
    "direction against the evidence": 2.21,
    "distinct unasked": 0.38,
    "division unasked": 0.14,
    "evidence's column ignored": 1.14,
    "evidence's column not shown": 1.46,
    "evidence's comparison differs": 3.92,
    "evidence's end without limit": 2.02,
    "evidence's function ignored": 0.97,
    "evidence's number ignored": 1.98,
    "evidence's value ignored": 1.72,
    "evidence's value of another column": 2.13,
    "extreme of a key": 1.67,
    "extreme unasked": 2.68,
    "few names shared": 1.14,
    "flag unsaid": 0.89,
    "join of unlike columns": 1.24,
    "join of unlike types": 1.67,
    "key added up": 2.77,
    "key shown unasked": 0.36,
    "limit": 4.20,
    "limit unasked": 0.20,
    "measure counted": 0.77,
    "name ignored": 1.11,
    "name told ignored": 0.69,
    "negation missing": 0.56,
    "number equals text": 0.41,
    "number ignored": 1.89,
    "number of rows ignored": 0.34,
    "number told ignored": 1.01,
    "number unsaid": 1.88,
    "number used once": 1.06,
    "number word ignored": 1.51,
    "order without its limit": 2.38,
    "other column shown": 1.19,
    "parents counted through a join": 0.07,
    "percentage missing": 0.05,
    "question hardly met": 0.55,
    "quoted value ignored": 1.01,
    "sorted by a count of a measure": 0.20,
    "sorted by an aggregate of a key": 0.75,
    "sum for how many": 0.76,
    "superlative without one": 1.03,
    "table joined for nothing": 0.66,
    "text equals number": 0.74,
    "text unsaid": 2.70,
}


def score(found: Iterable[Smell]) -> float:
    """The sum of what the smells of a gold query tell; 0 for none."""
    return sum(WEIGHTS.get(smell.kind, 0.0) for smell in found)
