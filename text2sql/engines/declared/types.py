"""The types that columns have in an engine, read from what a schema declares."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from sqlglot import exp
from sqlglot.errors import SqlglotError

from text2sql.engines.dialect import Dialect
from text2sql.sql.tokens import quote_identifier

Kind = Literal[
    "integer", "real", "decimal", "text", "boolean", "date", "datetime", "time", "json", "uuid", "array", "interval",
    "bytes", "year", "struct", "map",
]  # fmt: skip
# The kind of each as SQLite's declared types say it, for the generator of rows.
_DECLARED: dict[Kind, str] = {
    "integer": "INTEGER",
    "real": "REAL",
    "decimal": "NUMERIC",
    "text": "TEXT",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "datetime": "DATETIME",
    "time": "TIME",
    "json": "TEXT",
    "uuid": "TEXT",
    "array": "TEXT",
    "interval": "INTEGER",
    "bytes": "TEXT",
    "year": "INTEGER",
    "struct": "TEXT",
    "map": "TEXT",
}
# Kinds whose values have parts; to the generator of rows they are JSON.
NESTED: frozenset[Kind] = frozenset(("array", "json", "struct", "map"))
_NAMED: dict[Kind, dict[Dialect, str]] = {
    "real": {"postgres": "DOUBLE PRECISION", "duckdb": "DOUBLE", "mysql": "DOUBLE"},
    "boolean": {"postgres": "BOOLEAN", "duckdb": "BOOLEAN", "mysql": "BOOLEAN"},
    "date": {"postgres": "DATE", "duckdb": "DATE", "mysql": "DATE"},
    "datetime": {"postgres": "TIMESTAMP", "duckdb": "TIMESTAMP", "mysql": "DATETIME"},
    "time": {"postgres": "TIME", "duckdb": "TIME", "mysql": "TIME"},
    "uuid": {"postgres": "UUID", "duckdb": "UUID", "mysql": "CHAR(36)"},
    "interval": {"postgres": "INTERVAL", "duckdb": "INTERVAL", "mysql": "INT"},
    "bytes": {"postgres": "BYTEA", "duckdb": "BLOB", "mysql": "BLOB"},
    "year": {"postgres": "INTEGER", "duckdb": "INTEGER", "mysql": "YEAR"},
    "json": {"postgres": "JSON", "duckdb": "VARCHAR", "mysql": "JSON"},
    "text": {"postgres": "TEXT", "duckdb": "VARCHAR", "mysql": "TEXT"},
}
_BITS = {"TINYINT": 8, "SMALLINT": 16, "MEDIUMINT": 24, "INT": 32, "BIGINT": 64, "INT128": 64, "INT256": 64}
# Types of the engines whose values are no texts, and of which none are made.
_FOREIGN = {
    "postgres": re.compile(
        r"inet|cidr|macaddr8?|\w+range|point|line|lseg|box|path|polygon|circle|tsvector|tsquery|xml|hstore|ltree|geometry|"
        r"geography|vector|varbit|pg_lsn"
    ),
    "duckdb": re.compile(r"union|bit|geometry"),
    "mysql": re.compile(r"geometry(?:collection)?|(?:multi)?(?:point|linestring|polygon)|inet[46]|vector"),
}
# PostgreSQL's text without case, from an extension.
CITEXT = "citext"
_SERIALS = {"SERIAL": 32, "BIGSERIAL": 64, "SMALLSERIAL": 16}
_SERIALS_BY_WIDTH = {"SERIAL2": 16, "SERIAL4": 32, "SERIAL8": 64}
_INTEGERS: dict[Dialect, dict[int, str]] = {
    "postgres": {8: "SMALLINT", 16: "SMALLINT", 24: "INTEGER", 32: "INTEGER", 64: "BIGINT"},
    "duckdb": {8: "TINYINT", 16: "SMALLINT", 24: "INTEGER", 32: "INTEGER", 64: "BIGINT"},
    "mysql": {8: "TINYINT", 16: "SMALLINT", 24: "MEDIUMINT", 32: "INT", 64: "BIGINT"},
}
_SIMPLE: dict[str, Kind] = {
    "FLOAT": "real",
    "DOUBLE": "real",
    "UDOUBLE": "real",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "DATE32": "date",
    "DATETIME": "datetime",
    "DATETIME2": "datetime",
    "SMALLDATETIME": "datetime",
    "TIMESTAMP": "datetime",
    "TIMESTAMPNTZ": "datetime",
    "TIMESTAMPTZ": "datetime",
    "TIMESTAMPLTZ": "datetime",
    "TIMESTAMP_S": "datetime",
    "TIMESTAMP_MS": "datetime",
    "TIMESTAMP_NS": "datetime",
    "TIME": "time",
    "TIMETZ": "time",
    "JSON": "json",
    "JSONB": "json",
    "UUID": "uuid",
    "INTERVAL": "interval",
    "BINARY": "bytes",
    "VARBINARY": "bytes",
    "BLOB": "bytes",
    "TINYBLOB": "bytes",
    "MEDIUMBLOB": "bytes",
    "LONGBLOB": "bytes",
    "YEAR": "year",
}
# Digits that a second has where the type does not say how many; of MySQL's it has none.
_SECOND_DIGITS: dict[Dialect, int] = {"postgres": 6, "duckdb": 6}
_SECOND_DIGITS_BY_NAME = {"TIMESTAMP_S": 0, "TIMESTAMP_MS": 3}
_MOST_DIGITS = {"postgres": 38, "duckdb": 38, "mysql": 38, "sqlite": 15}
# A key of MySQL has a length.
_MYSQL_TEXT = 255


@dataclass(frozen=True)
class EngineType:
    """The type of one column in an engine.

    Attributes:
        kind: What it holds.
        sql: As it is declared there.
        size: Characters of a text, digits of a decimal, bits of an integer; 0 for no limit.
        scale: Digits of a decimal behind the point, or of the second of a moment or time of the day.
        unsigned: Whether an integer is never negative.
        labels: The values of an enumeration.
        several: Whether a value is some of the labels: MySQL's SET.
        foreign: The engine's own name of a type whose values are not known here, so that text stands for it.
        element: The type of an array's elements, or of a map's values.
        key: The type of a map's keys.
        fields: The names of a struct's fields, with their types.
    """

    kind: Kind
    sql: str
    size: int = 0
    scale: int = 0
    unsigned: bool = False
    labels: tuple[str, ...] = ()
    several: bool = False
    foreign: str = ""
    element: EngineType | None = None
    key: EngineType | None = None
    fields: tuple[tuple[str, EngineType], ...] = ()

    @property
    def declared(self) -> str:
        """A type of SQLite's that holds such values, for the generator of rows."""
        whole = self.kind == "decimal" and self.size and not self.scale
        return "INTEGER" if whole else _DECLARED[self.kind]


def engine_type(declared: str, dialect: Dialect, enums: Mapping[str, tuple[str, ...]]) -> EngineType:
    """The type that a column has in an engine.

    Args:
        declared: As its schema writes it, with lengths; may be empty, or of another dialect.
        dialect: The engine's.
        enums: The enumerations that the schema creates, by lower-case name.
    """
    text = declared.strip()
    # Types that are created for a pair lie where they are looked for first, wherever the schema has them.
    own = text.split(".")[-1]
    name = own.strip('"').lower()
    if name in enums:
        return _enumeration(enums[name], dialect, type_name(name))
    if dialect == "postgres" and name == CITEXT:
        return EngineType("text", CITEXT)
    foreign = _FOREIGN[dialect].match(name) if dialect in _FOREIGN else None
    if foreign is not None and not re.match(r"\w", name[foreign.end() :]):
        return replace(_text(0, dialect), foreign=foreign[0])
    found = _built(text, dialect)
    if found is None:
        return _text(0, dialect)
    return _of(found, dialect)


def type_name(name: str) -> str:
    """The name of a type that a schema creates as its engine is told it."""
    return quote_identifier(name, '"')


def is_serial(declared: str) -> bool:
    """Whether a type numbers its rows, so that it takes no NULL."""
    return declared.strip().upper() in _SERIALS | _SERIALS_BY_WIDTH


def _built(text: str, dialect: Dialect) -> exp.DataType | None:
    """The type as sqlglot reads it; other dialects' words for it are tried behind the engine's own."""
    if not text:
        return None
    for read in (dialect, "mysql", "duckdb", "postgres", "tsql", "oracle"):
        try:
            found = exp.DataType.build(text, dialect=read, udt=True)
        except (SqlglotError, ValueError, TypeError, RecursionError):
            continue
        if found.this != exp.DType.USERDEFINED:
            return found
    return None


def _numbers(found: exp.DataType) -> list[int]:
    texts = [part.sql() for part in found.expressions]
    return [int(text) for text in texts if text.isdigit()]


def _of(found: exp.DataType, dialect: Dialect) -> EngineType:
    name, numbers = str(getattr(found.this, "value", found.this)), _numbers(found)
    if name in ("ENUM", "SET"):
        found_labels = _enumeration(tuple(str(part.name) for part in found.expressions), dialect, "")
        if name == "SET" and dialect == "mysql":
            return replace(found_labels, sql=found_labels.sql.replace("ENUM", "SET", 1), several=True)
        return found_labels
    if name == "ARRAY" and found.expressions and dialect != "mysql":
        inner = found.expressions[0]
        element = _of(inner, dialect) if isinstance(inner, exp.DataType) else _text(0, dialect)
        return EngineType("array", f"{element.sql}[]", element=element)
    if dialect == "duckdb" and name in ("STRUCT", "MAP") and found.expressions:
        return _with_parts(found)
    if dialect == "mysql" and (name == "BOOLEAN" or (name == "TINYINT" and numbers == [1])):
        return EngineType("boolean", "TINYINT(1)")
    if name in _SERIALS:
        return EngineType("integer", _INTEGERS[dialect][_SERIALS[name]], _SERIALS[name])
    if name.removeprefix("U") in _BITS:
        return _integer(_BITS[name.removeprefix("U")], name.startswith("U"), dialect)
    if name in ("DECIMAL", "UDECIMAL", "MONEY", "SMALLMONEY", "BIGDECIMAL", "DECIMAL32", "DECIMAL64", "DECIMAL128"):
        return _decimal(numbers if "MONEY" not in name else [15, 2], dialect)
    if name in _SIMPLE:
        kind = _SIMPLE[name]
        declared = {"JSONB": "JSONB", "TIMESTAMPTZ": "TIMESTAMPTZ"}.get(name) if dialect == "postgres" else None
        sql = declared or _NAMED[kind][dialect]
        return _timed(kind, name, sql, numbers, dialect) if kind in ("datetime", "time") else EngineType(kind, sql)
    if name == "BIT":
        return EngineType("boolean", _NAMED["boolean"][dialect])
    fixed = name in ("CHAR", "NCHAR") and dialect != "duckdb"
    return _text(numbers[0] if numbers and name in ("CHAR", "NCHAR", "VARCHAR", "NVARCHAR") else 0, dialect, fixed)


def _timed(kind: Kind, name: str, sql: str, numbers: list[int], dialect: Dialect) -> EngineType:
    """A type of moments or times of the day, whose seconds have so many digits."""
    digits = min(numbers[0] if numbers else _SECOND_DIGITS_BY_NAME.get(name, _SECOND_DIGITS.get(dialect, 0)), 6)
    # DuckDB's have no digits to declare.
    return EngineType(kind, f"{sql}({digits})" if numbers and dialect != "duckdb" else sql, scale=digits)


def _with_parts(found: exp.DataType) -> EngineType:
    """A struct or a map of DuckDB's."""
    parts = found.expressions
    if str(getattr(found.this, "value", found.this)) == "MAP":
        key, value = (_of(part, "duckdb") for part in parts[:2])
        return EngineType("map", f"MAP({key.sql}, {value.sql})", element=value, key=key)
    fields = tuple((part.name, _of(part.args["kind"], "duckdb")) for part in parts if isinstance(part, exp.ColumnDef))
    listed = ", ".join(f"{type_name(name)} {kind.sql}" for name, kind in fields)
    return EngineType("struct", f"STRUCT({listed})", fields=fields)


def _integer(bits: int, unsigned: bool, dialect: Dialect) -> EngineType:
    name = _INTEGERS[dialect][bits]
    if unsigned:
        name = {"duckdb": f"U{name}", "mysql": f"{name} UNSIGNED"}.get(dialect, name)
    return EngineType("integer", name, bits, unsigned=unsigned)


def _decimal(numbers: list[int], dialect: Dialect) -> EngineType:
    if not numbers:
        # What the engines take a bare DECIMAL for.
        numbers = {"duckdb": [18, 3], "mysql": [10, 0]}.get(dialect, [])
        if not numbers:
            return EngineType("decimal", "NUMERIC")
    digits = min(numbers[0], _MOST_DIGITS[dialect])
    scale = min(numbers[1], digits) if len(numbers) > 1 else 0
    return EngineType("decimal", f"DECIMAL({digits}, {scale})", digits, scale)


def _text(length: int, dialect: Dialect, fixed: bool = False) -> EngineType:
    if not length:
        return EngineType("text", _NAMED["text"][dialect])
    if dialect == "duckdb":
        # DuckDB ignores lengths.
        return EngineType("text", "VARCHAR")
    return EngineType("text", f"{'CHAR' if fixed else 'VARCHAR'}({length})", length)


def _enumeration(labels: tuple[str, ...], dialect: Dialect, name: str) -> EngineType:
    listed = ", ".join("'" + label.replace("'", "''") + "'" for label in labels)
    if dialect == "mysql":
        # There a backslash before the closing quote would keep it from closing.
        listed = listed.replace("\\", "\\\\")
    inline = {"mysql": f"ENUM({listed})", "duckdb": f"ENUM({listed})"}
    # PostgreSQL has named enumerations only.
    declared = name or inline.get(dialect, "TEXT")
    return EngineType("text", inline["mysql"] if dialect == "mysql" else declared, labels=labels)


def keyed(found: EngineType, dialect: Dialect) -> EngineType:
    """The type of a column that is part of a key: MySQL's keys hold no text without a length."""
    if dialect != "mysql" or found.kind not in ("text", "bytes", "json") or found.labels:
        return found
    if 0 < found.size <= _MYSQL_TEXT:
        return found
    return EngineType("text", f"VARCHAR({_MYSQL_TEXT})", _MYSQL_TEXT)
