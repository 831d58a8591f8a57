"""Values on which functions part ways: what a column must hold for TRIM, ROUND, CAST or dates to matter."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from functools import lru_cache

from sqlglot import exp

from text2sql.equivalence.databases.values.column_values import derived, neighbours
from text2sql.sql.sandbox import QueryFailed, SqliteSandbox
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value, to_sqlite
from text2sql.sql.values import Value

_NUMBERS = (2.34567, 0.125, 3.9996, -1.5, -2)
_TEXTS: dict[type[exp.Expr], tuple[Value, ...]] = {
    exp.Trim: (" a", "a ", " a b "),
    exp.Upper: ("aB",),
    exp.Lower: ("aB",),
    exp.Length: ("", "a b"),
    exp.Replace: ("US$ 57,500.00", "1,234.5"),
    exp.Substring: ("US$ 57,500.00", "2019-07-09", "ab"),
    exp.Cast: ("12abc", "3.7", "-2", "US$ 5"),
}
_NUMERIC = (exp.Round, exp.Abs, exp.Cast, exp.Ceil, exp.Floor, exp.Div)
_MODIFIER = re.compile(r"\A\s*([+-]?\d{1,6})\s+(day|month|year)s?\s*\Z", re.IGNORECASE)
# Months of all lengths, and where they begin.
_MONTH_ENDS = ("2023-01-31", "2023-02-28", "2024-02-29", "2023-04-30", "2023-02-01", "2023-12-31")
# Characters up to which ordinary texts are long enough, and beyond which none is made.
_ORDINARY_LENGTH, _LONGEST = 3, 300
_MOST_BITS = 60
_NOW = (exp.CurrentDate, exp.CurrentTimestamp, exp.CurrentDatetime)


def column_hints(tree: exp.Expr) -> dict[str, list[Value]]:
    """For the columns inside functions and arithmetic, by lower-case name, values that make them matter."""
    found: dict[str, list[Value]] = {}
    for node in tree.find_all(exp.Func, exp.Binary):
        if isinstance(node, (exp.And, exp.Or, exp.Predicate, exp.AggFunc, exp.Case, exp.If, exp.Dot)):
            continue
        columns = list(node.find_all(exp.Column))
        if not columns or len(columns) > 3 or node.find(exp.Select):
            continue
        values = list(_values(node))
        for column in columns:
            found.setdefault(fold(column.name), []).extend(values)
    for select in tree.find_all(exp.Select):
        # What a query shows, sorts or groups by may depend on a comparison, too.
        for part in (*select.expressions, select.args.get("order"), select.args.get("group")):
            for name, values in _compared(part) if part is not None else ():
                found.setdefault(name, []).extend(values)
    return found


def _compared(part: exp.Expr) -> Iterator[tuple[str, list[Value]]]:
    """The literals that columns are compared with, in CASE or alone, and their nearest neighbours."""
    for case in part.find_all(exp.Case):
        if isinstance(case.this, exp.Column):
            literals = [literal_value(branch.this) for branch in case.args["ifs"]]
            yield fold(case.this.name), [value for value in literals if value is not None]
    for node in part.find_all(exp.Predicate):
        if not isinstance(node, exp.Binary):
            continue
        for side, other in ((node.this, node.expression), (node.expression, node.this)):
            value = literal_value(other)
            if isinstance(side, exp.Column) and value is not None:
                yield fold(side.name), list(neighbours(value, "text" if isinstance(value, str) else "integer")[:4])


def _values(node: exp.Expr) -> Iterator[Value]:
    for kind, texts in _TEXTS.items():
        if isinstance(node, kind):
            yield from texts
    if isinstance(node, _NUMERIC):
        yield from _NUMBERS
    if isinstance(node, (exp.Substring, exp.Left, exp.Right)):
        yield from _long_enough(node)
    if isinstance(node, (exp.BitwiseRightShift, exp.BitwiseLeftShift)):
        places = literal_value(node.expression)
        yield from (3 << places, (1 << places) - 1) if isinstance(places, int) and 0 < places < _MOST_BITS else ()
    for literal in list(node.find_all(exp.Literal))[:4]:
        value = literal_value(literal)
        if value is not None and not (isinstance(value, str) and value.startswith("%")):
            yield value
            yield from derived(value, "text" if isinstance(value, str) else "integer")[:6]


def _long_enough(node: exp.Expr) -> Iterator[str]:
    """A text that goes on behind what a function takes of it, each of whose letters differs from the next."""
    parts = [node.args.get("start"), node.args.get("length"), node.args.get("expression")]
    numbers = [number for part in parts if part is not None and isinstance(number := literal_value(part), int)]
    if _ORDINARY_LENGTH < sum(map(abs, numbers)) <= _LONGEST:
        yield "".join(chr(ord("a") + place % 26) for place in range(sum(map(abs, numbers)) + 2))


def dates_apart(node: exp.Expr) -> list[Value]:
    """Dates as far from those of an expression, or from today, as its numbers and modifiers say, in days and years."""
    literals = [literal_value(literal) for literal in node.find_all(exp.Literal)]
    texts = [value for value in literals if isinstance(value, str)]
    days = [day for text in texts if (day := _day(text))]
    if node.find(*_NOW) or "now" in texts:
        days.append(datetime.date.today())
    numbers = [int(value) for value in literals if isinstance(value, (int, float)) and 0 < value < 50_000]
    modifiers = [match for text in texts if (match := _MODIFIER.match(text))]
    found: list[str | None] = []
    if modifiers or any("start of" in text for text in texts):
        found += _MONTH_ENDS
    for day in days[:2]:
        for number in numbers[:3]:
            found += _numbered(day, number)
        for modifier in modifiers[:3]:
            found += _modified(day, int(modifier.group(1)), modifier.group(2).lower())
    return [value for value in found if value is not None and len(value) == 10]


def _numbered(day: datetime.date, number: int) -> list[str | None]:
    """Dates a number of days, or of years, before and after one."""
    found: list[str | None] = []
    for count in (number, number + 1, number - 1, -number, -number - 1, 1 - number):
        found += [_shifted(day, count), f"{day.year + count:04d}-{day.month:02d}-15"] if count else []
    for year in (day.year - number, day.year + number):
        # An anniversary, the day before and after, and the ends of its year.
        found += [*_around(_valid(year, day.month, day.day)), f"{year:04d}-01-01", f"{year:04d}-12-31"]
    return found


def _modified(day: datetime.date, count: int, unit: str) -> list[str | None]:
    """The dates that a modifier such as ``+3 months`` leads to and from, and the days around them."""
    found: list[str | None] = []
    for step in (count, -count):
        if unit == "day":
            moved = _day(_shifted(day, step) or "")
        else:
            moved = months_later(day, step * (12 if unit == "year" else 1))
        found += _around(moved)
    return found


def _around(day: datetime.date | None) -> list[str | None]:
    return [day.isoformat(), _shifted(day, 1), _shifted(day, -1)] if day else []


def months_later(day: datetime.date, count: int) -> datetime.date | None:
    """The date some months after another, in shorter months on the 28th at most; None where there is none."""
    years, month = divmod(day.month - 1 + count, 12)
    return _valid(day.year + years, month + 1, min(day.day, 28))


def _valid(year: int, month: int, day: int) -> datetime.date | None:
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None


def shifted(text: str, count: int) -> str | None:
    """The date some days after another; None where there is none."""
    day = _day(text)
    return _shifted(day, count) if day else None


def years_later(text: str, count: int) -> str | None:
    """The date some years after another; None where there is none."""
    day = _day(text)
    later = _valid(day.year + count, day.month, day.day) if day else None
    return later.isoformat() if later else None


def _day(text: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(text[:10])
    except ValueError:
        return None


def _shifted(day: datetime.date, count: int) -> str | None:
    try:
        return (day + datetime.timedelta(count)).isoformat()
    except OverflowError:
        return None


def constant(node: exp.Expr) -> Value:
    """The value of an expression without columns; None for anything else, and for what depends on chance."""
    value = literal_value(node)
    if value is not None or node.find(exp.Column, exp.Select, exp.SetOperation, exp.Star, exp.Rand, *_NOW):
        return value
    return _evaluated(to_sqlite(node)) if node.find(exp.Func) else None


@lru_cache(maxsize=256)
def _evaluated(sql: str) -> Value:
    box = SqliteSandbox.in_memory([])
    try:
        rows = box.run(f"SELECT {sql}", 10_000, 0.05).rows
    except QueryFailed:
        return None
    finally:
        box.close()
    return rows[0][0] if len(rows) == 1 and len(rows[0]) == 1 else None
