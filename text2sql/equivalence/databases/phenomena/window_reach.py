"""Windows that look some rows away: ``LAG(x, 11)``, ``ROWS 5 PRECEDING``, ranks and shares of a partition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlglot import exp

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value

# Rows that a window looks away on databases made for it.
MAX_WINDOW_ROWS = 250
_FRAME_BOUNDS = ("start", "end")

# offset: looks N rows away. rank: numbers or counts rows. share: says which share of the rows comes before.
WindowKind = Literal["offset", "rank", "share"]


@dataclass(frozen=True)
class WindowReach:
    """A window that looks some rows away.

    Attributes:
        query: The number of the query.
        kind: What it asks of the rows of its partition, see `WindowKind`.
        offset: How many rows away it looks; 0 where its text does not say.
        order: The columns that it is sorted by, or whose groups are its rows; whether each stands there alone.
        measured: The columns whose values it shows.
    """

    query: int
    kind: WindowKind
    offset: int
    order: tuple[tuple[ColumnKey, bool], ...]
    measured: tuple[ColumnKey, ...]


def window_kind(window: exp.Window) -> WindowKind:
    """What a window asks of the rows of its partition."""
    function = _window_function(window)
    if isinstance(function, (exp.PercentRank, exp.CumeDist)):
        return "share"
    return "rank" if isinstance(function, (exp.RowNumber, exp.Rank, exp.DenseRank, exp.Count)) else "offset"


def window_offset(window: exp.Window, named: exp.Window | None) -> int:
    """How many rows away a window looks, as far as its text says; 0 where it does not.

    Args:
        window: The window.
        named: The window that it names, of ``WINDOW w AS (...)``; None if it names none.
    """
    function = _window_function(window)
    texts = [function.args.get("offset")] if isinstance(function, (exp.Lag, exp.Lead, exp.NthValue)) else []
    texts += [function.this] if isinstance(function, exp.Ntile) else []
    for part in (window, named):
        frame = part.args.get("spec") if part is not None else None
        if frame is not None and str(frame.args.get("kind")).upper() != "RANGE":
            texts += [frame.args.get(side) for side in _FRAME_BOUNDS if isinstance(frame.args.get(side), exp.Expr)]
    numbers = [value for text in texts if isinstance(value := literal_value(text), int)]
    return max((abs(number) for number in numbers), default=0)


def _window_function(window: exp.Window) -> exp.Expr:
    """The function of a window, without its FILTER or IGNORE NULLS."""
    function: exp.Expr = window.this
    if isinstance(function, (exp.Filter, exp.IgnoreNulls)):
        function = function.this
    return function


def named_windows(select: exp.Select) -> dict[str, exp.Window]:
    """The windows that a SELECT names, by lower-case name."""
    return {fold(window.this.name): window for window in select.args.get("windows") or ()}
