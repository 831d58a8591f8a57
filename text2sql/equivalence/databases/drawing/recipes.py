"""How the databases for a pair differ from each other."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from text2sql.equivalence.databases.plan import Plan, atoms
from text2sql.equivalence.databases.samples import Sample
from text2sql.equivalence.databases.values.thresholds import MOST, Threshold
from text2sql.sql.schema import TableSchema


@dataclass(frozen=True)
class Recipe:
    """How one database is made.

    Attributes:
        satisfied: Scenarios per query on which it finds something.
        broken: Scenarios per query in which one part of its condition fails.
        size: Ordinary values per domain: few for ties and duplicates, many for neither.
        nulls: Share of NULLs where they are allowed.
        copies: How often a scenario is repeated within its group.
        counted: How often each of the scenarios is repeated, exactly; empty to choose from ``copies``.
        block: Which SELECT of the query, counted from the outermost, has its rows repeated; -1 for the innermost.
        spread: Whether each copy lies in another group, where a result has one row a group.
        keep: Share of the values that a copy keeps.
        noise: Random rows per table.
        literals: Share of free values drawn from near the literals.
        style: See `values.ordinary`.
        empty: A table to leave without rows.
        boundary: Share of the conditions that one query lacks which are met, or missed, by the least possible.
        deciding: Which turn it is, from 1, that a row on which one condition decides has the smallest or the largest
            value of all; 0 for no such row.
        duel: Which turn it is, from 1, that groups compete, two of which are one in another grouping; 0 for none.
        against: Whether the smallest groups have the largest sums.
        distinct: Whether columns that no condition speaks of differ in every row.
        tight: How many values a key has at most, so that every combination of keys comes up; 0 for no limit.
        only: Whether the rows of one query's scenarios alone are there.
        whose: Which query that is, where only one has scenarios: here, and where rows are counted.
        merge: Share of the rows that two SELECTs of a query could both see which they do see.
        meet: Share of the values that something makes equal which meet.
        aimed: Whether the rows are those of samples.
    """

    satisfied: int = 2
    broken: int = 1
    size: int = 5
    nulls: float = 0.0
    copies: tuple[int, ...] = (1,)
    counted: tuple[int, ...] = ()
    block: int = 0
    spread: bool = False
    keep: float = 0.5
    noise: int = 1
    literals: float = 0.3
    style: int = 0
    empty: str | None = None
    boundary: float = 0.0
    deciding: int = 0
    duel: int = 0
    against: bool = False
    distinct: bool = False
    tight: int = 0
    only: bool = False
    whose: int = 0
    merge: float = 0.4
    meet: float = 0.5
    aimed: bool = False


_FIXED = {
    0: Recipe(satisfied=2, broken=1, size=9, style=0, meet=0.0),
    1: Recipe(satisfied=2, broken=3, size=5, noise=2, style=1, boundary=1.0),
    2: Recipe(satisfied=2, broken=1, size=2, copies=(2, 3), style=0, keep=0.7, meet=1.0),
    3: Recipe(satisfied=2, broken=2, size=4, nulls=0.3, copies=(1, 2), style=1),
    5: Recipe(satisfied=1, broken=0, size=3, nulls=0.6, noise=0),
    6: Recipe(satisfied=0, broken=1, size=3, nulls=0.2, noise=0),
    # One row of each table, which every SELECT sees, and which the gold query does not find.
    9: Recipe(satisfied=0, broken=1, size=3, noise=0, only=True, merge=1.0),
    # All that may be NULL is, and nothing but what the gold query finds is there.
    11: Recipe(satisfied=1, broken=0, size=3, nulls=1.0, noise=0, only=True),
}
# The database without any rows.
_EMPTY = 4
# The first database that is a sample; the others follow it.
FIRST_AIMED = 7
# A database with a chain of rows, and with what points at it.
CHAINED = Recipe(satisfied=4, broken=0, size=12, noise=0, meet=0.0, distinct=True)
# A database of those who have all of something, some of it, or as much else, and of nothing else.
DIVIDED = Recipe(satisfied=0, broken=0, size=12, noise=0, meet=0.0, distinct=True)
# Beyond this number of rows a group is repeated only where a threshold asks for it.
OFTEN = 60


def aimed(samples: Sequence[Sample]) -> Recipe:
    """The database of some samples, and of nothing else."""
    alike = all(sample.alike for sample in samples)
    return Recipe(satisfied=0, broken=0, size=12, keep=float(alike), noise=0, meet=0.0, distinct=True, aimed=True)


def recipe(index: int, plan: Plan, tables: Mapping[str, TableSchema], rng: random.Random) -> Recipe | None:
    """The recipe of the ``index``-th database; None stands for no rows at all."""
    if index == _EMPTY:
        return None
    if index in _FIXED:
        return _FIXED[index]
    turn, place = divmod(index, 6)
    if place == 5:
        return _tiny(tables, rng)
    if place == 3 and len(tables) > 1 and 2 <= turn < 2 + len(tables):
        return _bereft(list(tables)[turn - 2], rng)
    if place in (1, 4):
        counted = counted_recipes(plan)
        number = 2 * (turn - 1) + (place == 4)
        # They are due once for every seed: what they decide must not hang on luck. High numbers come up here alone.
        high = any((1 if threshold.grouped else OFTEN) < threshold.number <= MOST for threshold in plan.thresholds)
        if number < len(counted) or (counted and high and place == 1):
            # A group may be that of NULL.
            again = number >= len(counted)
            return replace(
                counted[number % len(counted)],
                keep=rng.choice((0.0, 0.5)),
                nulls=rng.choice((0.0, 0.3, 0.6)) if again else 0.0,
                distinct=rng.random() < 0.4 if again else plan.distinct_counts,
            )
        if place == 4 and plan.nested:
            return _dense(rng)
    if place == 2 and plan.extremes:
        return _deciding(turn, rng)
    if plan.grouped and place in (0, 1, 3):
        if place == 0:
            return _duel(plan, turn, rng)
        return replace(_race(rng), against=bool(plan.summed) and turn % 3 == 1)
    return _general(index, plan, tables, rng)


def counted_recipes(plan: Plan) -> list[Recipe]:
    """The databases that thresholds ask for: as many rows as they count, one more, one less."""
    near: list[tuple[Threshold, tuple[int, ...]]] = []
    for threshold in plan.thresholds:
        number = threshold.number
        if not 1 <= number <= MOST:
            continue
        if threshold.grouped:
            near += [(threshold, (number - 1, number, number + 1)), (threshold, (number,)), (threshold, (number + 1,))]
            near += [(threshold, (number - 1,))] if number > 1 else []
        elif number > 1:
            near += [(threshold, (number + 2,)), (threshold, (number,))]
    found: list[Recipe] = []
    # Whether an outer or an inner SELECT is counted is not known: each has its turn, the likelier one first.
    for inner in (False, True) if plan.nested else (False,):
        for threshold, sizes in near:
            sizes = tuple(size for size in sizes if size > 0)
            block = -1 if threshold.grouped != inner else 0
            found.append(_counted(sizes, block, spread=not threshold.grouped))
    # Rows on which the queries' conditions part ways, as many as are counted.
    if any(part.differs and part.op != "aggregate" for query in plan.queries for part in atoms(query)):
        for threshold in plan.thresholds:
            if 1 < threshold.number < MOST and (threshold.grouped or threshold.op == "offset"):
                made = _counted((threshold.number + 1,), -1 if threshold.grouped else 0, spread=not threshold.grouped)
                found[2:2] = [replace(made, whose=number, boundary=1.0) for number in range(len(plan.queries))]
    return list(dict.fromkeys(found))


def _counted(sizes: tuple[int, ...], block: int, *, spread: bool) -> Recipe:
    return Recipe(satisfied=len(sizes), broken=0, size=12, counted=sizes, block=block, spread=spread, noise=0, meet=0.0)


def _general(index: int, plan: Plan, tables: Mapping[str, TableSchema], rng: random.Random) -> Recipe:
    copies: tuple[int, ...] = rng.choice(((1,), (1, 2), (1, 2, 3), (2, 4)))
    counts = [threshold.number for threshold in plan.thresholds if threshold.grouped and threshold.number <= OFTEN]
    if counts and index % 2:
        wanted = rng.choice(counts)
        others = rng.sample(counts, len(counts))[:2]
        copies = tuple(n for n in (wanted, wanted + 1, wanted - 1, *others) if n > 0) or copies
    satisfied, size = rng.choice((1, 1, 2, 3)), rng.choice((2, 3, 3, 5, 12))
    limits = [threshold.number for threshold in plan.thresholds if not threshold.grouped]
    limits = [limit for limit in limits if 1 < limit <= 40]
    if limits and index % 3 == 0:
        satisfied, size = rng.choice(limits) + rng.choice((0, 1, 2)), max(size, rng.choice((3, 12, 40)))
    return Recipe(
        satisfied=satisfied,
        broken=rng.choice((0, 1, 2, 3)),
        size=size,
        nulls=rng.choice((0.0, 0.0, 0.1, 0.35)),
        copies=copies,
        keep=rng.choice((0.2, 0.5, 0.8, 0.95)),
        noise=rng.choice((0, 0, 1, 3)),
        literals=rng.choice((0.05, 0.3, 0.7)),
        style=rng.randrange(4),
        empty=_one_of(tables, rng) if rng.random() < 0.1 else None,
        boundary=rng.choice((0.0, 0.5, 0.9)),
        meet=rng.choice((0.0, 0.5, 1.0)),
    )


def _dense(rng: random.Random) -> Recipe:
    """A few keys in every combination, for what holds of all rows: division, NOT EXISTS in NOT EXISTS."""
    tight = rng.choice((1, 2, 2, 3))
    return Recipe(
        satisfied=rng.choice((0, 1)),
        broken=0,
        size=rng.choice((2, 3)),
        noise=rng.choice((2, 4, 3 * tight)),
        literals=rng.choice((0.05, 0.3)),
        style=rng.randrange(2),
        tight=tight,
        meet=0.2,
    )


def _tiny(tables: Mapping[str, TableSchema], rng: random.Random) -> Recipe:
    """Next to nothing: one row may decide what ORDER BY, an aggregate or an outer join makes of it."""
    satisfied = rng.choice((0, 1, 1))
    return Recipe(
        satisfied=satisfied,
        broken=rng.choice((0, 1)) if satisfied else 1,
        size=3,
        nulls=rng.choice((0.0, 0.2, 0.6)),
        noise=0,
        style=rng.randrange(4),
        empty=_one_of(tables, rng) if rng.random() < 0.4 else None,
        boundary=rng.choice((0.0, 0.9)),
        only=rng.random() < 0.3,
    )


def _bereft(empty: str, rng: random.Random) -> Recipe:
    """Rows in all tables but one. Each table has its turn, whatever the seed."""
    return Recipe(
        satisfied=rng.choice((1, 2)),
        broken=rng.choice((0, 1)),
        size=rng.choice((2, 4)),
        nulls=rng.choice((0.0, 0.3)),
        noise=rng.choice((1, 2)),
        empty=empty,
    )


def _deciding(turn: int, rng: random.Random) -> Recipe:
    """Ordinary rows, and one on the boundary of a condition whose value wins or loses the aggregate."""
    return Recipe(
        satisfied=rng.choice((1, 2)),
        broken=rng.choice((0, 1)),
        size=rng.choice((3, 5, 12)),
        noise=rng.choice((0, 1)),
        style=rng.randrange(2),
        boundary=1.0 if turn <= 4 else 0.9,
        deciding=turn,
        meet=0.2,
    )


def _race(rng: random.Random) -> Recipe:
    """A few groups of a few rows each that differ in size, in repeated values and in NULLs, and little else."""
    return Recipe(
        satisfied=rng.choice((2, 2, 3)),
        broken=0,
        size=rng.choice((2, 3, 4)),
        nulls=rng.choice((0.0, 0.0, 0.25, 0.5)),
        copies=rng.choice(((1, 2, 3), (2, 3, 4), (1, 3))),
        keep=rng.choice((0.2, 0.5, 0.7)),
        noise=0,
        literals=rng.choice((0.05, 0.3)),
        style=rng.randrange(2),
    )


# Sizes of groups, the first two of which another grouping makes one: then another group wins, or loses.
_DUELS = ((2, 2, 3), (1, 3, 2), (3, 2, 4), (1, 2, 2, 1))


def _duel(plan: Plan, turn: int, rng: random.Random) -> Recipe:
    """Groups of which two are one by another column: merged, they win, or no longer lose."""
    sizes = list(_DUELS)
    for threshold in plan.thresholds:
        if threshold.grouped and 4 < threshold.number <= OFTEN:
            half = threshold.number // 2
            sizes.append((half, threshold.number - half, threshold.number - half + 1))
    return Recipe(
        satisfied=0,
        broken=0,
        size=12,
        counted=sizes[turn % len(sizes)],
        keep=rng.choice((0.2, 0.5)),
        noise=0,
        style=rng.randrange(2),
        duel=turn,
        meet=0.0,
    )


def _one_of(tables: Mapping[str, TableSchema], rng: random.Random) -> str | None:
    return rng.choice(list(tables)) if tables else None
