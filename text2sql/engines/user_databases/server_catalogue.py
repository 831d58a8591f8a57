"""The tables of a database on a server, through SQLAlchemy's inspector."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from text2sql.engines.user_databases.server import Server
from text2sql.engines.user_databases.table_text import Column, ForeignKey, Quote, Table, only_readable
from text2sql.sql.sandbox import QueryFailed

# Columns of tables and views that the role may read, without the objects of extensions. A partition is left out where
# the role may read the table that it is part of.
_POSTGRES_READABLE = r"""
SELECT n.nspname, c.relname, n.nspname = current_schema(), a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
  AND has_schema_privilege(n.oid, 'USAGE') AND a.attnum > 0 AND NOT a.attisdropped
  AND has_column_privilege(c.oid, a.attnum, 'SELECT')
  AND NOT EXISTS (SELECT 1 FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
    WHERE i.inhrelid = c.oid AND c.relispartition AND has_schema_privilege(p.relnamespace, 'USAGE')
      AND has_any_column_privilege(p.oid, 'SELECT'))
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
ORDER BY a.attnum"""
# The same of MySQL and MariaDB, with what describes a column where SHOW CREATE TABLE is denied to the role.
_MYSQL_READABLE = """
SELECT table_name, column_name, column_type, is_nullable, column_comment FROM information_schema.columns
WHERE table_schema = DATABASE() AND FIND_IN_SET('select', privileges) ORDER BY ordinal_position"""
_MARIADB_CHECKS = """
SELECT table_name, check_clause FROM information_schema.check_constraints
WHERE constraint_schema = DATABASE() AND level = 'Column' ORDER BY 1, 2"""


# Of each schema, by the name that qualifies its tables or None: the readable columns of its readable tables. What else
# a column has is for SQLAlchemy's inspector.
Readable = Mapping[str | None, Mapping[str, Sequence[Column]]]


def server_tables(server: Server) -> tuple[list[Table], Quote]:
    """The tables, views and columns that the role may read, and the function that quotes their names.

    Raises:
        QueryFailed: The server refuses to tell.
        UserError: The connection is lost.
    """
    preparer = server.connection.dialect.identifier_preparer

    def quote(name: str) -> str:
        # SQLAlchemy doubles the sign for drivers' parameters, which no query here has.
        return str(preparer.quote(name)).replace("%%", "%")

    postgres = server.location.dialect == "postgres"
    readable = _postgres_readable(server) if postgres else _mysql_readable(server)
    extra = {} if postgres else _column_checks(server)
    types = {
        _sql_name(schema, name, quote): {column.name: column.type for column in columns}
        for schema, tables in readable.items()
        for name, columns in tables.items()
    }
    result: list[Table] = []
    for schema in sorted(readable, key=lambda name: name or ""):
        described = {table.name: table for table in _described(server, schema, readable[schema], quote)}
        for name, table in described.items():
            described[name] = replace(table, checks=table.checks + tuple(extra.get(name, ())))
        plain = [
            Table(name, _sql_name(schema, name, quote), tuple(columns)) for name, columns in readable[schema].items()
        ]
        # The inspector skips what it cannot read, such as a column whose name has two lines.
        result += [
            only_readable(described[table.name], types, server.location.dialect)
            if table.name in described and _names(table) <= _names(described[table.name])
            else table
            for table in sorted(plain, key=lambda table: _rank(table.name, described))
        ]
    return result, quote


def _described(server: Server, schema: str | None, names: Collection[str], quote: Quote) -> list[Table]:
    """The tables of one schema whose definition the role may see."""
    try:
        return _reflect_schema(server, schema, names, quote)
    except QueryFailed:
        if server.location.dialect == "postgres":
            raise
    # One table whose definition is denied fails all of them. To ask for each takes half as long as to read it.
    return _reflect_schema(server, schema, [name for name in names if _is_definition_shown(server, quote(name))], quote)


def _names(table: Table) -> set[str]:
    return {column.name for column in table.columns}


def _rank(name: str, described: Mapping[str, Table]) -> tuple[bool, str]:
    """The place of a table: views follow tables."""
    return name in described and described[name].view is not None, name


def _postgres_readable(server: Server) -> Readable:
    readable: dict[str | None, dict[str, list[Column]]] = {}
    for schema, table, usual, name, data_type in server.fetch(_POSTGRES_READABLE).rows:
        tables = readable.setdefault(None if usual == "true" else str(schema), {})
        tables.setdefault(str(table), []).append(Column(str(name), str(data_type)))
    return readable


def _mysql_readable(server: Server) -> Readable:
    readable: dict[str, list[Column]] = {}
    for table, name, data_type, nullable, comment in server.fetch(_MYSQL_READABLE).rows:
        column = Column(str(name), _plain_type(str(data_type)), nullable == "NO", comment=str(comment or "") or None)
        readable.setdefault(str(table), []).append(column)
    return {None: readable}


def _is_definition_shown(server: Server, sql_name: str) -> bool:
    """Whether the role may see a table's CREATE statement, for which the right to read some columns is not enough."""
    try:
        server.fetch(f"SHOW CREATE TABLE {sql_name}")
    except QueryFailed:
        return False
    return True


def _column_checks(server: Server) -> dict[str, list[str]]:
    """The CHECKs of single columns, by table: MariaDB lists them apart, where SQLAlchemy's inspector does not look."""
    checks: dict[str, list[str]] = {}
    with suppress(QueryFailed):
        for table, condition in server.fetch(_MARIADB_CHECKS).rows:
            checks.setdefault(str(table), []).append(str(condition))
    return checks


def _reflect_schema(server: Server, schema: str | None, names: Collection[str], quote: Quote) -> list[Table]:
    """Some tables and views of one schema with all of their columns, as SQLAlchemy's inspector describes them."""
    from sqlalchemy.exc import SAWarning

    if not names:
        # An empty list of names would mean every table to the inspector.
        return []
    with server.failures(), warnings.catch_warnings():
        # It warns of types that it does not know and of lines that it cannot read; both are known here from elsewhere.
        warnings.simplefilter("ignore", SAWarning)
        try:
            return _inspect(server, schema, names, quote)
        finally:
            server.connection.rollback()


def _inspect(server: Server, schema: str | None, names: Collection[str], quote: Quote) -> list[Table]:
    from sqlalchemy import inspect
    from sqlalchemy.engine.reflection import ObjectKind

    inspector = inspect(server.connection)
    filters: dict[str, Any] = {"schema": schema, "filter_names": sorted(names)}
    everything, tables = {**filters, "kind": ObjectKind.ANY}, {**filters, "kind": ObjectKind.TABLE}
    columns: Mapping[Any, Any] = inspector.get_multi_columns(**everything)
    comments: Mapping[Any, Any] = inspector.get_multi_table_comment(**everything)
    primary: Mapping[Any, Any] = inspector.get_multi_pk_constraint(**tables)
    foreign: Mapping[Any, Any] = inspector.get_multi_foreign_keys(**tables)
    uniques: Mapping[Any, Any] = inspector.get_multi_unique_constraints(**tables)
    checks: Mapping[Any, Any] = inspector.get_multi_check_constraints(**tables)
    views = {*inspector.get_view_names(schema), *_materialized_views(inspector, schema)}
    result = []
    for key in columns:
        name = key[1]
        result.append(
            Table(
                name=name,
                sql_name=_sql_name(schema, name, quote),
                columns=tuple(_column(column, server) for column in columns[key]),
                primary_key=tuple((primary.get(key) or {}).get("constrained_columns") or ()),
                uniques=tuple(tuple(unique["column_names"]) for unique in uniques.get(key) or ()),
                foreign_keys=tuple(
                    ForeignKey(
                        tuple(reference["constrained_columns"]),
                        _sql_name(reference["referred_schema"], reference["referred_table"], quote),
                        tuple(reference["referred_columns"]),
                    )
                    for reference in foreign.get(key) or ()
                ),
                checks=tuple(check["sqltext"] for check in checks.get(key) or ()),
                comment=(comments.get(key) or {}).get("text"),
                view=_view_query(inspector, name, schema) if name in views else None,
            )
        )
    return result


def _materialized_views(inspector: Any, schema: str | None) -> list[str]:
    try:
        return list(inspector.get_materialized_view_names(schema))
    except NotImplementedError:
        return []


def _view_query(inspector: Any, name: str, schema: str | None) -> str:
    """The query of a view; empty where the role may not see it."""
    from sqlalchemy.exc import NoSuchTableError

    try:
        text = inspector.get_view_definition(name, schema) or ""
    except NoSuchTableError:
        return ""
    return re.sub(r"\ACREATE\b.*?\bVIEW\b.*?\bAS\b", "", text, count=1, flags=re.IGNORECASE | re.DOTALL).strip()


def _sql_name(schema: str | None, name: str, quote: Quote) -> str:
    return str(quote(name)) if schema is None else f"{quote(schema)}.{quote(name)}"


def _column(column: Mapping[str, Any], server: Server) -> Column:
    sql_type = column["type"]
    # A domain stands for its base type: its name means nothing outside its server.
    sql_type = getattr(sql_type, "data_type", None) or sql_type
    has_enum_values = server.location.dialect == "postgres" and getattr(sql_type, "enums", None)
    generated = column.get("computed") or column.get("identity")
    return Column(
        name=column["name"],
        type="TEXT" if has_enum_values else _type_text(sql_type, server),
        not_null=not column["nullable"],
        default=None if generated else column["default"],
        comment=column.get("comment"),
        choices=tuple(sql_type.enums) if has_enum_values else (),
        generated=(column.get("computed") or {}).get("sqltext"),
    )


def _type_text(sql_type: Any, server: Server) -> str:
    """A type as the server spells it; empty if SQLAlchemy cannot compile it.

    MySQL's display widths of integers and case-insensitive collations are left out, because they say little.
    """
    from sqlalchemy.exc import CompileError

    try:
        text = str(sql_type.compile(dialect=server.connection.dialect))
    except CompileError:
        return ""
    return _plain_type(text)


def _plain_type(text: str) -> str:
    """A type without the display width of an integer, the character set and the case-insensitive collation."""
    text = re.sub(r" (?:CHARACTER SET|CHARSET) \S+| COLLATE (?!\S+_(?:bin|cs)\b)\S+", "", text)
    return re.sub(r"^((?!TINYINT)\w*INT(?:EGER)?)\(\d+\)", r"\1", text, flags=re.IGNORECASE)
