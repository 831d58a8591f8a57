"""How the databases for a pair differ from each other.

Every database has a recipe. The first ones are fixed. Then come the databases of samples, chains and divisions, each
made for one purpose; the others take turns between what the queries' numbers, groups and tables suggest, and chance.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from text2sql.equivalence.databases.phenomena.count_thresholds import MAX_COUNTED_ROWS, CountThreshold
from text2sql.equivalence.databases.plan import Plan, atoms
from text2sql.equivalence.databases.samples import Sample
from text2sql.sql.schema import TableSchema


@dataclass(frozen=True)
class Recipe:
    """How one database is made. Shares are between 0 and 1.

    Attributes:
        satisfied: Scenarios per query on which the query finds something.
        failing: Scenarios per query in which one part of its condition fails.
        pool_size: Ordinary values per domain: few for ties and duplicates, many for neither.
        null_share: Share of NULLs where they are allowed.
        copies: How often a scenario may be repeated within its group, one number of which is drawn.
        exact_copies: How often each of the scenarios is repeated, exactly; empty to draw from ``copies``.
        repeated_select: Which SELECT of the query, counted from the outermost, has its rows repeated; -1 for the
            innermost.
        group_per_copy: Whether each copy lies in another group, where a result has one row a group.
        keep_share: Share of the values that a copy keeps.
        random_rows: Random rows per table.
        literal_share: Share of free values drawn from near the literals.
        style: See `column_values.ordinary_values`.
        empty_table: A table to leave without rows.
        boundary_share: Share of the conditions that one query lacks which hold, or fail, by the least possible.
        extreme_turn: Which turn it is, from 1, that a row on which one condition decides has the smallest or the
            largest value of all; 0 for no such row.
        competition_turn: Which turn it is, from 1, that groups compete, two of which are one in another grouping; 0
            for none.
        small_groups_first: Whether the smallest groups have the largest sums.
        distinct_values: Whether columns that no condition speaks of differ in every row.
        max_key_values: How many values a key has at most, so that every combination of keys comes up; 0 for no limit.
        single_query: Whether only one query has scenarios.
        query: The number of that query; also where rows are counted (``exact_copies``).
        merge_share: Share of the rows that two SELECTs of a query could both see which they do see.
        collision_share: Share of the collisions (see `differences.collisions`) of which two values meet.
        from_samples: Whether the rows are those of samples.
    """

    satisfied: int = 2
    failing: int = 1
    pool_size: int = 5
    null_share: float = 0.0
    copies: tuple[int, ...] = (1,)
    exact_copies: tuple[int, ...] = ()
    repeated_select: int = 0
    group_per_copy: bool = False
    keep_share: float = 0.5
    random_rows: int = 1
    literal_share: float = 0.3
    style: int = 0
    empty_table: str | None = None
    boundary_share: float = 0.0
    extreme_turn: int = 0
    competition_turn: int = 0
    small_groups_first: bool = False
    distinct_values: bool = False
    max_key_values: int = 0
    single_query: bool = False
    query: int = 0
    merge_share: float = 0.4
    collision_share: float = 0.5
    from_samples: bool = False


_FIXED = {
    0: Recipe(satisfied=2, failing=1, pool_size=9, style=0, collision_share=0.0),
    1: Recipe(satisfied=2, failing=3, pool_size=5, random_rows=2, style=1, boundary_share=1.0),
    2: Recipe(satisfied=2, failing=1, pool_size=2, copies=(2, 3), style=0, keep_share=0.7, collision_share=1.0),
    3: Recipe(satisfied=2, failing=2, pool_size=4, null_share=0.3, copies=(1, 2), style=1),
    5: Recipe(satisfied=1, failing=0, pool_size=3, null_share=0.6, random_rows=0),
    6: Recipe(satisfied=0, failing=1, pool_size=3, null_share=0.2, random_rows=0),
    # One row of each table that every SELECT sees and the gold query does not find.
    9: Recipe(satisfied=0, failing=1, pool_size=3, random_rows=0, single_query=True, merge_share=1.0),
    # All that may be NULL is NULL, and there is nothing but what the gold query finds.
    11: Recipe(satisfied=1, failing=0, pool_size=3, null_share=1.0, random_rows=0, single_query=True),
}
# The index of the database without any rows.
_EMPTY = 4
# The index of the first database that is made for one purpose; the others of that kind follow it.
FIRST_TARGETED = 7
# Groups of more rows than this are made only where a threshold asks for it.
MAX_USUAL_COPIES = 60
# How many different recipes take turns behind the fixed ones.
_TURNS = 6
# Results of more rows than this are made only where they are counted.
_MAX_USUAL_LIMIT = 40
# A database with a chain of rows, and with what points at it.
CHAINED = Recipe(satisfied=4, failing=0, pool_size=12, random_rows=0, collision_share=0.0, distinct_values=True)
# A database of a relational division, and of nothing else.
DIVIDED = Recipe(satisfied=0, failing=0, pool_size=12, random_rows=0, collision_share=0.0, distinct_values=True)


def sample_recipe(samples: Sequence[Sample]) -> Recipe:
    """The recipe of a database of some samples, and of nothing else."""
    return Recipe(
        satisfied=0,
        failing=0,
        pool_size=12,
        keep_share=float(all(sample.copies_agree for sample in samples)),
        random_rows=0,
        collision_share=0.0,
        distinct_values=True,
        from_samples=True,
    )


def choose_recipe(index: int, plan: Plan, tables: Mapping[str, TableSchema], rng: random.Random) -> Recipe | None:
    """The recipe of the ``index``-th database; None stands for no rows at all."""
    if index == _EMPTY:
        return None
    if index in _FIXED:
        return _FIXED[index]
    # Which of the kinds of recipes has its turn, and which turn this is.
    turn, kind = divmod(index, _TURNS)
    if kind == 5:
        return _tiny(tables, rng)
    if kind == 3 and len(tables) > 1 and 2 <= turn < 2 + len(tables):
        return _without_table(list(tables)[turn - 2], rng)
    if kind in (1, 4):
        counted = _counted_in_turn(2 * (turn - 1) + (kind == 4), kind, plan, rng)
        if counted is not None:
            return counted
        if kind == 4 and plan.has_subqueries:
            return _dense(rng)
    if kind == 2 and plan.groups.extreme_columns:
        return _extreme(turn, rng)
    if plan.groups.compete and kind in (0, 1, 3):
        if kind == 0:
            return _merging_groups(plan, turn, rng)
        return replace(_competing_groups(rng), small_groups_first=bool(plan.groups.summed_columns) and turn % 3 == 1)
    return _general(index, plan, tables, rng)


def _counted_in_turn(number: int, kind: int, plan: Plan, rng: random.Random) -> Recipe | None:
    """A database in which rows are counted; None where it is not its turn.

    Each is due once for every seed: what they decide must not hang on luck. High numbers come up in them alone.
    """
    counted = counted_recipes(plan)
    high = any(
        (1 if threshold.grouped else MAX_USUAL_COPIES) < threshold.number <= MAX_COUNTED_ROWS
        for threshold in plan.count_thresholds
    )
    if number >= len(counted) and not (counted and high and kind == 1):
        return None
    again = number >= len(counted)
    return replace(
        counted[number % len(counted)],
        keep_share=rng.choice((0.0, 0.5)),
        # A group may be that of NULL.
        null_share=rng.choice((0.0, 0.3, 0.6)) if again else 0.0,
        distinct_values=rng.random() < 0.4 if again else plan.groups.counts_distinct,
    )


def counted_recipes(plan: Plan) -> list[Recipe]:
    """The databases that thresholds ask for: as many rows as they count, one more, one less."""
    wanted = [
        (threshold, sizes)
        for threshold in plan.count_thresholds
        if 1 <= threshold.number <= MAX_COUNTED_ROWS
        for sizes in _sizes_around(threshold)
    ]
    recipes: list[Recipe] = []
    # Whether an outer or an inner SELECT is counted is not known: each has its turn, the likelier one first.
    for inner in (False, True) if plan.has_subqueries else (False,):
        for threshold, sizes in wanted:
            select = -1 if threshold.grouped != inner else 0
            sizes = tuple(size for size in sizes if size > 0)
            recipes.append(_counted(sizes, select, group_per_copy=not threshold.grouped))
    # As many rows as are counted on which the queries' conditions differ.
    if any(node.differs and not node.over_groups for query in plan.queries for node in atoms(query)):
        for threshold in plan.count_thresholds:
            if 1 < threshold.number < MAX_COUNTED_ROWS and (threshold.grouped or threshold.op == "offset"):
                select = -1 if threshold.grouped else 0
                counted = _counted((threshold.number + 1,), select, group_per_copy=not threshold.grouped)
                by_query = [replace(counted, query=number, boundary_share=1.0) for number in range(len(plan.queries))]
                recipes[2:2] = by_query
    return list(dict.fromkeys(recipes))


def _sizes_around(threshold: CountThreshold) -> list[tuple[int, ...]]:
    """The sizes of the groups, or results, of each database for a threshold."""
    number = threshold.number
    if not threshold.grouped:
        return [(number + 2,), (number,)] if number > 1 else []
    sizes: list[tuple[int, ...]] = [(number - 1, number, number + 1), (number,), (number + 1,)]
    return [*sizes, (number - 1,)] if number > 1 else sizes


def _counted(sizes: tuple[int, ...], select: int, *, group_per_copy: bool) -> Recipe:
    return Recipe(
        satisfied=len(sizes),
        failing=0,
        pool_size=12,
        exact_copies=sizes,
        repeated_select=select,
        group_per_copy=group_per_copy,
        random_rows=0,
        collision_share=0.0,
    )


def _general(index: int, plan: Plan, tables: Mapping[str, TableSchema], rng: random.Random) -> Recipe:
    """A database of everything by chance."""
    copies: tuple[int, ...] = rng.choice(((1,), (1, 2), (1, 2, 3), (2, 4)))
    counts = [
        threshold.number
        for threshold in plan.count_thresholds
        if threshold.grouped and threshold.number <= MAX_USUAL_COPIES
    ]
    if counts and index % 2:
        wanted = rng.choice(counts)
        others = rng.sample(counts, len(counts))[:2]
        copies = tuple(n for n in (wanted, wanted + 1, wanted - 1, *others) if n > 0) or copies
    satisfied, pool_size = rng.choice((1, 1, 2, 3)), rng.choice((2, 3, 3, 5, 12))
    limits = [threshold.number for threshold in plan.count_thresholds if not threshold.grouped]
    limits = [limit for limit in limits if 1 < limit <= _MAX_USUAL_LIMIT]
    if limits and index % 3 == 0:
        satisfied, pool_size = rng.choice(limits) + rng.choice((0, 1, 2)), max(pool_size, rng.choice((3, 12, 40)))
    return Recipe(
        satisfied=satisfied,
        failing=rng.choice((0, 1, 2, 3)),
        pool_size=pool_size,
        null_share=rng.choice((0.0, 0.0, 0.1, 0.35)),
        copies=copies,
        keep_share=rng.choice((0.2, 0.5, 0.8, 0.95)),
        random_rows=rng.choice((0, 0, 1, 3)),
        literal_share=rng.choice((0.05, 0.3, 0.7)),
        style=rng.randrange(4),
        empty_table=_one_of(tables, rng) if rng.random() < 0.1 else None,
        boundary_share=rng.choice((0.0, 0.5, 0.9)),
        collision_share=rng.choice((0.0, 0.5, 1.0)),
    )


def _dense(rng: random.Random) -> Recipe:
    """A few keys in every combination, for what holds of all rows: division, NOT EXISTS in NOT EXISTS."""
    max_key_values = rng.choice((1, 2, 2, 3))
    return Recipe(
        satisfied=rng.choice((0, 1)),
        failing=0,
        pool_size=rng.choice((2, 3)),
        random_rows=rng.choice((2, 4, 3 * max_key_values)),
        literal_share=rng.choice((0.05, 0.3)),
        style=rng.randrange(2),
        max_key_values=max_key_values,
        collision_share=0.2,
    )


def _tiny(tables: Mapping[str, TableSchema], rng: random.Random) -> Recipe:
    """Next to no rows: one row may decide what ORDER BY, an aggregate or an outer join returns."""
    satisfied = rng.choice((0, 1, 1))
    return Recipe(
        satisfied=satisfied,
        failing=rng.choice((0, 1)) if satisfied else 1,
        pool_size=3,
        null_share=rng.choice((0.0, 0.2, 0.6)),
        random_rows=0,
        style=rng.randrange(4),
        empty_table=_one_of(tables, rng) if rng.random() < 0.4 else None,
        boundary_share=rng.choice((0.0, 0.9)),
        single_query=rng.random() < 0.3,
    )


def _without_table(empty_table: str, rng: random.Random) -> Recipe:
    """Rows in all tables but one. Each table has its turn, whatever the seed."""
    return Recipe(
        satisfied=rng.choice((1, 2)),
        failing=rng.choice((0, 1)),
        pool_size=rng.choice((2, 4)),
        null_share=rng.choice((0.0, 0.3)),
        random_rows=rng.choice((1, 2)),
        empty_table=empty_table,
    )


def _extreme(turn: int, rng: random.Random) -> Recipe:
    """Ordinary rows, and one on the boundary of a condition whose value is the smallest or the largest of all."""
    return Recipe(
        satisfied=rng.choice((1, 2)),
        failing=rng.choice((0, 1)),
        pool_size=rng.choice((3, 5, 12)),
        random_rows=rng.choice((0, 1)),
        style=rng.randrange(2),
        boundary_share=1.0 if turn <= 4 else 0.9,
        extreme_turn=turn,
        collision_share=0.2,
    )


def _competing_groups(rng: random.Random) -> Recipe:
    """A few groups of a few rows each that differ in size, in repeated values and in NULLs, and little else."""
    return Recipe(
        satisfied=rng.choice((2, 2, 3)),
        failing=0,
        pool_size=rng.choice((2, 3, 4)),
        null_share=rng.choice((0.0, 0.0, 0.25, 0.5)),
        copies=rng.choice(((1, 2, 3), (2, 3, 4), (1, 3))),
        keep_share=rng.choice((0.2, 0.5, 0.7)),
        random_rows=0,
        literal_share=rng.choice((0.05, 0.3)),
        style=rng.randrange(2),
    )


# Sizes of groups, the first two of which another grouping merges: then another group wins, or loses.
_MERGING_SIZES = ((2, 2, 3), (1, 3, 2), (3, 2, 4), (1, 2, 2, 1))


def _merging_groups(plan: Plan, turn: int, rng: random.Random) -> Recipe:
    """Groups of which two are one by another column: merged, they win, or no longer lose."""
    sizes = list(_MERGING_SIZES)
    for threshold in plan.count_thresholds:
        if threshold.grouped and 4 < threshold.number <= MAX_USUAL_COPIES:
            half = threshold.number // 2
            sizes.append((half, threshold.number - half, threshold.number - half + 1))
    return Recipe(
        satisfied=0,
        failing=0,
        pool_size=12,
        exact_copies=sizes[turn % len(sizes)],
        keep_share=rng.choice((0.2, 0.5)),
        random_rows=0,
        style=rng.randrange(2),
        competition_turn=turn,
        collision_share=0.0,
    )


def _one_of(tables: Mapping[str, TableSchema], rng: random.Random) -> str | None:
    return rng.choice(list(tables)) if tables else None
