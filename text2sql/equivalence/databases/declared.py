"""What a column may hold: the one rule that every value of every made database keeps.

A column holds values of its declared kind: INTEGER whole numbers, REAL and NUMERIC numbers, BOOLEAN 0 or 1, DATE
``YYYY-MM-DD``, DATETIME and TIMESTAMP ``YYYY-MM-DD HH:MM:SS``, TIME ``HH:MM:SS`` (an engine's types with fractions of a
second hold these, too), TEXT texts; a column that the queries
read as JSON holds documents, one that a CHECK says to be its own ``date()``, ``time()`` or ``datetime()`` what those
write. Its CHECKs hold. SQLite itself would take anything (https://sqlite.org/datatype3.html).

One exception: data sets guess types. sql-create-context declares a column INTEGER because a query takes its minimum,
whatever it holds. So a column holds, besides, what the *gold* query itself says is in it: text where it compares the
column with a text that is no number, fractions and dates in another form where it asks for equality with one.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache

from sqlglot import exp
from sqlglot.errors import SqlglotError

from text2sql.engines.values.pattern_checks import pattern_texts
from text2sql.equivalence.databases.plan import ColumnKey, Condition
from text2sql.equivalence.databases.values.column_values import derived, like_expansions
from text2sql.equivalence.databases.values.patterns import class_texts
from text2sql.sql.schema import Column, TableSchema
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value, parse_sqlite
from text2sql.sql.values import Value, as_number

# For a condition over one column and values: on which of them it is true (None: SQLite does not say).
Truth = Callable[[exp.Expr, Column, tuple[Value, ...]], "Sequence[bool | None] | None"]

# Literals that texts are made to begin with, and how many of the texts that CHECKs allow are.
_BEGINNINGS, _SAMPLED = 24, 4
# Characters of a value.
_LONGEST = 2000
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\Z")
_LOOSE_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?\Z")
_FRACTION = re.compile(r"\A((?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d)\.\d{1,6}\Z")
_TIME = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\Z")


def fits(value: Value) -> bool:
    """Whether a value can be stored, many times over; a hostile literal cannot."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return not isinstance(value, (str, bytes)) or len(value) <= _LONGEST


def suits(value: Value, kind: str) -> bool:
    """Whether a column of this kind holds such a value; NULL always suits, NOT NULL is another matter.

    Args:
        value: Any value.
        kind: See `text2sql.sql.ddl.Column.kind`; json, moment (a date or datetime in any form) or any besides.
    """
    if value is None or kind == "any":
        return True
    if kind == "text":
        # A column of text makes text of a number.
        return not isinstance(value, bytes)
    if kind == "integer":
        # Differences of extreme integers overflow; no data is there.
        return isinstance(value, int) and abs(value) < 2**62
    if kind == "real":
        return isinstance(value, (int, float))
    if kind == "boolean":
        return value in (0, 1) and not isinstance(value, str)
    return isinstance(value, str) and _well_formed(value, kind)


def _without_fraction(value: Value) -> Value:
    return _FRACTION.sub(r"\1", value) if isinstance(value, str) else value


@lru_cache(maxsize=8192)
def _well_formed(text: str, kind: str) -> bool:
    if kind == "json":
        try:
            json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return False
        return True
    if kind == "time":
        return _TIME.match(text) is not None
    if kind == "date" and len(text) != 10:
        return False
    if kind == "datetime" and not _MOMENT.match(text):
        return False
    if kind == "moment" and not _LOOSE_MOMENT.match(text):
        return False
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _no_constant(name: str) -> None:
    raise ValueError(name)


class Declared:
    """Which values suit the columns of some tables.

    Args:
        tables: The tables that rows are made for.
        gold: The conditions of the gold query.
        documents: The columns that the queries read as JSON.
        truth: Asks SQLite on which values a condition holds.
        fractional: The names of columns that hold fractions of a second.
    """

    def __init__(
        self,
        tables: dict[str, TableSchema],
        gold: Iterable[tuple[ColumnKey, Condition]],
        documents: Iterable[ColumnKey],
        truth: Truth,
        fractional: Collection[str] = frozenset(),
    ) -> None:
        self._columns = {(name, key): column for name, table in tables.items() for key, column in table.columns.items()}
        self.kinds = {key: column.kind for key, column in self._columns.items()}
        for name, table in tables.items():
            for column, kind in _checked_kinds(table):
                if self.kinds.get((name, column)) == "text":
                    self.kinds[name, column] = kind
        for key in documents:
            if self.kinds.get(key) == "text":
                self.kinds[key] = "json"
        for key, condition in gold:
            # SQLite lets nothing but integers into an alias of the rowid, whatever a query says of it.
            if key in self.kinds and key[1] != tables[key[0]].rowid:
                self.kinds[key] = _opened(self.kinds[key], condition)
        self._truth, self._fractional = truth, fractional
        self._checks: dict[ColumnKey, list[exp.Expr]] = {}
        for name, table in tables.items():
            for check in filter(None, map(parse_check, table.checks)):
                own = {fold(column.name) for column in check.find_all(exp.Column)} & table.columns.keys()
                if len(own) == 1:
                    self._checks.setdefault((name, own.pop()), []).append(check)
        self._checked: dict[ColumnKey, list[Value]] = {}
        self._known: dict[ColumnKey, dict[tuple[type, Value], bool]] = {key: {} for key in self._columns}

    def suits(self, key: ColumnKey, value: Value) -> bool:
        """Whether a column may hold a value."""
        known = self._known[key].get((type(value), value))
        return known if known is not None else bool(self._judge(key, [value]))

    def fitting(self, key: ColumnKey, values: Iterable[Value]) -> list[Value]:
        """Those of the values that a column may hold."""
        known = self._known[key]
        values = list(values)
        fresh = [value for value in values if (type(value), value) not in known]
        if fresh:
            self._judge(key, fresh)
        return [value for value in values if known[type(value), value]]

    def _judge(self, key: ColumnKey, values: Sequence[Value]) -> list[Value]:
        kind, known = self.kinds[key], self._known[key]
        plain = {value: _without_fraction(value) for value in values} if key[1] in self._fractional else {}
        good = [value for value in values if fits(value) and suits(plain.get(value, value), kind)]
        for check in self._checks.get(key, ()):
            truth = self._truth(check, self._columns[key], tuple(good)) if good else None
            if truth is not None:
                # A CHECK that comes out NULL holds (https://sqlite.org/lang_createtable.html#check_constraints).
                good = [value for value, true in zip(good, truth, strict=True) if true is not False]
        for value in values:
            known[type(value), value] = False
        for value in good:
            known[type(value), value] = True
        return good

    def checked(self, key: ColumnKey) -> list[Value]:
        """Values near the literals of a column's CHECKs that these allow; empty for a column without any."""
        if key in self._checked:
            return self._checked[key]
        found: list[Value] = []
        kind = self.kinds[key]
        for check in self._checks.get(key, ()):
            for literal in check.find_all(exp.Literal):
                value = literal_value(literal)
                found += derived(value, kind)
                if kind in ("integer", "real") and isinstance(value, (int, float)) and abs(value) < 1e9:
                    found += range(int(value), int(value) + 40)
            found += pattern_texts(check)
            for like in check.find_all(exp.Like, exp.Glob):
                pattern = literal_value(like.expression)
                if isinstance(pattern, str):
                    found += [*like_expansions(pattern.replace("*", "%")), *class_texts(pattern)]
        self._checked[key] = self.fitting(key, dict.fromkeys(found)) if found else []
        return self._checked[key]

    def beginning(self, key: ColumnKey, literals: Iterable[Value]) -> list[Value]:
        """Texts that a column's CHECKs allow and that begin, or end, with one of some texts."""
        checked = [text for text in self.checked(key) if isinstance(text, str)]
        some = checked[:: max(1, len(checked) // _SAMPLED)]
        found = [
            other
            for literal in list(literals)[:_BEGINNINGS]
            if isinstance(literal, str) and literal
            for text in some
            if len(literal) < len(text)
            for other in (literal + text[len(literal) :], text[: -len(literal)] + literal)
        ]
        return self.fitting(key, dict.fromkeys(found)) if found else []


# ``d IS date(d)`` in words with single spaces, either way round.
_ITSELF = re.compile(
    r"(?P<a>\S+) (?:=|==|is) (?P<f>date|time|datetime) \( (?P<b>\S+) \)|"
    r"(?P<g>date|time|datetime) \( (?P<c>\S+) \) (?:=|==|is) (?P<d>\S+)",
    re.I,
)


def _checked_kinds(table: TableSchema) -> Iterator[tuple[str, str]]:
    """Text columns that a CHECK says to be dates, times of day or moments, in the form that SQLite writes them."""
    for check in table.checks:
        for found in _ITSELF.finditer(check):
            one, other = (found["a"], found["b"]) if found["a"] else (found["d"], found["c"])
            column = fold(one.strip('"`[]'))
            if column == fold(other.strip('"`[]')) and column in table.columns:
                yield column, (found["f"] or found["g"]).lower()


def _opened(kind: str, condition: Condition) -> str:
    """The kind of a column, given one condition of the gold query on it."""
    literals = list(condition.literal) if isinstance(condition.literal, tuple) else [condition.literal]
    equality = condition.op in ("=", "<>")
    if condition.kind != "cmp":
        like = condition.expression
        if not isinstance(like, exp.Like) or not isinstance(like.this, exp.Column):
            return kind
        literals, equality = [_without_wildcards(literal_value(like.expression))], False
        if kind in ("date", "datetime") and re.fullmatch(r"[\d\-: .T]*", str(literals[0])):
            return kind
        equality = kind in ("date", "datetime", "time")
    for literal in literals:
        number = as_number(literal)
        if kind == "integer" and equality and number is not None and not float(number).is_integer():
            return "real"
        if not isinstance(literal, str):
            continue
        if kind in ("integer", "real", "boolean") and number is None:
            return "any"
        if kind in ("date", "datetime", "time") and equality and not suits(literal, kind):
            return "moment" if kind != "time" and suits(literal, "moment") else "any"
    return kind


def _without_wildcards(pattern: Value) -> Value:
    return re.sub(r"[%_]+", "", pattern) if isinstance(pattern, str) else pattern


@lru_cache(maxsize=256)
def parse_check(text: str) -> exp.Expr | None:
    """The condition of a CHECK, None where sqlglot does not follow."""
    try:
        tree = parse_sqlite(f"SELECT 1 WHERE {text}")
    except (SqlglotError, RecursionError, ValueError, TypeError, AttributeError):
        return None
    where = tree.args.get("where")
    return where.this if where is not None else None


def check_conditions(table: TableSchema) -> Iterator[exp.Expr]:
    """The CHECKs of a table that relate several of its columns."""
    for check in filter(None, map(parse_check, table.checks)):
        own = {fold(column.name) for column in check.find_all(exp.Column)} & table.columns.keys()
        if len(own) > 1:
            yield check
