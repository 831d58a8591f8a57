"""The types of columns in an engine, read from what a schema declares."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from sqlglot import exp
from sqlglot.errors import SqlglotError

from text2sql.engines.dialect import Dialect
from text2sql.sql.tokens import quote_identifier

TypeKind = Literal[
    "integer", "real", "decimal", "text", "boolean", "date", "datetime", "time", "json", "uuid", "array", "interval",
    "bytes", "year", "struct", "map",
]  # fmt: skip
# The declared type in SQLite for each kind, for the row generator.
_SQLITE_TYPES: dict[TypeKind, str] = {
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
# Kinds whose values have parts; the row generator makes them as JSON.
NESTED: frozenset[TypeKind] = frozenset(("array", "json", "struct", "map"))
_ENGINE_NAMES: dict[TypeKind, dict[Dialect, str]] = {
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
# Types of the engines for which no values are made: a text column stands for them.
_OPAQUE_TYPES = {
    "postgres": re.compile(
        r"inet|cidr|macaddr8?|\w+range|point|line|lseg|box|path|polygon|circle|tsvector|tsquery|xml|hstore|ltree|geometry|"
        r"geography|vector|varbit|pg_lsn"
    ),
    "duckdb": re.compile(r"union|bit|geometry"),
    "mysql": re.compile(r"geometry(?:collection)?|(?:multi)?(?:point|linestring|polygon)|inet[46]|vector"),
}
# PostgreSQL's case-insensitive text type, from an extension.
CITEXT = "citext"
_SERIALS = {"SERIAL": 32, "BIGSERIAL": 64, "SMALLSERIAL": 16}
_SERIALS_BY_WIDTH = {"SERIAL2": 16, "SERIAL4": 32, "SERIAL8": 64}
_INTEGER_NAMES: dict[Dialect, dict[int, str]] = {
    "postgres": {8: "SMALLINT", 16: "SMALLINT", 24: "INTEGER", 32: "INTEGER", 64: "BIGINT"},
    "duckdb": {8: "TINYINT", 16: "SMALLINT", 24: "INTEGER", 32: "INTEGER", 64: "BIGINT"},
    "mysql": {8: "TINYINT", 16: "SMALLINT", 24: "MEDIUMINT", 32: "INT", 64: "BIGINT"},
}
_KIND_BY_NAME: dict[str, TypeKind] = {
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
# Fractional digits of a second where the type does not declare them; MySQL keeps none.
_SECOND_DIGITS: dict[Dialect, int] = {"postgres": 6, "duckdb": 6}
_SECOND_DIGITS_BY_NAME = {"TIMESTAMP_S": 0, "TIMESTAMP_MS": 3}
_MAX_DECIMAL_DIGITS = {"postgres": 38, "duckdb": 38, "mysql": 38, "sqlite": 15}
# Characters of a text in a MySQL key, which needs a length.
_MYSQL_KEY_CHARACTERS = 255


@dataclass(frozen=True)
class EngineType:
    """The type of one column in an engine.

    Attributes:
        kind: What its values are.
        sql: The type as the engine declares it.
        size: Characters of a text, digits of a decimal, bits of an integer; 0 for no limit.
        scale: Fractional digits of a decimal, or of the second of a timestamp or time of day.
        unsigned: Whether an integer is never negative.
        labels: The values of an enumeration.
        several: Whether a value is a subset of the labels: MySQL's SET.
        opaque: The engine's name of a type that no values are made for, so that a text column stands for it.
        element: The type of an array's elements, or of a map's values.
        key: The type of a map's keys.
        fields: The names of a struct's fields, with their types.
    """

    kind: TypeKind
    sql: str
    size: int = 0
    scale: int = 0
    unsigned: bool = False
    labels: tuple[str, ...] = ()
    is_set: bool = False
    opaque: str = ""
    element: EngineType | None = None
    key: EngineType | None = None
    fields: tuple[tuple[str, EngineType], ...] = ()

    @property
    def sqlite_type(self) -> str:
        """The SQLite type that holds such values, for the row generator."""
        whole = self.kind == "decimal" and self.size and not self.scale
        return "INTEGER" if whole else _SQLITE_TYPES[self.kind]


def engine_type(declared: str, dialect: Dialect, enums: Mapping[str, tuple[str, ...]]) -> EngineType:
    """The type that a column has in an engine.

    Args:
        declared: The type as the schema writes it, with lengths; may be empty, or of another dialect.
        dialect: The engine's.
        enums: The enumerations that the schema creates, by lower-case name.
    """
    declared = declared.strip()
    # Created types are found through the search path, in whichever schema the statements create them.
    name = declared.split(".")[-1].strip('"').lower()
    if name in enums:
        return _enum_type(enums[name], dialect, quote_type_name(name))
    if dialect == "postgres" and name == CITEXT:
        return EngineType("text", CITEXT)
    opaque = _OPAQUE_TYPES[dialect].match(name) if dialect in _OPAQUE_TYPES else None
    if opaque is not None and not re.match(r"\w", name[opaque.end() :]):
        return replace(_text_type(0, dialect), opaque=opaque[0])
    parsed = _parse(declared, dialect)
    return _text_type(0, dialect) if parsed is None else _from_sqlglot(parsed, dialect)


def quote_type_name(name: str) -> str:
    """The quoted name of a type that a schema creates."""
    return quote_identifier(name, '"')


def is_serial(declared: str) -> bool:
    """Whether a type is auto-incrementing, and so refuses NULL."""
    return declared.strip().upper() in _SERIALS | _SERIALS_BY_WIDTH


def _parse(text: str, dialect: Dialect) -> exp.DataType | None:
    """The type as sqlglot parses it, in the engine's dialect or else in another one."""
    if not text:
        return None
    for read in (dialect, "mysql", "duckdb", "postgres", "tsql", "oracle"):
        try:
            parsed = exp.DataType.build(text, dialect=read, udt=True)
        except (SqlglotError, ValueError, TypeError, RecursionError):
            continue
        if parsed.this != exp.DType.USERDEFINED:
            return parsed
    return None


def _parameters(parsed: exp.DataType) -> list[int]:
    texts = [part.sql() for part in parsed.expressions]
    return [int(text) for text in texts if text.isdigit()]


def _from_sqlglot(parsed: exp.DataType, dialect: Dialect) -> EngineType:
    name, numbers = str(getattr(parsed.this, "value", parsed.this)), _parameters(parsed)
    if name in ("ENUM", "SET"):
        enum = _enum_type(tuple(str(part.name) for part in parsed.expressions), dialect, "")
        if name == "SET" and dialect == "mysql":
            return replace(enum, sql=enum.sql.replace("ENUM", "SET", 1), is_set=True)
        return enum
    if name == "ARRAY" and parsed.expressions and dialect != "mysql":
        inner = parsed.expressions[0]
        element = _from_sqlglot(inner, dialect) if isinstance(inner, exp.DataType) else _text_type(0, dialect)
        return EngineType("array", f"{element.sql}[]", element=element)
    if dialect == "duckdb" and name in ("STRUCT", "MAP") and parsed.expressions:
        return _nested_type(parsed)
    if dialect == "mysql" and (name == "BOOLEAN" or (name == "TINYINT" and numbers == [1])):
        return EngineType("boolean", "TINYINT(1)")
    return _scalar_type(name, numbers, dialect)


def _scalar_type(name: str, numbers: list[int], dialect: Dialect) -> EngineType:
    """The type for sqlglot's name of a scalar type and its parameters: length, or digits and scale."""
    if name in _SERIALS:
        return EngineType("integer", _INTEGER_NAMES[dialect][_SERIALS[name]], _SERIALS[name])
    if name.removeprefix("U") in _BITS:
        return _integer_type(_BITS[name.removeprefix("U")], name.startswith("U"), dialect)
    if name in ("DECIMAL", "UDECIMAL", "MONEY", "SMALLMONEY", "BIGDECIMAL", "DECIMAL32", "DECIMAL64", "DECIMAL128"):
        return _decimal_type(numbers if "MONEY" not in name else [15, 2], dialect)
    if name in _KIND_BY_NAME:
        kind = _KIND_BY_NAME[name]
        declared = {"JSONB": "JSONB", "TIMESTAMPTZ": "TIMESTAMPTZ"}.get(name) if dialect == "postgres" else None
        sql = declared or _ENGINE_NAMES[kind][dialect]
        return _time_type(kind, name, sql, numbers, dialect) if kind in ("datetime", "time") else EngineType(kind, sql)
    if name == "BIT":
        return EngineType("boolean", _ENGINE_NAMES["boolean"][dialect])
    fixed = name in ("CHAR", "NCHAR") and dialect != "duckdb"
    return _text_type(numbers[0] if numbers and name in ("CHAR", "NCHAR", "VARCHAR", "NVARCHAR") else 0, dialect, fixed)


def _time_type(kind: TypeKind, name: str, sql: str, numbers: list[int], dialect: Dialect) -> EngineType:
    """A timestamp or time type with the fractional digits of its seconds."""
    digits = min(numbers[0] if numbers else _SECOND_DIGITS_BY_NAME.get(name, _SECOND_DIGITS.get(dialect, 0)), 6)
    # DuckDB's time types declare no digits.
    return EngineType(kind, f"{sql}({digits})" if numbers and dialect != "duckdb" else sql, scale=digits)


def _nested_type(parsed: exp.DataType) -> EngineType:
    """A DuckDB struct or map."""
    parts = parsed.expressions
    if str(getattr(parsed.this, "value", parsed.this)) == "MAP":
        key, value = (_from_sqlglot(part, "duckdb") for part in parts[:2])
        return EngineType("map", f"MAP({key.sql}, {value.sql})", element=value, key=key)
    fields = tuple(
        (part.name, _from_sqlglot(part.args["kind"], "duckdb")) for part in parts if isinstance(part, exp.ColumnDef)
    )
    listed = ", ".join(f"{quote_type_name(name)} {kind.sql}" for name, kind in fields)
    return EngineType("struct", f"STRUCT({listed})", fields=fields)


def _integer_type(bits: int, unsigned: bool, dialect: Dialect) -> EngineType:
    name = _INTEGER_NAMES[dialect][bits]
    if unsigned:
        name = {"duckdb": f"U{name}", "mysql": f"{name} UNSIGNED"}.get(dialect, name)
    return EngineType("integer", name, bits, unsigned=unsigned)


def _decimal_type(numbers: list[int], dialect: Dialect) -> EngineType:
    if not numbers:
        # The defaults of a DECIMAL without parameters.
        numbers = {"duckdb": [18, 3], "mysql": [10, 0]}.get(dialect, [])
        if not numbers:
            return EngineType("decimal", "NUMERIC")
    digits = min(numbers[0], _MAX_DECIMAL_DIGITS[dialect])
    scale = min(numbers[1], digits) if len(numbers) > 1 else 0
    return EngineType("decimal", f"DECIMAL({digits}, {scale})", digits, scale)


def _text_type(length: int, dialect: Dialect, fixed: bool = False) -> EngineType:
    if not length:
        return EngineType("text", _ENGINE_NAMES["text"][dialect])
    if dialect == "duckdb":
        # DuckDB ignores lengths.
        return EngineType("text", "VARCHAR")
    return EngineType("text", f"{'CHAR' if fixed else 'VARCHAR'}({length})", length)


def _enum_type(labels: tuple[str, ...], dialect: Dialect, name: str) -> EngineType:
    listed = ", ".join("'" + label.replace("'", "''") + "'" for label in labels)
    if dialect == "mysql":
        # In MySQL a backslash escapes the closing quote.
        listed = listed.replace("\\", "\\\\")
    inline = {"mysql": f"ENUM({listed})", "duckdb": f"ENUM({listed})"}
    # PostgreSQL has named enumerations only.
    declared = name or inline.get(dialect, "TEXT")
    return EngineType("text", inline["mysql"] if dialect == "mysql" else declared, labels=labels)


def key_type(declared: EngineType, dialect: Dialect) -> EngineType:
    """The type of a column within a key: MySQL's keys hold no text without a length."""
    if dialect != "mysql" or declared.kind not in ("text", "bytes", "json") or declared.labels:
        return declared
    if 0 < declared.size <= _MYSQL_KEY_CHARACTERS:
        return declared
    return EngineType("text", f"VARCHAR({_MYSQL_KEY_CHARACTERS})", _MYSQL_KEY_CHARACTERS)
