"""Reads ``CREATE TABLE`` statements as people, data sets and dumps write them.

SQLite itself could parse most schemas, but not those of sql-create-context: a table may occur twice with other columns,
a column may be named ``drop`` or occur twice in other cases, and foreign keys may point nowhere. Here such
declarations are merged, quoted or dropped, so that every schema yields tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from text2sql.sql.dumps import statements_alone
from text2sql.sql.schema import Column, ForeignKey, Schema, TableSchema, View
from text2sql.sql.table_parts import is_constraint, matching, names_in, parse_part, qualified_name, split_at_commas
from text2sql.sql.tokens import Token, fold, tokenize


@lru_cache(maxsize=256)
def parse_schema(ddl: str) -> Schema:
    """Parses every table, view, full-text table and unique index that a text creates, and constraints that it adds.

    All else in it is ignored. The result is shared between callers: copy it before changing it.
    """
    schema = Schema()
    ddl = statements_alone(ddl)
    tokens = tokenize(ddl)
    at = 0
    while at < len(tokens):
        if tokens[at].keyword == "CREATE":
            at = _parse_create(ddl, tokens, at + 1, schema)
        elif tokens[at].keyword == "ALTER":
            at = _parse_alter(tokens, at + 1, schema)
        else:
            at += 1
    schema.tables = {name: table for name, table in schema.tables.items() if table.columns}
    _drop_broken_keys(schema)
    return schema


class TableStatement(NamedTuple):
    """A ``CREATE TABLE`` as it is spelt.

    Attributes:
        start: Where it begins in the text.
        name: The token of the table's name, without the schema's.
        parts: The tokens of each column and of each constraint, in order; none behind ``AS SELECT``.
        options: The tokens behind the closing parenthesis.
    """

    start: int
    name: Token
    parts: list[list[Token]]
    options: list[Token]


@lru_cache(maxsize=1024)
def table_statements(ddl: str) -> tuple[TableStatement, ...]:
    """Every ``CREATE TABLE`` of a text as it is spelt, for what shows schemas; `parse_schema` says what they mean."""
    tokens = tokenize(statements_alone(ddl))
    found = []
    for place, token in enumerate(tokens):
        if token.keyword != "CREATE":
            continue
        kind, at = _read_head(tokens, place + 1)
        if kind == "TABLE" and at < len(tokens):
            _, body = qualified_name(tokens, at)
            has_body = body < len(tokens) and tokens[body].text == "("
            closed = matching(tokens, body) if has_body else body
            end = next((index for index in range(closed, len(tokens)) if tokens[index].text == ";"), len(tokens))
            parts = list(split_at_commas(tokens[body + 1 : closed]))
            found.append(TableStatement(token.start, tokens[body - 1], parts, tokens[closed + 1 : end]))
    return tuple(found)


def added_columns(ddl: str) -> Iterator[tuple[str, list[Token]]]:
    """Every column that an ``ALTER TABLE ... ADD`` brings: its table in lower case, and its tokens."""
    tokens = tokenize(statements_alone(ddl))
    for place, token in enumerate(tokens):
        if token.keyword == "ALTER":
            name, parts, _ = _read_additions(tokens, place + 1)
            yield from ((name, part) for part in parts if not is_constraint(part))


def created_names(ddl: str) -> Iterator[tuple[str, ...]]:
    """The name of every table and view that a text creates, behind the names that qualify it."""
    tokens = tokenize(statements_alone(ddl))
    for place, token in enumerate(tokens):
        kind, at = _read_head(tokens, place + 1) if token.keyword == "CREATE" else ("", 0)
        if kind in ("TABLE", "VIEW") and at < len(tokens):
            _, end = qualified_name(tokens, at)
            yield tuple(part.name for part in tokens[at:end:2])


_BEFORE_KIND = frozenset(
    ["OR", "REPLACE", "TEMP", "TEMPORARY", "GLOBAL", "LOCAL", "EXTERNAL", "VIRTUAL", "UNLOGGED", "FOREIGN"]
) | {"MATERIALIZED", "RECURSIVE"}
# MySQL's dumps say more between CREATE and VIEW: ALGORITHM=UNDEFINED DEFINER=`root`@`%` SQL SECURITY DEFINER.
_DEFINED = frozenset(("ALGORITHM", "DEFINER", "SQL"))
_OTHER_KINDS = frozenset(("FUNCTION", "PROCEDURE", "TRIGGER", "EVENT", ";"))


def _read_head(tokens: list[Token], at: int) -> tuple[str, int]:
    """What a statement makes after CREATE (TABLE, VIRTUAL TABLE, VIEW, UNIQUE INDEX or ""), and where its name is."""
    kind = ""
    while at < len(tokens) and tokens[at].keyword in _BEFORE_KIND:
        kind = "VIRTUAL " if tokens[at].keyword == "VIRTUAL" else kind
        at += 1
    if at < len(tokens) and tokens[at].keyword in _DEFINED:
        while at < len(tokens) and tokens[at].keyword != "VIEW" and tokens[at].keyword not in _OTHER_KINDS:
            at += 1
    if [t.keyword for t in tokens[at : at + 2]] == ["UNIQUE", "INDEX"]:
        kind, at = "UNIQUE ", at + 1
    if at >= len(tokens) or tokens[at].keyword not in ("TABLE", "VIEW", *(["INDEX"] if kind else [])):
        return "", at
    kind += tokens[at].keyword
    at += 1
    return kind, at + 3 if [t.keyword for t in tokens[at : at + 3]] == ["IF", "NOT", "EXISTS"] else at


def _parse_create(ddl: str, tokens: list[Token], at: int, schema: Schema) -> int:
    """Parses one statement after CREATE; returns the index behind it."""
    kind, at = _read_head(tokens, at)
    if not kind or at >= len(tokens):
        return at
    if kind == "UNIQUE INDEX":
        return _parse_unique_index(ddl, tokens, at, schema)
    name, at = qualified_name(tokens, at)
    if kind.endswith("VIEW"):
        return _parse_view(ddl, name, tokens, at, schema)
    if kind == "VIRTUAL TABLE":
        return _parse_full_text(name, tokens, at, schema)
    like = 1 if _keywords(tokens, at, 1) == ["LIKE"] else 2 if _keywords(tokens, at, 2) == ["PARTITION", "OF"] else 0
    if at >= len(tokens) or (tokens[at].text != "(" and not like):
        return at
    table = schema.tables.setdefault(fold(name), TableSchema(name))
    if like:
        return _copy(table, tokens, at + like, schema, keys=True, checks=True)
    end = matching(tokens, at)
    for part in split_at_commas(tokens[at + 1 : end]):
        if part[0].keyword == "LIKE" and len(part) > 1 and fold(qualified_name(part, 1)[0]) in schema.tables:
            words = {token.keyword for token in part[2:]}
            keys, checks = bool({"ALL", "INDEXES"} & words), bool({"ALL", "CONSTRAINTS"} & words)
            _copy(table, part, 1, schema, keys=keys, checks=checks)
        else:
            parse_part(part, table)
    at = end + 1
    while at < len(tokens) and tokens[at].text != ";" and tokens[at].keyword != "CREATE":
        table.without_rowid |= _keywords(tokens, at, 2) == ["WITHOUT", "ROWID"]
        if _keywords(tokens, at, 2) == ["INHERITS", "("]:
            for parent in split_at_commas(tokens[at + 2 : matching(tokens, at + 1)]):
                _copy(table, parent, 0, schema, keys=False, checks=True)
        at += 1
    return at


def _keywords(tokens: list[Token], at: int, number: int) -> list[str]:
    return [token.keyword for token in tokens[at : at + number]]


def _copy(table: TableSchema, tokens: list[Token], at: int, schema: Schema, *, keys: bool, checks: bool) -> int:
    """Gives a table the columns of another one, whose name is at `at`, and its keys and conditions as is asked."""
    if at >= len(tokens):
        return at
    name, at = qualified_name(tokens, at)
    parent = schema.tables.get(fold(name))
    if parent is not None and parent is not table:
        table.like.append(fold(name))
        own, table.columns = table.columns, {key: replace(column) for key, column in parent.columns.items()}
        table.columns |= own
        table.checks += parent.checks if checks else []
        if keys:
            table.primary_key = table.primary_key or parent.primary_key
            table.uniques += parent.uniques
            table.indexes += parent.indexes
    return at


def _parse_unique_index(ddl: str, tokens: list[Token], at: int, schema: Schema) -> int:
    """``[name] ON table [USING method] (columns) [WHERE condition]``: a key, or one of some rows or of expressions."""
    while at < len(tokens) and tokens[at].keyword != "ON" and tokens[at].text != ";":
        at += 1
    if at + 1 >= len(tokens) or tokens[at].text == ";":
        return at
    name, at = qualified_name(tokens, at + 1)
    table = schema.tables.get(fold(name))
    while at < len(tokens) and tokens[at].text not in ("(", ";"):
        at += 1
    end = next((index for index in range(at, len(tokens)) if tokens[index].text == ";"), len(tokens))
    if table is None or at >= end:
        return end
    closed = matching(tokens, at)
    parts = list(split_at_commas(tokens[at + 1 : closed]))
    plain = all(len(part) == 1 or (len(part) == 2 and part[1].keyword in ("ASC", "DESC")) for part in parts)
    if plain and closed + 1 >= end:
        table.uniques.append(tuple(fold(part[0].name) for part in parts))
    elif parts:
        table.indexes.append(ddl[tokens[at].start : tokens[end - 1].end])
    return end


def _parse_alter(tokens: list[Token], at: int, schema: Schema) -> int:
    """Constraints and columns that are added, as dumps and migrations do; other changes are ignored."""
    name, parts, end = _read_additions(tokens, at)
    table = schema.tables.get(name)
    if table is not None:
        for part in parts:
            parse_part(part, table)
    return end


def _read_additions(tokens: list[Token], at: int) -> tuple[str, list[list[Token]], int]:
    """``TABLE [ONLY] name ADD column or constraint, ...``: the table in lower case, what is added, where it ends."""
    end = next((index for index in range(at, len(tokens)) if tokens[index].text == ";"), len(tokens))
    if at >= end or tokens[at].keyword != "TABLE":
        return "", [], at
    at += 1
    while at < end and tokens[at].keyword in ("ONLY", "IF", "EXISTS"):
        at += 1
    if at >= end:
        return "", [], end
    name, at = qualified_name(tokens, at)
    parts = []
    if _keywords(tokens, at, 2) == ["ADD", "("]:
        return fold(name), list(split_at_commas(tokens[at + 2 : matching(tokens, at + 1)])), end
    for part in split_at_commas(tokens[at:end]) if at < end and tokens[at].keyword == "ADD" else ():
        words = 1 if part[0].keyword == "ADD" else 0
        words += _keywords(part, words, 1) == ["COLUMN"]
        words += 3 * (_keywords(part, words, 3) == ["IF", "NOT", "EXISTS"])
        # What goes on behind the comma may be another change than an addition.
        if part[words:] and (words or is_constraint(part)):
            parts.append(part[words:])
    return fold(name), parts, end


# What may stand behind the query of a view; nothing of it changes what the view shows.
_BEHIND_VIEW = (
    ("WITH", "NO", "DATA"),
    ("WITH", "DATA"),
    ("WITH", "CHECK", "OPTION"),
    ("WITH", "CASCADED", "CHECK", "OPTION"),
    ("WITH", "LOCAL", "CHECK", "OPTION"),
    ("WITH", "READ", "ONLY"),
)


def _parse_view(ddl: str, name: str, tokens: list[Token], at: int, schema: Schema) -> int:
    """``[(columns)] AS query`` behind the name of a view."""
    columns: tuple[str, ...] = ()
    if at < len(tokens) and tokens[at].text == "(":
        columns, at = names_in(tokens, at)
    if at + 1 >= len(tokens) or tokens[at].keyword != "AS":
        return at
    end = next((index for index in range(at, len(tokens)) if tokens[index].text == ";"), len(tokens))
    last = end
    for words in _BEHIND_VIEW:
        last -= len(words) * (tuple(_keywords(tokens, last - len(words), len(words))) == words)
    # Of a view that is created again, as in MySQL's dumps, the last counts, and may read what came in between.
    schema.views.pop(fold(name), None)
    schema.views[fold(name)] = View(name, columns, ddl[tokens[at + 1].start : tokens[last - 1].end])
    return end


# Options of a full-text table that change what matches, and read nothing else.
_FULL_TEXT_OPTIONS = frozenset(("TOKENIZE", "PREFIX"))


def _parse_full_text(name: str, tokens: list[Token], at: int, schema: Schema) -> int:
    """``USING fts5(columns, options)`` behind the name of a virtual table; other modules are no tables."""
    if at + 2 >= len(tokens) or tokens[at].keyword != "USING" or tokens[at + 2].text != "(":
        return at
    module, end = tokens[at + 1].text.lower(), matching(tokens, at + 2)
    if module not in ("fts3", "fts4", "fts5"):
        return end
    table = schema.tables.setdefault(fold(name), TableSchema(name, full_text=module))
    options = []
    for part in split_at_commas(tokens[at + 3 : end]):
        if len(part) > 1 and part[1].text == "=":
            options += [" ".join(t.text for t in part)] if part[0].keyword in _FULL_TEXT_OPTIONS else []
        else:
            table.add(Column(part[0].name, "TEXT"))
    table.full_text = " ".join([module, *([", ".join(options)] if options else [])])
    return end


def _drop_broken_keys(schema: Schema) -> None:
    """Drops keys over columns that do not exist, and foreign keys that SQLite would call mismatched.

    A foreign key must point at a primary or unique key (https://sqlite.org/foreignkeys.html#fk_indexes).
    """
    for table in schema.tables.values():
        known = table.columns.keys()
        made = {key for key, column in table.columns.items() if column.generated}
        if not set(table.primary_key) <= known - made:
            table.primary_key = ()
        table.foreign_keys = [key for key in table.foreign_keys if not made & set(key.columns)]
        table.uniques = [key for key in dict.fromkeys(table.uniques) if key and set(key) <= known]
    for table in schema.tables.values():
        kept = []
        for key in table.foreign_keys:
            parent = schema.tables.get(key.parent)
            targets = key.parent_columns or (parent.primary_key if parent else ())
            sound = parent is not None and len(targets) == len(key.columns) and set(key.columns) <= table.columns.keys()
            if sound and parent is not None and any(set(targets) == set(k) for k in parent.keys):
                kept.append(ForeignKey(key.columns, key.parent, targets))
        table.foreign_keys = kept
