"""Which values a column may hold: every value of every made database keeps to this.

A column holds values of its declared kind: INTEGER whole numbers, REAL and NUMERIC numbers, BOOLEAN 0 or 1, DATE
``YYYY-MM-DD``, DATETIME and TIMESTAMP ``YYYY-MM-DD HH:MM:SS``, TIME ``HH:MM:SS`` (an engine's types with fractions of a
second hold these, too), TEXT texts. A column that the queries read as JSON holds documents; one that a CHECK declares
equal to its own ``date()``, ``time()`` or ``datetime()`` holds what those write. A column's CHECKs hold. SQLite itself
would store anything (https://sqlite.org/datatype3.html).

There is one exception, because data sets guess types: sql-create-context declares a column INTEGER because a query
takes its minimum, whatever the column holds. So a column also holds what the *gold* query says is in it: text where it
compares the column with a text that is no number, fractions and dates in another form where it compares the column
with one by equality.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from sqlglot import exp
from sqlglot.errors import SqlglotError

from text2sql.engines.values.pattern_checks import pattern_texts
from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.plan import AllowedValues, Condition
from text2sql.equivalence.databases.values.column_values import argument_values, like_expansions
from text2sql.equivalence.databases.values.patterns import class_texts
from text2sql.sql.schema import Column, TableSchema
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value, parse_sqlite
from text2sql.sql.values import Value, as_number

# Evaluates a condition over one column on some values; None, for one or all of them, where SQLite does not say.
Truth = Callable[[exp.Expr, Column, tuple[Value, ...]], "Sequence[bool | None] | None"]

# Literals that are put at either end of texts that a CHECK allows.
_MAX_LITERALS_IN_TEXTS = 24
# Texts that a CHECK allows which are changed in this way.
_MAX_CHANGED_TEXTS = 4
# Characters of a text or bytes of a blob that is stored, many times over: a hostile literal may be longer.
_MAX_VALUE_LENGTH = 2000
# From this number on, differences and sums of two integers of a column overflow 64 bits.
_INTEGER_BOUND = 2**62
# Numbers that follow a literal of a CHECK and are tried.
_NUMBERS_FROM_LITERAL = 40
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\Z")
_LOOSE_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?\Z")
_FRACTION = re.compile(r"\A((?:\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d)\.\d{1,6}\Z")
_TIME = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\Z")


def is_storable(value: Value) -> bool:
    """Whether SQLite can store a value, and it is short enough to be stored many times over."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return not isinstance(value, (str, bytes)) or len(value) <= _MAX_VALUE_LENGTH


def suits_kind(value: Value, kind: str) -> bool:
    """Whether a column of this kind holds such a value; NULL suits every kind, whether or not it is NOT NULL.

    Args:
        value: Any value.
        kind: See `text2sql.sql.schema.Column.kind`; besides these json, moment (a date or datetime in any form) or any.
    """
    if value is None or kind == "any":
        return True
    if kind == "text":
        # A column of text converts numbers to text.
        return not isinstance(value, bytes)
    if kind == "integer":
        return isinstance(value, int) and abs(value) < _INTEGER_BOUND
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


class ColumnConstraints:
    """Which values the columns of some tables may hold.

    Args:
        tables: The tables that rows are made for.
        gold: The gold query's conditions over one column, each with its column.
        documents: The columns that the queries read as JSON.
        truth: Asks SQLite on which values a condition holds.
        fractional: The names of columns that hold fractions of a second.
        engine_allowed: Asks an engine which values a column may hold by the CHECKs that it decides otherwise.

    Attributes:
        kinds: Of each column, what kind of values it holds, see `suits_kind`.
    """

    def __init__(
        self,
        tables: Mapping[str, TableSchema],
        gold: Iterable[tuple[ColumnKey, Condition]],
        documents: Iterable[ColumnKey],
        truth: Truth,
        fractional: Collection[str] = frozenset(),
        engine_allowed: AllowedValues | None = None,
    ) -> None:
        self._columns = {(name, key): column for name, table in tables.items() for key, column in table.columns.items()}
        self._truth, self._fractional, self._engine_allowed = truth, fractional, engine_allowed
        self.kinds = _kinds(tables, self._columns, gold, documents)
        self._checks = _single_column_checks(tables)
        self._values_from_checks: dict[ColumnKey, list[Value]] = {}
        self._known: dict[ColumnKey, dict[tuple[type, Value], bool]] = {key: {} for key in self._columns}

    def allows(self, key: ColumnKey, value: Value) -> bool:
        """Whether a column may hold a value."""
        known = self._known[key].get((type(value), value))
        return known if known is not None else bool(self._decide(key, [value]))

    def allowed(self, key: ColumnKey, values: Iterable[Value]) -> list[Value]:
        """Those of some values that a column may hold."""
        known = self._known[key]
        values = list(values)
        undecided = [value for value in values if (type(value), value) not in known]
        if undecided:
            self._decide(key, undecided)
        return [value for value in values if known[type(value), value]]

    def _decide(self, key: ColumnKey, values: Sequence[Value]) -> list[Value]:
        """Decides which of some values a column may hold, and remembers it."""
        kind, known = self.kinds[key], self._known[key]
        whole = {value: _without_fraction(value) for value in values} if key[1] in self._fractional else {}
        allowed = [value for value in values if is_storable(value) and suits_kind(whole.get(value, value), kind)]
        for check in self._checks.get(key, ()):
            truth = self._truth(check, self._columns[key], tuple(allowed)) if allowed else None
            if truth is not None:
                # A CHECK that comes out NULL holds (https://sqlite.org/lang_createtable.html#check_constraints).
                allowed = [value for value, true in zip(allowed, truth, strict=True) if true is not False]
        by_engine = self._engine_allowed(key, allowed) if allowed and self._engine_allowed else None
        if by_engine is not None:
            allowed = [value for value, is_allowed in zip(allowed, by_engine, strict=True) if is_allowed]
        for value in values:
            known[type(value), value] = False
        for value in allowed:
            known[type(value), value] = True
        return allowed

    def values_from_checks(self, key: ColumnKey) -> list[Value]:
        """Values near the literals of a column's CHECKs that these allow; empty for a column without any."""
        if key not in self._values_from_checks:
            kind = self.kinds[key]
            candidates = [value for check in self._checks.get(key, ()) for value in _check_candidates(check, kind)]
            self._values_from_checks[key] = self.allowed(key, dict.fromkeys(candidates)) if candidates else []
        return self._values_from_checks[key]

    def texts_around(self, key: ColumnKey, literals: Iterable[Value]) -> list[Value]:
        """Texts that a column's CHECKs allow and that begin, or end, with one of some texts."""
        from_checks = [text for text in self.values_from_checks(key) if isinstance(text, str)]
        changed = from_checks[:: max(1, len(from_checks) // _MAX_CHANGED_TEXTS)]
        candidates = [
            candidate
            for literal in list(literals)[:_MAX_LITERALS_IN_TEXTS]
            if isinstance(literal, str) and literal
            for text in changed
            if len(literal) < len(text)
            for candidate in (literal + text[len(literal) :], text[: -len(literal)] + literal)
        ]
        return self.allowed(key, dict.fromkeys(candidates)) if candidates else []


def _kinds(
    tables: Mapping[str, TableSchema],
    columns: Mapping[ColumnKey, Column],
    gold: Iterable[tuple[ColumnKey, Condition]],
    documents: Iterable[ColumnKey],
) -> dict[ColumnKey, str]:
    """The kind of each column, by its declaration, its CHECKs, and what the queries say of it."""
    kinds = {key: column.kind for key, column in columns.items()}
    for name, table in tables.items():
        for column, kind in _kinds_from_checks(table):
            if kinds.get((name, column)) == "text":
                kinds[name, column] = kind
    for key in documents:
        if kinds.get(key) == "text":
            kinds[key] = "json"
    for key, condition in gold:
        # SQLite lets nothing but integers into an alias of the rowid, whatever a query says of it.
        if key in kinds and key[1] != tables[key[0]].rowid:
            kinds[key] = _widened_kind(kinds[key], condition)
    return kinds


def _single_column_checks(tables: Mapping[str, TableSchema]) -> dict[ColumnKey, list[exp.Expr]]:
    """The CHECKs that are about one column alone."""
    checks: dict[ColumnKey, list[exp.Expr]] = {}
    for name, table in tables.items():
        for check in filter(None, map(parse_check, table.checks)):
            columns = {fold(column.name) for column in check.find_all(exp.Column)} & table.columns.keys()
            if len(columns) == 1:
                checks.setdefault((name, columns.pop()), []).append(check)
    return checks


def _check_candidates(check: exp.Expr, kind: str) -> Iterator[Value]:
    """Values near the literals and patterns of a CHECK."""
    for literal in check.find_all(exp.Literal):
        value = literal_value(literal)
        yield from argument_values(value, kind)
        if isinstance(value, str) and kind == "text":
            # A CHECK may list what is allowed in one text.
            yield from filter(None, re.split(r"\s*[,;|]\s*", value))
        if kind in ("integer", "real") and isinstance(value, (int, float)) and abs(value) < 1e9:
            yield from range(int(value), int(value) + _NUMBERS_FROM_LITERAL)
    yield from pattern_texts(check)
    for like in check.find_all(exp.Like, exp.Glob):
        pattern = literal_value(like.expression)
        if isinstance(pattern, str):
            yield from (*like_expansions(pattern.replace("*", "%")), *class_texts(pattern))


# ``d IS date(d)`` in tokens with single spaces, either way round.
_EQUALS_OWN_DATE = re.compile(
    r"(?P<a>\S+) (?:=|==|is) (?P<f>date|time|datetime) \( (?P<b>\S+) \)|"
    r"(?P<g>date|time|datetime) \( (?P<c>\S+) \) (?:=|==|is) (?P<d>\S+)",
    re.I,
)


def _kinds_from_checks(table: TableSchema) -> Iterator[tuple[str, str]]:
    """Text columns that a CHECK declares to hold dates, times of day or moments in the form that SQLite writes."""
    for check in table.checks:
        for match in _EQUALS_OWN_DATE.finditer(check):
            side, argument = (match["a"], match["b"]) if match["a"] else (match["d"], match["c"])
            column = fold(side.strip('"`[]'))
            if column == fold(argument.strip('"`[]')) and column in table.columns:
                yield column, (match["f"] or match["g"]).lower()


def _widened_kind(kind: str, condition: Condition) -> str:
    """The kind of a column, widened by what one condition of the gold query says is in it."""
    literals = list(condition.literal) if isinstance(condition.literal, tuple) else [condition.literal]
    equality = condition.op in ("=", "<>")
    if condition.kind != "compare":
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
        if kind in ("date", "datetime", "time") and equality and not suits_kind(literal, kind):
            return "moment" if kind != "time" and suits_kind(literal, "moment") else "any"
    return kind


def _without_wildcards(pattern: Value) -> Value:
    return re.sub(r"[%_]+", "", pattern) if isinstance(pattern, str) else pattern


@lru_cache(maxsize=256)
def parse_check(text: str) -> exp.Expr | None:
    """The condition of a CHECK; None where sqlglot does not parse it."""
    try:
        tree = parse_sqlite(f"SELECT 1 WHERE {text}")
    except (SqlglotError, RecursionError, ValueError, TypeError, AttributeError):
        return None
    where = tree.args.get("where")
    return where.this if where is not None else None


def multi_column_checks(table: TableSchema) -> Iterator[exp.Expr]:
    """The CHECKs of a table that relate several of its columns."""
    for check in filter(None, map(parse_check, table.checks)):
        columns = {fold(column.name) for column in check.find_all(exp.Column)} & table.columns.keys()
        if len(columns) > 1:
            yield check
