"""The tables of a database on a server, through SQLAlchemy's inspector."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from text2sql.engines.user_databases.server import Server
from text2sql.engines.user_databases.table_text import Column, ForeignKey, Quote, Table
from text2sql.sql.sandbox import QueryFailed

# Tables and views that the role may read, without partitions and without the objects of extensions.
_READABLE = r"""
SELECT n.nspname, c.relname, n.nspname = current_schema() FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition AND n.nspname NOT LIKE 'pg\_%'
  AND n.nspname <> 'information_schema' AND has_schema_privilege(n.oid, 'USAGE')
  AND has_any_column_privilege(c.oid, 'SELECT')
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')"""
_MARIADB_CHECKS = """
SELECT table_name, check_clause FROM information_schema.check_constraints
WHERE constraint_schema = DATABASE() AND level = 'Column' ORDER BY 1, 2"""


def server_tables(server: Server) -> tuple[list[Table], Quote]:
    """The tables and views that the role may read, and the function that quotes their names.

    Raises:
        QueryFailed: The server refuses to tell.
        UserError: The connection is lost.
    """
    readable: dict[str | None, set[str]] = {None: set()}
    postgres = server.location.dialect == "postgres"
    if postgres:
        for schema, name, usual in server.fetch(_READABLE).rows:
            readable.setdefault(None if usual == "true" else str(schema), set()).add(str(name))
    quote: Quote = server.connection.dialect.identifier_preparer.quote
    extra = {} if postgres else _column_checks(server)
    tables: list[Table] = []
    with server.failures():
        try:
            for schema in sorted(readable, key=lambda name: name or ""):
                tables += _reflect_schema(server, schema, readable[schema] if postgres else None)
        finally:
            server.connection.rollback()
    return [replace(table, checks=table.checks + tuple(extra.get(table.name, ()))) for table in tables], quote


def _column_checks(server: Server) -> dict[str, list[str]]:
    """The CHECKs of single columns, by table: MariaDB lists them apart, where SQLAlchemy's inspector does not look."""
    checks: dict[str, list[str]] = {}
    with suppress(QueryFailed):
        for table, condition in server.fetch(_MARIADB_CHECKS).rows:
            checks.setdefault(str(table), []).append(str(condition))
    return checks


def _reflect_schema(server: Server, schema: str | None, readable: set[str] | None) -> list[Table]:
    """The tables and views of one schema, tables first."""
    from sqlalchemy import inspect
    from sqlalchemy.engine.reflection import ObjectKind

    inspector = inspect(server.connection)
    quote: Quote = server.connection.dialect.identifier_preparer.quote
    filters: dict[str, Any] = {"schema": schema, "filter_names": sorted(readable) if readable is not None else None}
    everything, tables = {**filters, "kind": ObjectKind.ANY}, {**filters, "kind": ObjectKind.TABLE}
    columns: Mapping[Any, Any] = inspector.get_multi_columns(**everything)
    comments: Mapping[Any, Any] = inspector.get_multi_table_comment(**everything)
    primary: Mapping[Any, Any] = inspector.get_multi_pk_constraint(**tables)
    foreign: Mapping[Any, Any] = inspector.get_multi_foreign_keys(**tables)
    uniques: Mapping[Any, Any] = inspector.get_multi_unique_constraints(**tables)
    checks: Mapping[Any, Any] = inspector.get_multi_check_constraints(**tables)
    views = {*inspector.get_view_names(schema), *_materialized_views(inspector, schema)}
    result = []
    for key in sorted(columns, key=lambda key: (key[1] in views, key[1])):
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
    text = re.sub(r" (?:CHARACTER SET|CHARSET) \S+| COLLATE (?!\S+_(?:bin|cs)\b)\S+", "", text)
    return re.sub(r"^((?!TINYINT)\w*INT(?:EGER)?)\(\d+\)", r"\1", text)
