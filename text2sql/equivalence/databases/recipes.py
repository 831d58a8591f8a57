"""How the databases for a pair differ from each other."""

from __future__ import annotations

import random
from dataclasses import dataclass

from text2sql.equivalence.databases.plan import Plan
from text2sql.sql.ddl import TableSchema


@dataclass(frozen=True)
class Recipe:
    """How one database is made.

    Attributes:
        satisfied: Scenarios per query on which it finds something.
        broken: Scenarios per query in which one part of its condition fails.
        size: Ordinary values per domain: few for ties and duplicates, many for neither.
        nulls: Share of NULLs where they are allowed.
        copies: How often a scenario is repeated within its group.
        keep: Share of the values that a copy keeps.
        noise: Random rows per table.
        literals: Share of free values drawn from near the literals.
        style: See `values.ordinary`.
        empty: A table to leave without rows.
    """

    satisfied: int = 2
    broken: int = 1
    size: int = 5
    nulls: float = 0.0
    copies: tuple[int, ...] = (1,)
    keep: float = 0.5
    noise: int = 1
    literals: float = 0.3
    style: int = 0
    empty: str | None = None


def recipe(index: int, plan: Plan, tables: dict[str, TableSchema], rng: random.Random) -> Recipe | None:
    """The recipe of the ``index``-th database; None stands for no rows at all."""
    fixed = {
        0: Recipe(satisfied=2, broken=1, size=9, style=0),
        1: Recipe(satisfied=2, broken=3, size=5, noise=2, style=1),
        2: Recipe(satisfied=2, broken=1, size=2, copies=(2, 3), style=0, keep=0.7),
        3: Recipe(satisfied=2, broken=2, size=4, nulls=0.3, copies=(1, 2), style=1),
        4: None,
        5: Recipe(satisfied=1, broken=0, size=3, nulls=0.6, noise=0),
        6: Recipe(satisfied=0, broken=1, size=3, nulls=0.2, noise=0),
    }
    if index in fixed:
        return fixed[index]
    if index % 6 == 5:
        return _tiny(tables, rng)
    if plan.grouped and index % 3 == 1:
        return _race(rng)
    copies: tuple[int, ...] = rng.choice(((1,), (1, 2), (1, 2, 3), (2, 4)))
    counts = [count for count in plan.counts if count <= _most_copies(index)]
    if counts and (index % 2 or (max(counts) > _OFTEN and index % 4 == 0)):
        wanted = rng.choice(counts)
        if wanted > _SOMETIMES:
            return Recipe(satisfied=1, broken=0, size=12, copies=(wanted, wanted + 1), keep=0.5, noise=0)
        copies = tuple(n for n in (wanted, wanted + 1, wanted - 1, *rng.sample(counts, len(counts))[:2]) if n > 0)
    satisfied, size = rng.choice((1, 1, 2, 3)), rng.choice((2, 3, 3, 5, 12))
    limits = [limit for limit in plan.limits if 1 < limit <= 40]
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
    )


# Many rows per group cost time: they are made the more rarely, the more there are.
_OFTEN, _SOMETIMES, _SELDOM = 60, 400, 2500


def _most_copies(index: int) -> int:
    return _SELDOM if index % 12 == 0 else _SOMETIMES if index % 4 == 0 else _OFTEN


def _tiny(tables: dict[str, TableSchema], rng: random.Random) -> Recipe:
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


def _one_of(tables: dict[str, TableSchema], rng: random.Random) -> str | None:
    return rng.choice(list(tables)) if tables else None
