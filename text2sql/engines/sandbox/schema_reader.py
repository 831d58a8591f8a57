"""Reads CREATE TABLE statements into an `EngineSchema`."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from text2sql.engines.declared.collations import engine_collation, is_nondeterministic
from text2sql.engines.declared.created_collations import created_collations
from text2sql.engines.declared.created_types import created_types
from text2sql.engines.declared.inheritance import read_inheritance
from text2sql.engines.declared.types import EngineType, engine_type, is_serial, quote_type_name
from text2sql.engines.dialect import Dialect
from text2sql.engines.sandbox.engine_schema import EngineColumn, EngineSchema, quote_name, sqlite_expression
from text2sql.sql.ddl import added_columns, parse_schema, table_statements
from text2sql.sql.schema import TableSchema
from text2sql.sql.table_parts import closing_parenthesis, end_of_type, is_constraint
from text2sql.sql.tokens import Token, fold, quote_identifier, tokenize


@lru_cache(maxsize=128)
def read_engine_schema(ddl: str, dialect: Dialect, *, ignore_quotes: bool = False) -> EngineSchema:
    """Reads ``CREATE TABLE`` statements for an engine. The result is shared: copy what you change.

    Args:
        ddl: The statements.
        dialect: The engine's dialect.
        ignore_quotes: Whether quoted names are read as unquoted ones, which are the same in any letter case.
    """
    result = EngineSchema(dialect, parse_schema(ddl).copy(), types=created_types(ddl))
    if dialect == "postgres":
        result.collations, result.inheritance = created_collations(ddl), read_inheritance(ddl)
    _read_columns(ddl, result, ignore_quotes)
    for table, schema in result.schema.tables.items():
        _copy_columns_of_like(table, schema, result)
        _adapt_for_row_generator(table, schema, result)
    result.enums = _used_enums(result)
    return result


def _read_columns(ddl: str, schema: EngineSchema, ignore_quotes: bool) -> None:
    reader = _ColumnReader(ddl, schema, ignore_quotes)
    for statement in table_statements(ddl):
        table = fold(statement.name.name)
        if table in schema.schema.tables and table not in schema.table_names:
            schema.table_names[table] = _engine_name(statement.name, schema.dialect, ignore_quotes)
            for part in statement.parts:
                reader.read(table, part, statement.options)
    for table, part in added_columns(ddl):
        reader.read(table, part, [])


def _copy_columns_of_like(name: str, table: TableSchema, schema: EngineSchema) -> None:
    """Gives a table of ``CREATE TABLE name (LIKE parent)`` the columns of its parent."""
    for parent in table.like:
        for (owner, key), column in list(schema.columns.items()):
            if owner == parent:
                schema.columns.setdefault((name, key), column)


def _used_enums(schema: EngineSchema) -> dict[str, tuple[str, ...]]:
    """The created enumerations that some column or field has; MySQL writes them into its columns."""
    if schema.dialect == "mysql":
        return {}
    types = [column.type for column in schema.columns.values()]
    types += [part for kind in schema.composites.values() for _, part in kind.fields]
    used = {kind.sql.strip('"').lower().split(".")[-1] for kind in types}
    return {name: labels for name, labels in schema.types.enums.items() if name in used}


class _ColumnReader:
    """Reads columns from their tokens into a schema.

    Args:
        ddl: The text that the tokens are from.
        schema: The schema to fill.
        ignore_quotes: See `read_engine_schema`.
    """

    def __init__(self, ddl: str, schema: EngineSchema, ignore_quotes: bool) -> None:
        self._ddl, self._schema, self._ignore_quotes = ddl, schema, ignore_quotes

    def read(self, table: str, part: list[Token], options: list[Token]) -> None:
        """Reads one part of a table's body, if it is a column that has not been read yet.

        Args:
            table: The table, in lower case.
            part: The tokens of the part.
            options: The tokens behind the table's body.
        """
        schema, key = self._schema, fold(part[0].name)
        table_schema = schema.schema.tables.get(table)
        if table_schema is None or is_constraint(part) or key not in table_schema.columns:
            return
        if (table, key) in schema.columns:
            return
        end = end_of_type(part)
        declared = self._ddl[part[1].start : part[end - 1].end] if end > 1 else ""
        domain, generated = schema.types.domain(declared), self._generated_expression(part)
        if domain is not None:
            declared = domain.type
            table_schema.checks += [domain.condition(part[0].text)] if domain.check else []
        # DuckDB infers the type of a generated column that declares none.
        infers_type = bool(generated) and not declared
        kind = EngineType("decimal", "") if infers_type else self._type(declared)
        collation = engine_collation(part, options, schema.dialect, schema.collations) if kind.kind == "text" else ""
        name = _engine_name(part[0], schema.dialect, self._ignore_quotes)
        schema.columns[table, key] = EngineColumn(name, kind, collation, generated)
        table_schema.columns[key].not_null |= is_serial(declared) or (domain is not None and domain.not_null)

    def _type(self, declared: str) -> EngineType:
        composite = self._schema.types.composite(declared) if self._schema.dialect == "postgres" else None
        if composite is None:
            return engine_type(declared, self._schema.dialect, self._schema.types.enums)
        name, fields = composite
        field_types = tuple((field, self._type(text)) for field, text in fields)
        struct = self._schema.composites[name] = EngineType("struct", quote_type_name(name), fields=field_types)
        return struct

    def _generated_expression(self, part: list[Token]) -> str:
        """The expression of a generated column; empty for all others."""
        for index in range(1, len(part) - 1):
            if part[index].keyword == "AS" and part[index + 1].text == "(":
                closing = closing_parenthesis(part, index + 1)
                return self._ddl[part[index + 1].end : part[min(closing, len(part) - 1)].start]
        return ""


def _engine_name(token: Token, dialect: Dialect, ignore_quotes: bool) -> str:
    return quote_name(token.name, dialect, quoted=token.kind in ("dquoted", "quoted") and not ignore_quotes)


def _adapt_for_row_generator(name: str, table: TableSchema, schema: EngineSchema) -> None:
    """Gives a SQLite table the types, collations and CHECKs with which its rows fit the engine's columns."""
    table.checks = [check for text in table.checks if (check := sqlite_expression(text, schema))]
    for key, column in table.columns.items():
        engine_column = schema.column(name, key)
        kind = engine_column.type
        ignores_case = is_nondeterministic(kind, engine_column.collation, schema.dialect, schema.collations)
        generated = ""
        if engine_column.generated:
            translated = sqlite_expression(engine_column.generated, schema)
            generated = translated or _null_expression(engine_column.generated, table)
        table.columns[key] = replace(
            column, type=kind.sqlite_type, collation="NOCASE" if ignores_case else "", generated=generated
        )
        if kind.labels and not kind.is_set:
            labels = ", ".join("'" + label.replace("'", "''") + "'" for label in kind.labels)
            table.checks.append(f"{quote_identifier(column.name)} IN ({labels})")


def _null_expression(expression: str, table: TableSchema) -> str:
    """An expression that is NULL and reads the same columns, in place of one that SQLite cannot compute."""
    names = [quote_identifier(token.name) for token in tokenize(expression) if fold(token.name) in table.columns]
    return f"CASE WHEN 0 THEN COALESCE(NULL, {', '.join(names or ['NULL'])}) END"
