"""Reads ``CREATE TABLE`` statements as people, data sets and dumps write them.

SQLite itself could parse most schemas, but not those of sql-create-context: a table may occur twice with different
columns, a column may be named ``drop`` or occur twice in different letter case, and foreign keys may point nowhere.
Here such declarations are merged, quoted or dropped, so that every schema yields tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from text2sql.sql.dumps import blank_non_sql
from text2sql.sql.schema import Column, ForeignKey, Schema, TableSchema, View
from text2sql.sql.table_parts import (
    closing_parenthesis,
    is_constraint,
    parenthesized_names,
    parse_part,
    qualified_name,
    split_at_commas,
)
from text2sql.sql.tokens import Token, fold, tokenize


@lru_cache(maxsize=256)
def parse_schema(ddl: str) -> Schema:
    """Parses the tables, views, full-text tables and unique indexes that a text creates, and constraints that it adds.

    Everything else is ignored. The result is shared between callers: copy it before changing it.
    """
    schema = Schema()
    ddl = blank_non_sql(ddl)
    tokens = tokenize(ddl)
    index = 0
    while index < len(tokens):
        if tokens[index].keyword == "CREATE":
            index = _parse_create(ddl, tokens, index + 1, schema)
        elif tokens[index].keyword == "ALTER":
            index = _parse_alter(tokens, index + 1, schema)
        else:
            index += 1
    schema.tables = {name: table for name, table in schema.tables.items() if table.columns}
    _drop_invalid_keys(schema)
    return schema


class TableStatement(NamedTuple):
    """A ``CREATE TABLE`` statement as tokens.

    Attributes:
        start: The position in the text where it starts.
        name: The token of the table's name, without the schema.
        parts: The tokens of each column and of each constraint, in order; empty for ``AS SELECT``.
        options: The tokens behind the closing parenthesis.
    """

    start: int
    name: Token
    parts: list[list[Token]]
    options: list[Token]


@lru_cache(maxsize=1024)
def table_statements(ddl: str) -> tuple[TableStatement, ...]:
    """The ``CREATE TABLE`` statements of a text as tokens; `parse_schema` gives their meaning."""
    tokens = tokenize(blank_non_sql(ddl))
    result = []
    for index, token in enumerate(tokens):
        if token.keyword != "CREATE":
            continue
        kind, name_index = _read_head(tokens, index + 1)
        if kind == "TABLE" and name_index < len(tokens):
            _, body = qualified_name(tokens, name_index)
            has_body = body < len(tokens) and tokens[body].text == "("
            closing = closing_parenthesis(tokens, body) if has_body else body
            end = _statement_end(tokens, closing)
            parts = list(split_at_commas(tokens[body + 1 : closing]))
            result.append(TableStatement(token.start, tokens[body - 1], parts, tokens[closing + 1 : end]))
    return tuple(result)


def added_columns(ddl: str) -> Iterator[tuple[str, list[Token]]]:
    """The columns of ``ALTER TABLE ... ADD``, as (table in lower case, tokens)."""
    tokens = tokenize(blank_non_sql(ddl))
    for index, token in enumerate(tokens):
        if token.keyword == "ALTER":
            name, parts, _ = _read_additions(tokens, index + 1)
            yield from ((name, part) for part in parts if not is_constraint(part))


def created_names(ddl: str) -> Iterator[tuple[str, ...]]:
    """The names of the tables and views that a text creates, each with its qualifiers in front."""
    tokens = tokenize(blank_non_sql(ddl))
    for index, token in enumerate(tokens):
        kind, name_index = _read_head(tokens, index + 1) if token.keyword == "CREATE" else ("", 0)
        if kind in ("TABLE", "VIEW") and name_index < len(tokens):
            _, end = qualified_name(tokens, name_index)
            yield tuple(part.name for part in tokens[name_index:end:2])


_MODIFIERS = frozenset(
    ["OR", "REPLACE", "TEMP", "TEMPORARY", "GLOBAL", "LOCAL", "EXTERNAL", "VIRTUAL", "UNLOGGED", "FOREIGN"]
) | {"MATERIALIZED", "RECURSIVE"}
# What MySQL's dumps have between CREATE and VIEW: ALGORITHM=UNDEFINED DEFINER=`root`@`%` SQL SECURITY DEFINER.
_VIEW_OPTIONS = frozenset(("ALGORITHM", "DEFINER", "SQL"))
_OTHER_KINDS = frozenset(("FUNCTION", "PROCEDURE", "TRIGGER", "EVENT", ";"))


def _read_head(tokens: list[Token], index: int) -> tuple[str, int]:
    """The kind of a CREATE statement (TABLE, VIRTUAL TABLE, VIEW, UNIQUE INDEX or ""), and the index of the name."""
    kind = ""
    while index < len(tokens) and tokens[index].keyword in _MODIFIERS:
        kind = "VIRTUAL " if tokens[index].keyword == "VIRTUAL" else kind
        index += 1
    if index < len(tokens) and tokens[index].keyword in _VIEW_OPTIONS:
        while index < len(tokens) and tokens[index].keyword != "VIEW" and tokens[index].keyword not in _OTHER_KINDS:
            index += 1
    if [token.keyword for token in tokens[index : index + 2]] == ["UNIQUE", "INDEX"]:
        kind, index = "UNIQUE ", index + 1
    if index >= len(tokens) or tokens[index].keyword not in ("TABLE", "VIEW", *(["INDEX"] if kind else [])):
        return "", index
    kind += tokens[index].keyword
    index += 1
    return kind, index + 3 if [token.keyword for token in tokens[index : index + 3]] == [
        "IF",
        "NOT",
        "EXISTS",
    ] else index


def _parse_create(ddl: str, tokens: list[Token], index: int, schema: Schema) -> int:
    """Parses one statement after CREATE; returns the index of the token after it."""
    kind, index = _read_head(tokens, index)
    if not kind or index >= len(tokens):
        return index
    if kind == "UNIQUE INDEX":
        return _parse_unique_index(ddl, tokens, index, schema)
    name, index = qualified_name(tokens, index)
    if kind.endswith("VIEW"):
        return _parse_view(ddl, name, tokens, index, schema)
    if kind == "VIRTUAL TABLE":
        return _parse_full_text(name, tokens, index, schema)
    like = (
        1 if _keywords(tokens, index, 1) == ["LIKE"] else 2 if _keywords(tokens, index, 2) == ["PARTITION", "OF"] else 0
    )
    if index >= len(tokens) or (tokens[index].text != "(" and not like):
        return index
    table = schema.tables.setdefault(fold(name), TableSchema(name))
    if like:
        return _copy_columns(table, tokens, index + like, schema, keys=True, checks=True)
    end = closing_parenthesis(tokens, index)
    for part in split_at_commas(tokens[index + 1 : end]):
        if part[0].keyword == "LIKE" and len(part) > 1 and fold(qualified_name(part, 1)[0]) in schema.tables:
            options = {token.keyword for token in part[2:]}
            keys, checks = bool({"ALL", "INDEXES"} & options), bool({"ALL", "CONSTRAINTS"} & options)
            _copy_columns(table, part, 1, schema, keys=keys, checks=checks)
        else:
            parse_part(part, table)
    index = end + 1
    while index < len(tokens) and tokens[index].text != ";" and tokens[index].keyword != "CREATE":
        table.without_rowid |= _keywords(tokens, index, 2) == ["WITHOUT", "ROWID"]
        if _keywords(tokens, index, 2) == ["INHERITS", "("]:
            for parent in split_at_commas(tokens[index + 2 : closing_parenthesis(tokens, index + 1)]):
                _copy_columns(table, parent, 0, schema, keys=False, checks=True)
        index += 1
    return index


def _statement_end(tokens: list[Token], start: int) -> int:
    """The index of the semicolon that ends a statement, or of the end of the text."""
    return next((index for index in range(start, len(tokens)) if tokens[index].text == ";"), len(tokens))


def _keywords(tokens: list[Token], index: int, count: int) -> list[str]:
    return [token.keyword for token in tokens[index : index + count]]


def _copy_columns(
    table: TableSchema, tokens: list[Token], index: int, schema: Schema, *, keys: bool, checks: bool
) -> int:
    """Copies the columns of the table named at `index` into another table, with its keys and CHECKs if asked for."""
    if index >= len(tokens):
        return index
    name, index = qualified_name(tokens, index)
    parent = schema.tables.get(fold(name))
    if parent is not None and parent is not table:
        table.like.append(fold(name))
        declared, table.columns = table.columns, {key: replace(column) for key, column in parent.columns.items()}
        table.columns |= declared
        table.checks += parent.checks if checks else []
        if keys:
            table.primary_key = table.primary_key or parent.primary_key
            table.uniques += parent.uniques
            table.indexes += parent.indexes
    return index


def _parse_unique_index(ddl: str, tokens: list[Token], index: int, schema: Schema) -> int:
    """Parses ``[name] ON table [USING method] (columns) [WHERE condition]`` as a key or as an index of its table."""
    while index < len(tokens) and tokens[index].keyword != "ON" and tokens[index].text != ";":
        index += 1
    if index + 1 >= len(tokens) or tokens[index].text == ";":
        return index
    name, index = qualified_name(tokens, index + 1)
    table = schema.tables.get(fold(name))
    while index < len(tokens) and tokens[index].text not in ("(", ";"):
        index += 1
    end = _statement_end(tokens, index)
    if table is None or index >= end:
        return end
    closing = closing_parenthesis(tokens, index)
    parts = list(split_at_commas(tokens[index + 1 : closing]))
    has_columns_only = all(len(part) == 1 or (len(part) == 2 and part[1].keyword in ("ASC", "DESC")) for part in parts)
    if has_columns_only and closing + 1 >= end:
        table.uniques.append(tuple(fold(part[0].name) for part in parts))
    elif parts:
        table.indexes.append(ddl[tokens[index].start : tokens[end - 1].end])
    return end


def _parse_alter(tokens: list[Token], index: int, schema: Schema) -> int:
    """Parses added constraints and columns, as dumps and migrations have them; other changes are ignored."""
    name, parts, end = _read_additions(tokens, index)
    table = schema.tables.get(name)
    if table is not None:
        for part in parts:
            parse_part(part, table)
    return end


def _read_additions(tokens: list[Token], index: int) -> tuple[str, list[list[Token]], int]:
    """Reads ``TABLE [ONLY] name ADD part, ...``: the table in lower case, the added parts, and the index after them."""
    end = _statement_end(tokens, index)
    if index >= end or tokens[index].keyword != "TABLE":
        return "", [], index
    index += 1
    while index < end and tokens[index].keyword in ("ONLY", "IF", "EXISTS"):
        index += 1
    if index >= end:
        return "", [], end
    name, index = qualified_name(tokens, index)
    parts = []
    if _keywords(tokens, index, 2) == ["ADD", "("]:
        return fold(name), list(split_at_commas(tokens[index + 2 : closing_parenthesis(tokens, index + 1)])), end
    for part in split_at_commas(tokens[index:end]) if index < end and tokens[index].keyword == "ADD" else ():
        skipped = 1 if part[0].keyword == "ADD" else 0
        skipped += _keywords(part, skipped, 1) == ["COLUMN"]
        skipped += 3 * (_keywords(part, skipped, 3) == ["IF", "NOT", "EXISTS"])
        # After a comma may come a change that is not an addition.
        if part[skipped:] and (skipped or is_constraint(part)):
            parts.append(part[skipped:])
    return fold(name), parts, end


# Clauses after the query of a view, which do not change its rows.
_VIEW_SUFFIXES = (
    ("WITH", "NO", "DATA"),
    ("WITH", "DATA"),
    ("WITH", "CHECK", "OPTION"),
    ("WITH", "CASCADED", "CHECK", "OPTION"),
    ("WITH", "LOCAL", "CHECK", "OPTION"),
    ("WITH", "READ", "ONLY"),
)


def _parse_view(ddl: str, name: str, tokens: list[Token], index: int, schema: Schema) -> int:
    """Parses ``[(columns)] AS query`` after the name of a view."""
    columns: tuple[str, ...] = ()
    if index < len(tokens) and tokens[index].text == "(":
        columns, index = parenthesized_names(tokens, index)
    if index + 1 >= len(tokens) or tokens[index].keyword != "AS":
        return index
    end = _statement_end(tokens, index)
    last = end
    for words in _VIEW_SUFFIXES:
        last -= len(words) * (tuple(_keywords(tokens, last - len(words), len(words))) == words)
    # If a view is created again, as in MySQL's dumps, the last one counts, and may read views created in between.
    schema.views.pop(fold(name), None)
    schema.views[fold(name)] = View(name, columns, ddl[tokens[index + 1].start : tokens[last - 1].end])
    return end


# Options of a full-text table that change what matches without reading other tables.
_FULL_TEXT_OPTIONS = frozenset(("TOKENIZE", "PREFIX"))


def _parse_full_text(name: str, tokens: list[Token], index: int, schema: Schema) -> int:
    """Parses ``USING fts5(columns, options)`` after the name of a virtual table; other modules are ignored."""
    if index + 2 >= len(tokens) or tokens[index].keyword != "USING" or tokens[index + 2].text != "(":
        return index
    module, end = tokens[index + 1].text.lower(), closing_parenthesis(tokens, index + 2)
    if module not in ("fts3", "fts4", "fts5"):
        return end
    table = schema.tables.setdefault(fold(name), TableSchema(name, full_text=module))
    options = []
    for part in split_at_commas(tokens[index + 3 : end]):
        if len(part) > 1 and part[1].text == "=":
            options += [" ".join(token.text for token in part)] if part[0].keyword in _FULL_TEXT_OPTIONS else []
        else:
            table.add(Column(part[0].name, "TEXT"))
    table.full_text = " ".join([module, *([", ".join(options)] if options else [])])
    return end


def _drop_invalid_keys(schema: Schema) -> None:
    """Drops keys over missing columns, and foreign keys that SQLite would call mismatched.

    A foreign key must point at a primary or unique key (https://sqlite.org/foreignkeys.html#fk_indexes).
    """
    for table in schema.tables.values():
        known = table.columns.keys()
        generated = {key for key, column in table.columns.items() if column.generated}
        if not set(table.primary_key) <= known - generated:
            table.primary_key = ()
        table.foreign_keys = [key for key in table.foreign_keys if not generated & set(key.columns)]
        table.uniques = [key for key in dict.fromkeys(table.uniques) if key and set(key) <= known]
    for table in schema.tables.values():
        valid = []
        for key in table.foreign_keys:
            parent = schema.tables.get(key.parent)
            targets = key.parent_columns or (parent.primary_key if parent else ())
            is_valid = (
                parent is not None and len(targets) == len(key.columns) and set(key.columns) <= table.columns.keys()
            )
            if is_valid and parent is not None and any(set(targets) == set(parent_key) for parent_key in parent.keys):
                valid.append(ForeignKey(key.columns, key.parent, targets))
        table.foreign_keys = valid
