"""Relations, which are the results of queries: rows that may be absent, how they are sorted and cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sqlglot import exp

from text2sql.equivalence.proof.database import SymbolicRow
from text2sql.equivalence.proof.symbols import NotModelled, SymbolicValue, all_equal, and_, not_, or_

# Rows of an intermediate result; beyond it a proof would take too long.
MAX_ROWS = 32
# Rows of which each is compared with each.
MAX_COMPARED_ROWS = 10


@dataclass(frozen=True)
class Ordering:
    """How a result is sorted and cut.

    Attributes:
        directions: For each key, whether it descends and whether NULLs come first.
        limit: Rows that LIMIT keeps, None for all.
        offset: Rows that OFFSET skips.
    """

    directions: tuple[tuple[bool, bool], ...] = ()
    limit: int | None = None
    offset: int = 0


@dataclass
class Relation:
    """The result of a query.

    Attributes:
        names: The columns' names, in lower case.
        rows: The rows.
        keys: For each row the values that it is sorted by.
        ordering: How it is sorted by them, and cut.
    """

    names: list[str]
    rows: list[SymbolicRow]
    keys: list[tuple[SymbolicValue, ...]] = field(default_factory=list)
    ordering: Ordering = Ordering()


# Arguments of sqlglot's nodes that say nothing of their meaning.
_MEANINGLESS_ARGS = {"big_int", "typed", "safe", "comments", "kind", "operation_modifiers", "is_null", "is_nvl"}


def require_only(node: exp.Expr, *keys: str) -> None:
    """Raises NotModelled for a node that has more than is read of it, such as ESCAPE behind LIKE."""
    unread = {key for key, value in node.args.items() if value} - _MEANINGLESS_ARGS - set(keys)
    if unread:
        raise NotModelled(f"{type(node).__name__} with {', '.join(sorted(unread))}")


def check_size(rows: int) -> None:
    """Raises NotModelled for so many rows that comparing each with each takes too long."""
    if rows > MAX_COMPARED_ROWS:
        raise NotModelled("so many rows to compare")


def distinct(rows: Sequence[SymbolicRow]) -> list[SymbolicRow]:
    """The rows without repetitions: the first of equal ones in an order that joins do not change."""
    check_size(len(rows))
    rows = sorted(rows, key=lambda row: sorted(row.origin))
    unique = []
    for index, row in enumerate(rows):
        before = or_(*(and_(b.present, all_equal(row.cells, b.cells)) for b in rows[:index]))
        unique.append(replace(row, present=and_(row.present, not_(before))))
    return unique
