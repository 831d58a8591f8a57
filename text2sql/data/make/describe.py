"""A user's database as a domain of the shapes: what each column is for, judged by its type, its name and its values."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import lru_cache
from typing import Literal

from text2sql.data.make.domain import PEOPLE, Bridge, Column, Domain, Table, plural
from text2sql.data.make.query import Row, View
from text2sql.data.schema_text import DeclaredTable, read_tables
from text2sql.engines.dialect import Dialect
from text2sql.engines.user_databases.connection import Database, Limits
from text2sql.engines.user_databases.inspect import DatabaseSchema
from text2sql.sql import schema as declared
from text2sql.sql.ddl import parse_schema
from text2sql.sql.sandbox import QueryFailed
from text2sql.sql.tokens import Token, fold, quote_identifier
from text2sql.sql.values import Value

# Rows of a table that are looked at, and bytes of them.
SAMPLE = Limits(seconds=60.0, rows=2000, size=32 * 2**20)
# Values that a category may have, and characters of a value that a question quotes.
_FEW, _SHORT = 30, 60
_NAMES = re.compile(r"(?:^|_)(?:name|title|label|subject|headline)$")
_IDENTIFIERS = re.compile(
    r"(?:^|_)(?:id|ids|code|no|nr|number|zip|postcode|phone|fax|uuid|guid|key|latitude|longitude)$"
)
_SUMMED = re.compile(
    r"(?:amount|total|sales|revenue|quantity|qty|cost|budget|profit|points|votes|goals|population|count)"
)
_YEARS = range(1500, 2101)
# What names shorten and people do not, where it stands for one word alone.
_SHORTENED = {
    "acct": "account",
    "addr": "address",
    "amt": "amount",
    "avg": "average",
    "cred": "credit",
    "ctry": "country",
    "cust": "customer",
    "dept": "department",
    "descr": "description",
    "dob": "date of birth",
    "emp": "employee",
    "enr": "enrollment",
    "fname": "first name",
    "hr": "hour",
    "lang": "language",
    "lname": "last name",
    "loc": "location",
    "mgr": "manager",
    "nat": "nationality",
    "nbr": "number",
    "num": "number",
    "pct": "percentage",
    "pop": "population",
    "pos": "position",
    "prod": "product",
    "pts": "points",
    "qty": "quantity",
    "sal": "salary",
    "stu": "student",
    "tel": "telephone",
    "tot": "total",
    "univ": "university",
    "yr": "year",
}
# How a text says true and false.
_TRUTHS = (("T", "F"), ("Y", "N"), ("true", "false"), ("True", "False"), ("yes", "no"), ("Yes", "No"), ("1", "0"))
_DAY = re.compile(r"(\d{4})-\d{2}-\d{2}")


def describe(database: Database, schema: DatabaseSchema) -> View:
    """What the shapes may ask of a database.

    Args:
        database: Open.
        schema: Its schema.

    Returns:
        The tables with rows, and a sample of the rows of each.
    """
    spelt = read_tables(schema.text)
    tables, rows = [], {}
    for name, table in parse_schema(schema.text).tables.items():
        if name not in spelt:
            continue
        place = schema.sql_names.get(name) or _plain(table.name)
        found = _sample(database, place, spelt[name])
        if found is None:
            continue
        size, sample = found
        described = _table(place, table, spelt[name], size, sample, database.location.dialect)
        if described is not None:
            tables.append((name, described))
            rows[place] = sample
    linked = _linked(dict(tables), parse_schema(schema.text))
    return View(Domain(database.location.display_name, "train", linked, _bridges(linked)), rows)


def _sample(database: Database, place: str, spelt: DeclaredTable) -> tuple[int, list[Row]] | None:
    """The number of a table's rows and the first of them by the names of columns as queries spell them."""
    dialect = database.location.dialect
    names = [_name(token, dialect) for token in spelt.columns]
    try:
        ((size,),) = database.run(f"SELECT COUNT(*) FROM {place}", SAMPLE).rows
        result = database.run(f"SELECT {', '.join(names)} FROM {place}", SAMPLE)
    except QueryFailed:
        return None
    rows = [dict(zip(names, (_kept(value) for value in row), strict=True)) for row in result.rows]
    return (int(size), rows) if rows and isinstance(size, (int, float)) else None


def _kept(value: Value) -> str | int | float | None:
    return None if isinstance(value, bytes) else value


def _table(
    place: str, table: declared.TableSchema, spelt: DeclaredTable, size: int, rows: list[Row], dialect: Dialect
) -> Table | None:
    noun = _words(table.name)
    if not noun:
        return None
    one = _singular(noun)
    single = table.primary_key[0] if len(table.primary_key) == 1 else None
    alone = {key[0] for key in table.uniques if len(key) == 1}
    columns: list[Column] = []
    for token in spelt.columns:
        name, text = fold(token.name), _name(token, dialect)
        column = table.columns[name]
        values = [row[text] for row in rows]
        unique = name in (single, *alone) or (size == len(rows) and len({*values}) == size and None not in values)
        made = _column(text, token.name, column, values, unique, dialect)
        # A key may be what people call the row by, and is then asked for as well; so is what refers to such a row.
        if name == single:
            columns.append(Column(text, "key", ("id",)))
            made = made if made is not None and made.kind == "label" else None
        elif any(name in key.columns for key in table.foreign_keys):
            # Its target is set when all tables are known.
            columns.append(Column(text, "ref"))
            made = made if made is not None and made.kind == "category" else None
        if made is None:
            continue
        made = replace(made, phrases=_phrases(token.name, one))
        missing = made.kind in ("label", "code") or None not in values
        phrase = made.phrases[0]
        columns.append(
            made if missing else replace(made, missing=(f"without {_a(phrase)}",), present=(f"with {_a(phrase)}",))
        )
    labels = [column for column in columns if column.kind == "label"]
    # One column names a row, the one that is called so if there is one; what else is unique identifies it.
    chosen = next((column for column in labels if _NAMES.search(_snake(_bare(column.name)))), next(iter(labels), None))
    columns = [replace(c, kind="code") if c.kind == "label" and c is not chosen else c for c in columns]
    strict = dialect == "duckdb"
    return Table(place, ((one, plural(one)),), size, tuple(columns), strict) if columns else None


def _column(
    text: str, name: str, column: declared.Column, values: Sequence[object], unique: bool, dialect: Dialect
) -> Column | None:
    """What a column is for; None for one that no shape can use."""
    kind, spoken = column.type.upper(), _snake(name)
    present = [value for value in values if value is not None]
    if not present or not all(isinstance(value, type(present[0])) or _number(value) for value in present):
        return None
    if "BOOL" in kind and dialect != "sqlite":
        return _flag(text, name, stored="boolean")
    if _is_time(kind) and dialect != "sqlite":
        return _dated(text, present, "date" if kind == "DATE" else "time")
    if all(_number(value) for value in present):
        return _numeric(text, name, spoken, kind, present)
    if not all(isinstance(value, str) for value in present):
        return None
    texts = [str(value) for value in present]
    if all(_DAY.fullmatch(value) for value in texts):
        return _dated(text, texts, "text") if dialect == "sqlite" else None
    return _textual(text, spoken, texts, len(values), unique)


def _is_time(kind: str) -> bool:
    return kind == "DATE" or kind.startswith(("TIMESTAMP", "DATETIME"))


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _numeric(text: str, name: str, spoken: str, kind: str, values: Sequence[object]) -> Column | None:
    numbers = [float(value) for value in values if isinstance(value, (int, float))]
    low, high = min(numbers), max(numbers)
    whole = all(number.is_integer() for number in numbers)
    if {*numbers} <= {0.0, 1.0} and ("BOOL" in kind or re.match(r"(?:is|has|was|can)_", spoken)):
        return _flag(text, name)
    if _IDENTIFIERS.search(spoken) or low == high:
        return None
    if whole and low in _YEARS and high in _YEARS and ("year" in spoken or low > 1900):
        return Column(text, "year", low=low, high=high) if high - low > 1 else None
    step = 1 if whole else 0.01
    return Column(text, "number", low=low, high=high, step=step, total=bool(_SUMMED.search(spoken)))


def _textual(text: str, spoken: str, values: Sequence[str], count: int, unique: bool) -> Column | None:
    quotable = [
        value for value in values if value.strip() and len(value) <= _SHORT and re.fullmatch(r"[^\\\n\t{}\"]*", value)
    ]
    if len(quotable) < 0.9 * len(values):
        return None
    different = dict.fromkeys(quotable)
    pair = next((pair for pair in _TRUTHS if {*different} == {*pair}), None)
    if pair and re.match(r"(?:is|has|was|can)_", spoken):
        return _flag(text, spoken, pair)
    if len(quotable) == len(values) == count and unique and (_NAMES.search(spoken) or not _IDENTIFIERS.search(spoken)):
        return Column(text, "label", values=tuple(different))
    if 2 <= len(different) <= _FEW and len(different) * 2 <= len(values):
        return Column(text, "category", values=tuple(value for value in different if value == value.strip()))
    # A text that neither names a row nor groups rows is shown, and no more.
    return Column(text, "code", values=PEOPLE)


def _flag(text: str, name: str, values: tuple[str, ...] = (), *, stored: Literal["text", "boolean"] = "text") -> Column:
    words = re.sub(r"^(?:is|has|was|can) ", "", _words(name))
    if _snake(name).startswith("has_"):
        where, unless = f"that have {words}", f"that have no {words}"
    else:
        where, unless = f"that are {words}", f"that are not {words}"
    return Column(text, "flag", values=values, where=(where,), unless=(unless,), stored=stored)


def _dated(text: str, values: Sequence[object], stored: str) -> Column | None:
    years = [int(match[1]) for value in values if (match := _DAY.match(str(value)))]
    if len(years) < len(values) or min(years) < 1000:
        return None
    low, high = min(years), max(years)
    if stored == "date":
        return Column(text, "date", low=low, high=high, stored="date")
    return Column(text, "date", low=low, high=high, stored="time" if stored == "time" else "text")


def _linked(tables: dict[str, Table], schema: declared.Schema) -> tuple[Table, ...]:
    """The tables, foreign keys with their targets; a key that no shape can follow is left out."""
    found = []
    for name, table in tables.items():
        keys = {key.columns[0]: key for key in schema.tables[name].foreign_keys if len(key.columns) == 1}
        referring = {column.name for column in table.of_kind("ref")}
        columns = []
        for column in table.columns:
            if column.name not in referring:
                columns.append(column)
                continue
            key = keys.get(fold(_bare(column.name)))
            parent = tables.get(key.parent) if key else None
            if key is None or parent is None or parent is table or fold(_bare(parent.key)) != key.parent_columns[0]:
                continue
            if column.kind == "ref":
                columns.append(_reference(column, parent))
            elif parent.label is not None and parent.label.name == parent.key:
                columns.append(replace(column, phrases=(parent.nouns[0][0],)))
        found.append(replace(table, columns=tuple(columns)))
    return tuple(found)


def _reference(column: Column, parent: Table) -> Column:
    one = parent.nouns[0][0]
    spoken = re.sub(r" (?:id|key|code|name|no)$", "", _words(_bare(column.name)))
    role = spoken if spoken not in ("id", "") else one
    return replace(column, target=parent.name, by=("of", "that belong to"), did=("had",), role=role)


def _bridges(tables: Sequence[Table]) -> tuple[Bridge, ...]:
    """Relations of many to many, through tables with two foreign keys."""
    named = {table.name: table for table in tables}
    found = []
    for via in tables:
        targets = list(dict.fromkeys(column.target for column in via.of_kind("ref")))
        for left in targets:
            for right in targets:
                if left != right and named[left].handle and len(named[right].columns) > 1:
                    words = f"that have at least one {via.nouns[0][0]} with {{}}"
                    found.append(Bridge(left, via.name, right, (words,)))
    return tuple(found)


def _name(token: Token, dialect: Dialect) -> str:
    """A column as queries spell it; schemas of SQLite quote what needs no quotes."""
    return _plain(token.name) if dialect == "sqlite" else token.text


@lru_cache(maxsize=4096)
def _plain(name: str) -> str:
    """A name as it stands in SQLite's SQL: bare unless it is a keyword or holds other signs."""
    if re.fullmatch(r"[A-Za-z_]\w*", name):
        with closing(sqlite3.connect(":memory:")) as database, suppress(sqlite3.Error):
            database.execute(f"CREATE TABLE {name} ({name})")
            return name
    return quote_identifier(name, '"')


def _bare(text: str) -> str:
    """A name as a query spells it, without its quotes."""
    return text[1:-1] if text[:1] in ('"', "`", "[") else text


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[\s\-.]+", "_", name).lower()


def _words(name: str) -> str:
    """A name as people say it."""
    parts = (part for part in _snake(name).split("_") if part and not part.startswith(("tbl", "dim", "fact")))
    spoken = " ".join(_SHORTENED.get(part, part) for part in parts)
    # What is counted follows its number, which is somebody's where it comes last.
    return re.sub(r"^number (?!of )", "number of ", spoken)


def _singular(noun: str) -> str:
    *front, last = noun.split()
    if last.endswith("ies") and len(last) > 4:
        last = last[:-3] + "y"
    elif re.search(r"(?:ss|sh|ch|x|z)es$", last):
        last = last[:-2]
    elif last.endswith("s") and not last.endswith(("ss", "us", "is", "ies")):
        last = last[:-1]
    return " ".join([*front, last])


def _phrases(name: str, noun: str) -> tuple[str, ...]:
    """A column as people say it: without the name of its table in front, or what begins that name."""
    spoken = _words(name) or name
    short = spoken.removeprefix(f"{noun} ")
    if short != spoken and short:
        return (short, spoken)
    front, _, rest = _snake(name).partition("_")
    own = rest and rest != "id" and noun.startswith(front)
    return (_words(rest),) if own and _words(rest) else (spoken,)


def _a(phrase: str) -> str:
    return f"{'an' if phrase[:1] in 'aeiou' else 'a'} {phrase}"
