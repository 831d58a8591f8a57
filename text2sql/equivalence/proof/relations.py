"""Results: rows that may be there, how they are sorted and cut, and what is done with all rows of one at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from text2sql.equivalence.proof.database import Row
from text2sql.equivalence.proof.symbols import NotModelled, Symbol, all_same, both, either, no

# Rows of an intermediate result; beyond it a proof would take too long.
MOST_ROWS = 32
# Rows of which each is compared with each.
MOST_COMPARED = 10


@dataclass(frozen=True)
class Sorted:
    """How a result is sorted and cut: the directions of its keys, LIMIT, OFFSET."""

    directions: tuple[tuple[bool, bool], ...] = ()
    limit: int | None = None
    offset: int = 0


@dataclass
class Relation:
    """A result.

    Attributes:
        names: Of its columns, in lower case.
        rows: Its rows.
        keys: For each row the values that it is sorted by.
        sorted: How.
    """

    names: list[str]
    rows: list[Row]
    keys: list[tuple[Symbol, ...]] = field(default_factory=list)
    sorted: Sorted = Sorted()


# What is known of each kind of node; some of sqlglot's own notes mean nothing.
_NOTES = {"big_int", "typed", "safe", "comments", "kind", "operation_modifiers", "is_null", "is_nvl"}


def only(node: exp.Expr, *keys: str) -> None:
    """Raises NotModelled for a node that has more than is read of it, such as ESCAPE behind LIKE."""
    more = {key for key, value in node.args.items() if value} - _NOTES - set(keys)
    if more:
        raise NotModelled(f"{type(node).__name__} with {', '.join(sorted(more))}")


def check_size(rows: int) -> None:
    """Raises NotModelled for so many rows that comparing each with each takes too long."""
    if rows > MOST_COMPARED:
        raise NotModelled("so many rows to compare")


def distinct(rows: Sequence[Row]) -> list[Row]:
    """The rows without repetitions: the first of equal ones in an order that joins do not change."""
    check_size(len(rows))
    rows = sorted(rows, key=lambda row: sorted(row.origin))
    found = []
    for place, row in enumerate(rows):
        before = either(*(both(b.present, all_same(row.cells, b.cells)) for b in rows[:place]))
        found.append(replace(row, present=both(row.present, no(before))))
    return found
