"""Values on which functions differ: what a column must hold for TRIM, ROUND, CAST or dates to matter."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from functools import lru_cache

from sqlglot import exp

from text2sql.equivalence.databases.values.column_values import argument_values, neighbours
from text2sql.equivalence.databases.values.dates import days_later, months_later, parse_date, valid_date
from text2sql.sql.sandbox import QueryFailed, SqliteSandbox
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value, to_sqlite
from text2sql.sql.values import Value

_NUMBERS = (2.34567, 0.125, 3.9996, -1.5, -2)
# Texts on which the functions of a text differ.
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
# Ordinary texts have at least as many characters.
_ORDINARY_LENGTH = 3
# Characters of the longest text that is made.
_MAX_LENGTH = 300
# Bits by which a shift moves a number that still fits into 64 bits.
_MAX_SHIFT = 60
# Dates of one expression, numbers and modifiers that lead from each to others, and the largest such number.
_MAX_DATES = 2
_MAX_STEPS_OF_DATE = 3
_MAX_COUNT = 50_000
# SQLite's instructions to compute a constant expression, and seconds.
_MAX_STEPS = 10_000
_MAX_SECONDS = 0.05
_NOW = (exp.CurrentDate, exp.CurrentTimestamp, exp.CurrentDatetime)


def read_function_hints(tree: exp.Expr) -> dict[str, list[Value]]:
    """For the columns inside functions and arithmetic, by lower-case name, values that make them matter."""
    hints: dict[str, list[Value]] = {}
    for node in tree.find_all(exp.Func, exp.Binary):
        if isinstance(node, (exp.And, exp.Or, exp.Predicate, exp.AggFunc, exp.Case, exp.If, exp.Dot)):
            continue
        columns = list(node.find_all(exp.Column))
        if not columns or len(columns) > 3 or node.find(exp.Select):
            continue
        values = list(_hints_for(node))
        for column in columns:
            hints.setdefault(fold(column.name), []).extend(values)
    for select in tree.find_all(exp.Select):
        # What a query shows, sorts or groups by may depend on a comparison, too.
        for part in (*select.expressions, select.args.get("order"), select.args.get("group")):
            for name, values in _compared_literals(part) if part is not None else ():
                hints.setdefault(name, []).extend(values)
    return hints


def _compared_literals(part: exp.Expr) -> Iterator[tuple[str, list[Value]]]:
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


def _hints_for(node: exp.Expr) -> Iterator[Value]:
    """Values on which one function or operator makes a difference, and values near its literals."""
    for kind, texts in _TEXTS.items():
        if isinstance(node, kind):
            yield from texts
    if isinstance(node, _NUMERIC):
        yield from _NUMBERS
    if isinstance(node, (exp.Substring, exp.Left, exp.Right)):
        yield from _longer_text(node)
    if isinstance(node, (exp.BitwiseRightShift, exp.BitwiseLeftShift)):
        shift = literal_value(node.expression)
        yield from (3 << shift, (1 << shift) - 1) if isinstance(shift, int) and 0 < shift < _MAX_SHIFT else ()
    for literal in list(node.find_all(exp.Literal))[:4]:
        value = literal_value(literal)
        if value is not None and not (isinstance(value, str) and value.startswith("%")):
            yield value
            yield from argument_values(value, "text" if isinstance(value, str) else "integer")[:6]


def _longer_text(node: exp.Expr) -> Iterator[str]:
    """A text longer than what a function takes of it, each letter different from the next."""
    parts = [node.args.get("start"), node.args.get("length"), node.args.get("expression")]
    numbers = [number for part in parts if part is not None and isinstance(number := literal_value(part), int)]
    if _ORDINARY_LENGTH < sum(map(abs, numbers)) <= _MAX_LENGTH:
        yield "".join(chr(ord("a") + index % 26) for index in range(sum(map(abs, numbers)) + 2))


def dates_from_expression(node: exp.Expr) -> list[Value]:
    """Dates as far from those of an expression, or from today, as its numbers and modifiers say, in days and years."""
    literals = [literal_value(literal) for literal in node.find_all(exp.Literal)]
    texts = [value for value in literals if isinstance(value, str)]
    days = [day for text in texts if (day := parse_date(text))]
    if node.find(*_NOW) or "now" in texts:
        days.append(datetime.date.today())
    numbers = [int(value) for value in literals if isinstance(value, (int, float)) and 0 < value < _MAX_COUNT]
    modifiers = [match for text in texts if (match := _MODIFIER.match(text))]
    dates: list[str | None] = []
    if modifiers or any("start of" in text for text in texts):
        dates += _MONTH_ENDS
    for day in days[:_MAX_DATES]:
        for number in numbers[:_MAX_STEPS_OF_DATE]:
            dates += _dates_by_number(day, number)
        for modifier in modifiers[:_MAX_STEPS_OF_DATE]:
            dates += _dates_by_modifier(day, int(modifier.group(1)), modifier.group(2).lower())
    return [value for value in dates if value is not None and len(value) == 10]


def _dates_by_number(day: datetime.date, number: int) -> list[str | None]:
    """Dates a number of days, or of years, before and after a day."""
    dates: list[str | None] = []
    for count in (number, number + 1, number - 1, -number, -number - 1, 1 - number):
        dates += [_iso(days_later(day, count)), f"{day.year + count:04d}-{day.month:02d}-15"] if count else []
    for year in (day.year - number, day.year + number):
        # An anniversary, the day before and after, and the ends of its year.
        dates += [*_with_neighbours(valid_date(year, day.month, day.day)), f"{year:04d}-01-01", f"{year:04d}-12-31"]
    return dates


def _dates_by_modifier(day: datetime.date, count: int, unit: str) -> list[str | None]:
    """The dates that a modifier such as ``+3 months`` leads to and from, and the days around them."""
    dates: list[str | None] = []
    for step in (count, -count):
        months = step * (12 if unit == "year" else 1)
        dates += _with_neighbours(days_later(day, step) if unit == "day" else months_later(day, months))
    return dates


def _with_neighbours(day: datetime.date | None) -> list[str | None]:
    """A date, the day after and the day before; empty for no date."""
    return [day.isoformat(), _iso(days_later(day, 1)), _iso(days_later(day, -1))] if day else []


def _iso(day: datetime.date | None) -> str | None:
    return day.isoformat() if day else None


def constant_value(node: exp.Expr) -> Value:
    """The value of an expression without columns; None for any other, and for what depends on chance or time."""
    value = literal_value(node)
    if value is not None or node.find(exp.Column, exp.Select, exp.SetOperation, exp.Star, exp.Rand, *_NOW):
        return value
    return _evaluated(to_sqlite(node)) if node.find(exp.Func) else None


@lru_cache(maxsize=256)
def _evaluated(sql: str) -> Value:
    sandbox = SqliteSandbox.in_memory([])
    try:
        rows = sandbox.run(f"SELECT {sql}", _MAX_STEPS, _MAX_SECONDS).rows
    except QueryFailed:
        return None
    finally:
        sandbox.close()
    return rows[0][0] if len(rows) == 1 and len(rows[0]) == 1 else None
