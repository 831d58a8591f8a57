"""Conditions on a column: the test in SQL and the words for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from text2sql.data.make.domain import Column, Kind, Table
from text2sql.data.make.query import View, literal

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_TIME_UNITS = frozenset({"minutes", "hours", "days", "nights", "seconds"})


@dataclass(frozen=True, slots=True)
class Condition:
    """One test of one column.

    Attributes:
        column: The column.
        test: The SQL after the column: ``> 30``.
        words: The words next to the noun.
        before: Whether the words precede the noun.
    """

    column: Column
    test: str
    words: str
    before: bool = False

    def sql(self, owner: str = "") -> str:
        """Return the SQL, with the column qualified if an owner is given."""
        return f"{owner}.{self.column.name} {self.test}" if owner else f"{self.column.name} {self.test}"


def condition(
    rng: Random, view: View, table: Table, kinds: tuple[Kind, ...] = (), avoid: tuple[Column, ...] = ()
) -> Condition | None:
    """Draw a condition on some column of the table, of one of the kinds if any are given."""
    wanted = kinds or ("category", "category", "number", "year", "date", "flag")
    kind = rng.choice(wanted)
    columns = [column for column in table.of_kind(kind, sparse=True) if column not in avoid]
    if not columns:
        columns = [column for column in table.of_kind(*wanted, sparse=True) if column not in avoid]
    return on_column(rng, view, table, rng.choice(columns)) if columns else None


def on_column(rng: Random, view: View, table: Table, column: Column) -> Condition | None:
    """Draw a condition on this column."""
    draws: dict[Kind, Callable[[], Condition | None]] = {
        "category": lambda: equals(rng, column),
        "number": lambda: compare(rng, column),
        "year": lambda: in_years(rng, column),
        "date": lambda: in_time(rng, column),
        "flag": lambda: is_set(rng, column),
    }
    return draws[column.kind]() if column.kind in draws else None


def equals(rng: Random, column: Column) -> Condition:
    """Draw ``= value`` for a category."""
    value = rng.choice(column.values)
    return _make_condition(column, f"= {literal(value)}", _category_words(rng, column), value)


def one_of(rng: Random, column: Column) -> Condition:
    """Draw ``IN (...)`` for a category."""
    values = rng.sample(column.values, 2 if len(column.values) < 5 or rng.random() < 0.7 else 3)
    words = rng.choice([*column.where, f"whose {rng.choice(column.phrases)} is {{}}"])
    spoken = f"{', '.join(values[:-1])} or {values[-1]}"
    return _make_condition(column, f"IN ({', '.join(map(literal, values))})", words, spoken)


def other_than(rng: Random, column: Column) -> Condition:
    """Draw ``!= value`` for a category."""
    value = rng.choice(column.values)
    phrase = rng.choice(column.phrases)
    words = rng.choice([f"whose {phrase} is not {{}}", f"with {article(phrase)} other than {{}}"])
    return _make_condition(column, f"!= {literal(value)}", words, value)


def is_set(rng: Random, column: Column) -> Condition:
    """Draw ``= 1`` or ``= 0`` for a flag."""
    on = rng.random() < 0.6
    value = str(on).upper() if column.stored == "boolean" else str(int(on))
    if column.values:
        value = literal(column.values[0 if on else 1])
    return _make_condition(column, f"= {value}", rng.choice(column.where if on else column.unless), "")


def has_value(rng: Random, column: Column) -> Condition:
    """Draw ``IS NULL`` or ``IS NOT NULL`` for a sparse column."""
    missing = rng.random() < 0.55
    words = rng.choice(column.missing if missing else column.present)
    return _make_condition(column, "IS NULL" if missing else "IS NOT NULL", words, "")


def compare(rng: Random, column: Column) -> Condition:
    """Draw a comparison of a number with a round value."""
    test = rng.choice((">", ">", ">", "<", "<", "<", ">=", "<="))
    value = _round_value(rng, column)
    if column.high - column.low <= 20 and column.step == 1 and rng.random() < 0.3:
        test = "="
    return _make_condition(
        column, f"{test} {literal(value)}", rng.choice(_number_words(rng, column, test)), literal(value)
    )


def between(rng: Random, column: Column) -> Condition | None:
    """Draw ``BETWEEN`` for a number or a year."""
    first: int | float
    last: int | float
    if column.kind == "year":
        first, last = sorted(rng.sample(range(int(column.low), int(column.high) + 1), 2))
        words = rng.choice([f"{verb} between {{}} and {{}}" for verb in _verbs(rng, column)])
    else:
        first, last = sorted((_round_value(rng, column), _round_value(rng, column)))
        words = rng.choice(_number_words(rng, column, "between"))
    if first == last:
        return None
    return _make_condition(
        column, f"BETWEEN {literal(first)} AND {literal(last)}", words, literal(first), literal(last)
    )


def in_years(rng: Random, column: Column) -> Condition:
    """Draw a comparison of a year."""
    value = rng.randint(int(column.low) + 1, int(column.high) - 1)
    test, preposition = rng.choice((("=", "in"), (">", "after"), ("<", "before"), (">", "later than")))
    if preposition == "later than" and column.verb:
        preposition = "after"
    if not column.verb and test == "=":
        preposition = "of"
    return _make_condition(
        column, f"{test} {value}", f"{rng.choice(_verbs(rng, column))} {preposition} {{}}", str(value)
    )


def in_time(rng: Random, column: Column) -> Condition:
    """Draw a year, a month, or a comparison with a day for a date."""
    verb = rng.choice(_verbs(rng, column))
    day = random_day(rng, column)
    shape = rng.choice(("year", "year", "month", "before_year", "after", "before", "between"))
    if column.stored == "time" and shape in ("year", "month", "between"):
        # The last moment of a period has no literal.
        shape = "before_year"
    if shape == "year":
        return _make_condition(column, _within_period(column, day, month=False), f"{verb} in {{}}", str(day.year))
    if shape == "month":
        words = (MONTHS[day.month - 1], str(day.year))
        return _make_condition(column, _within_period(column, day, month=True), f"{verb} in {{}} {{}}", *words)
    if shape == "before_year":
        year = max(day.year, int(column.low) + 1)
        return _make_condition(column, f"< '{year}-01-01'", f"{verb} before {{}}", str(year))
    if shape == "between":
        first, last = sorted((day, random_day(rng, column)))
        test = f"BETWEEN '{first}' AND '{last}'"
        return _make_condition(column, test, f"{verb} between {{}} and {{}}", str(first), str(last))
    spoken = str(day) if rng.random() < 0.6 else f"{MONTHS[day.month - 1]} {day.day}, {day.year}"
    # For a timestamp, "after a day" starts with the next day.
    sign, limit = (">", day) if shape == "after" else ("<", day)
    if shape == "after" and column.stored == "time":
        sign, limit = ">=", day + timedelta(days=1)
    return _make_condition(column, f"{sign} '{limit}'", f"{verb} {shape} {{}}", spoken)


def _within_period(column: Column, day: date, *, month: bool) -> str:
    """The test for the days in the year or month of a day."""
    if column.stored == "text":
        return f"LIKE '{day:%Y-%m}-%'" if month else f"LIKE '{day.year}-%'"
    first = day.replace(day=1) if month else date(day.year, 1, 1)
    following = (first + timedelta(days=32)).replace(day=1) if month else date(day.year + 1, 1, 1)
    return f"BETWEEN '{first}' AND '{following - timedelta(days=1)}'"


def random_day(rng: Random, column: Column) -> date:
    """Return a day in the range of a date column."""
    first = date(int(column.low), 1, 1)
    return first + timedelta(days=rng.randrange((date(int(column.high) + 1, 1, 1) - first).days))


def like(rng: Random, view: View, table: Table, column: Column) -> Condition:
    """Draw a ``LIKE`` on the text of a label."""
    text = str(view.some_row(rng, table)[column.name])
    phrase = rng.choice(column.phrases)
    shape = rng.choice(("starts", "starts", "ends", "contains", "contains"))
    if shape == "starts":
        part = rng.choice((text[0], text.split()[0]))
        words = (f"whose {phrase} starts with {{}}", f"whose {phrase} begins with {{}}")
        return _make_condition(column, f"LIKE '{part}%'", rng.choice(words), f'"{part}"')
    if shape == "ends":
        part = rng.choice((text[-1], text.split()[-1]))
        return _make_condition(column, f"LIKE '%{part}'", f"whose {phrase} ends with {{}}", f'"{part}"')
    part = rng.choice(text.split())
    words = (f"whose {phrase} contains {{}}", f"with {{}} in the {phrase}")
    return _make_condition(column, f"LIKE '%{part}%'", rng.choice(words), f'"{part}"')


def article(noun: str) -> str:
    """Return the noun with "a" or "an"."""
    sounds_like_consonant = noun.startswith(("uni", "use", "euro", "one"))
    vowel = noun.startswith(("hour", "honest")) or (noun[0].lower() in "aeiou" and not sounds_like_consonant)
    return f"{'an' if vowel else 'a'} {noun}"


def _make_condition(column: Column, test: str, template: str, *values: str) -> Condition:
    words = template.removeprefix("^").format(*values)
    return Condition(column, test, words, before=template.startswith("^"))


def _category_words(rng: Random, column: Column) -> str:
    if column.where and rng.random() < 0.8:
        return rng.choice(column.where)
    return f"whose {rng.choice(column.phrases)} is {{}}"


def _verbs(rng: Random, column: Column) -> list[str]:
    return [*column.verb, *column.verb] or [f"with {article(rng.choice(column.phrases))}"]


def _number_words(rng: Random, column: Column, test: str) -> list[str]:
    """Return the templates that say ``test`` about the column."""
    if column.unit:
        opening = "lasting" if column.unit in _TIME_UNITS else "with"
        amounts = {
            ">": ("more than {}", "over {}"),
            "<": ("fewer than {}", "less than {}"),
            ">=": ("at least {}", "{} or more"),
            "<=": ("at most {}", "no more than {}"),
            "=": ("exactly {}",),
            "between": ("between {} and {}",),
        }
        return [f"{opening} {amount} {column.unit}" for amount in amounts[test]]
    phrase = rng.choice(column.phrases)
    whose, a = f"whose {phrase} is", f"with {article(phrase)}"
    templates = {
        ">": [
            *column.more,
            f"{a} above {{}}",
            f"{a} over {{}}",
            f"{whose} greater than {{}}",
            f"{whose} more than {{}}",
        ],
        "<": [*column.less, f"{a} below {{}}", f"{a} under {{}}", f"{whose} less than {{}}"],
        ">=": [f"{a} of at least {{}}", f"{whose} at least {{}}"],
        "<=": [f"{a} of at most {{}}", f"{whose} at most {{}}"],
        "=": [f"{a} of {{}}", f"{whose} exactly {{}}"],
        "between": [f"{a} between {{}} and {{}}", f"{whose} between {{}} and {{}}"],
    }
    return templates[test]


def _round_value(rng: Random, column: Column) -> int | float:
    """Return a value inside the range of the column that a person would pick: 150, not 147."""
    width = column.high - column.low
    grain = max(column.step, 10 ** math.floor(math.log10(width / 5)))
    raw = column.low + width * (0.15 + 0.7 * rng.random())
    value = round(raw / grain) * grain
    return round(value, 2) if column.sql_type == "REAL" and value != int(value) else int(value)
