"""How much each smell tells: the higher, the more often rows with a planted fault have it than rows as they are.

Logarithms of that ratio on half of the databases of BIRD's sample (`scripts/plant_faults.py --tune`), and where a smell
was too rare there to be counted, or says by itself that question and query differ, a value by judgement.
"""

from __future__ import annotations

from collections.abc import Iterable

from text2sql.data.audit.smell import Smell

WEIGHTS: dict[str, float] = {
    # On real data, and by a model's answers.
    "unreadable": 9.0,
    "fails on its database": 6.0,
    "too slow on its database": 1.0,
    "empty on its database": 2.5,
    "zero on its database": 2.0,
    "tie under LIMIT 1": 2.0,
    "arbitrary cut": 1.0,
    "rows repeated by a join": 1.0,
    "most samples disagree": 3.0,
    # On the text alone.
    "about something else": 3.0,
    "answer of another kind": 1.2,
    "average missing": 2.0,
    "average unasked": 2.5,
    "column of one name unused": 1.5,
    "column unsaid": 0.8,
    "columns beside an aggregate": 0.7,
    "compared twice in one direction": 2.5,
    "comparison": 2.5,
    "comparison unasked": 0.7,
    "count missing": 1.5,
    "count unasked": 1.3,
    "declared key unused": 3.0,
    "direction": 3.0,
    "direction against a rank": 0.4,
    "direction against the evidence": 2.5,
    "distinct missing": 0.8,
    "division unasked": 0.8,
    "evidence's column ignored": 1.4,
    "evidence's comparison differs": 3.0,
    "evidence's direction turned": 2.5,
    "evidence's function ignored": 1.7,
    "evidence's function of another column": 2.5,
    "evidence's number ignored": 2.2,
    "evidence's value ignored": 2.0,
    "extreme of a key": 1.0,
    "extreme unasked": 2.0,
    "few names shared": 0.6,
    "filter column unsaid": 1.0,
    "flag unsaid": 0.7,
    "group missing": 0.5,
    "join of unlike columns": 1.5,
    "join of unlike types": 2.0,
    "join without condition": 2.0,
    "key added up": 3.0,
    "key shown unasked": 0.8,
    "limit": 3.0,
    "limit unasked": 1.0,
    "limit without order": 0.3,
    "name ignored": 0.9,
    "name told ignored": 1.3,
    "negation missing": 1.5,
    "negation unasked": 1.2,
    "number equals text": 0.8,
    "number ignored": 1.8,
    "number told ignored": 1.5,
    "number unsaid": 2.0,
    "number used once": 0.8,
    "number word ignored": 1.8,
    "numbers compared as text": 0.8,
    "order without its limit": 2.5,
    "other column shown": 1.3,
    "percentage missing": 1.0,
    "question hardly met": 1.2,
    "question little met": 0.5,
    "quoted value ignored": 2.0,
    "sum for how many": 1.0,
    "sum unasked": 0.5,
    "superlative without one": 2.0,
    "table joined for nothing": 0.5,
    "text added up": 1.0,
    "text compared as number": 1.0,
    "text unsaid": 2.2,
    "used column unsaid": 0.7,
}


def score(found: Iterable[Smell]) -> float:
    """The sum of what the smells of a gold query tell; 0 for none."""
    return sum(WEIGHTS.get(smell.kind, 0.0) for smell in found)
