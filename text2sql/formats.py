"""Numbers, percentages, p-values, durations, sizes, money and dates as they are shown, the same everywhere."""

from __future__ import annotations

import math
from typing import TypeGuard

MISSING = "–"


def percent(rate: float | None, decimals: int = 1) -> str:
    """A rate between 0 and 1 as a percentage."""
    return MISSING if not _known(rate) else f"{100 * rate:.{decimals}f}%"


def points(difference: float | None) -> str:
    """A difference of two rates in percentage points, always signed, with a true minus sign."""
    if not _known(difference):
        return MISSING
    return f"{100 * difference:+.1f}".replace("-", "−").replace("+0.0", "0.0").replace("−0.0", "0.0")


def interval(low: float, high: float) -> str:
    """The ends of an interval of a rate."""
    return f"{percent(low)} to {percent(high)}"


def count(value: float | None) -> str:
    """A number with thousands separated; a float with at most four significant digits."""
    if not _known(value):
        return MISSING
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if not _known(seconds):
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def size(amount: float | None) -> str:
    """Bytes in binary units."""
    if not _known(amount):
        return MISSING
    exponent = min(int(math.log(amount, 1024)), 4) if amount >= 1 else 0
    unit = ("B", "KiB", "MiB", "GiB", "TiB")[exponent]
    return f"{amount / 1024**exponent:.{1 if exponent else 0}f} {unit}"


def dollars(amount: float | None) -> str:
    """An amount with cents, or more digits where it is less than a dollar."""
    return MISSING if not _known(amount) else f"${amount:,.2f}" if amount >= 1 else f"${amount:.4f}"


def p_value(value: float) -> str:
    """``p = 0.0123`` or ``p < 0.001``."""
    number = bare_p_value(value)
    return f"p {number}" if number.startswith("<") else f"p = {number}"


def bare_p_value(value: float) -> str:
    """``0.0123`` or ``< 0.001``, for a column that is headed p."""
    return "< 0.001" if value < 0.001 else f"{value:.3g}"


def unbroken(text: str) -> str:
    """The text with spaces at which a page may not break the line."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def timestamp(text: str) -> str:
    """An ISO time without the ``T`` and what is smaller than a minute."""
    return text[:16].replace("T", " ") if len(text) >= 16 and text[10] == "T" else text


def clip(text: str, limit: int) -> str:
    """Text of at most ``limit`` characters; what was left out is counted, never silent."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]} … ({len(text) - limit:,} more characters)"


def pluralize(amount: int, noun: str) -> str:
    """``1 question``, ``200 questions``."""
    return f"{count(amount)} {noun}" + ("" if amount == 1 else "s")


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
