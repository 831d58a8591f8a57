"""Reads ``CREATE TABLE`` statements as people and data sets write them.

SQLite itself could parse most schemas, but not those of sql-create-context: a table may occur twice with other columns,
a column may be named ``drop`` or occur twice in other cases, and foreign keys may point nowhere. Here such
declarations are merged, quoted or dropped, so that every schema yields tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from text2sql.sql.schema import Column, ForeignKey, Schema, TableSchema, View
from text2sql.sql.tokens import Token, fold, tokenize

# Words that end a column's type and begin one of its constraints.
CONSTRAINT_WORDS = frozenset(
    [
        "CONSTRAINT",
        "PRIMARY",
        "NOT",
        "NULL",
        "UNIQUE",
        "CHECK",
        "DEFAULT",
        "COLLATE",
        "REFERENCES",
        "GENERATED",
        "AS",
        "AUTOINCREMENT",
        "AUTO_INCREMENT",
        "COMMENT",
        "ON",
        "KEY",
        "CHARACTER",
        "IDENTITY",
    ]
)
_TABLE_CONSTRAINTS = frozenset(("CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK", "KEY", "INDEX", "EXCLUDE"))


@lru_cache(maxsize=256)
def parse_schema(ddl: str) -> Schema:
    """Parses every table, view, full-text table and unique index that a text creates, and constraints that it adds.

    All else in it is ignored. The result is shared between callers: copy it before changing it.
    """
    schema = Schema()
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
    """

    start: int
    name: Token
    parts: list[list[Token]]


@lru_cache(maxsize=1024)
def table_statements(ddl: str) -> tuple[TableStatement, ...]:
    """Every ``CREATE TABLE`` of a text as it is spelt, for what shows schemas; `parse_schema` says what they mean."""
    tokens = tokenize(ddl)
    found = []
    for place, token in enumerate(tokens):
        if token.keyword != "CREATE":
            continue
        kind, at = _read_head(tokens, place + 1)
        if kind == "TABLE" and at < len(tokens):
            _, body = _qualified_name(tokens, at)
            has_body = body < len(tokens) and tokens[body].text == "("
            inside = tokens[body + 1 : _matching(tokens, body)] if has_body else []
            found.append(TableStatement(token.start, tokens[body - 1], list(_split(inside))))
    return tuple(found)


def created_names(ddl: str) -> Iterator[tuple[str, ...]]:
    """The name of every table and view that a text creates, behind the names that qualify it."""
    tokens = tokenize(ddl)
    for place, token in enumerate(tokens):
        kind, at = _read_head(tokens, place + 1) if token.keyword == "CREATE" else ("", 0)
        if kind in ("TABLE", "VIEW") and at < len(tokens):
            _, end = _qualified_name(tokens, at)
            yield tuple(part.name for part in tokens[at:end:2])


def _read_head(tokens: list[Token], at: int) -> tuple[str, int]:
    """What a statement makes after CREATE (TABLE, VIRTUAL TABLE, VIEW, UNIQUE INDEX or ""), and where its name is."""
    kind = ""
    while at < len(tokens) and tokens[at].keyword in ("TEMP", "TEMPORARY", "GLOBAL", "LOCAL", "EXTERNAL", "VIRTUAL"):
        kind = "VIRTUAL " if tokens[at].keyword == "VIRTUAL" else kind
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
    name, at = _qualified_name(tokens, at)
    if kind.endswith("VIEW"):
        return _parse_view(ddl, name, tokens, at, schema)
    if kind == "VIRTUAL TABLE":
        return _parse_full_text(name, tokens, at, schema)
    if at >= len(tokens) or tokens[at].text != "(":
        return at
    end = _matching(tokens, at)
    table = schema.tables.setdefault(fold(name), TableSchema(name))
    for part in _split(tokens[at + 1 : end]):
        _parse_part(part, table)
    at = end + 1
    while at < len(tokens) and tokens[at].text != ";" and tokens[at].keyword != "CREATE":
        table.without_rowid |= [t.keyword for t in tokens[at : at + 2]] == ["WITHOUT", "ROWID"]
        at += 1
    return at


def _parse_unique_index(ddl: str, tokens: list[Token], at: int, schema: Schema) -> int:
    """``[name] ON table [USING method] (columns) [WHERE condition]``: a key, or one of some rows or of expressions."""
    while at < len(tokens) and tokens[at].keyword != "ON" and tokens[at].text != ";":
        at += 1
    if at + 1 >= len(tokens) or tokens[at].text == ";":
        return at
    name, at = _qualified_name(tokens, at + 1)
    table = schema.tables.get(fold(name))
    while at < len(tokens) and tokens[at].text not in ("(", ";"):
        at += 1
    end = next((index for index in range(at, len(tokens)) if tokens[index].text == ";"), len(tokens))
    if table is None or at >= end:
        return end
    closed = _matching(tokens, at)
    parts = list(_split(tokens[at + 1 : closed]))
    plain = all(len(part) == 1 or (len(part) == 2 and part[1].keyword in ("ASC", "DESC")) for part in parts)
    if plain and closed + 1 >= end:
        table.uniques.append(tuple(fold(part[0].name) for part in parts))
    elif parts:
        table.indexes.append(ddl[tokens[at].start : tokens[end - 1].end])
    return end


def _parse_alter(tokens: list[Token], at: int, schema: Schema) -> int:
    """``TABLE [ONLY] name ADD constraint``, as dumps write it; other changes are ignored."""
    end = next((index for index in range(at, len(tokens)) if tokens[index].text == ";"), len(tokens))
    if at >= end or tokens[at].keyword != "TABLE":
        return at
    at += 1
    while at < end and tokens[at].keyword in ("ONLY", "IF", "EXISTS"):
        at += 1
    if at >= end:
        return end
    name, at = _qualified_name(tokens, at)
    table = schema.tables.get(fold(name))
    if table is not None and at < end and tokens[at].keyword == "ADD":
        for part in _split(tokens[at + 1 : end]):
            part = part[1:] if part[0].keyword == "ADD" else part
            if part and part[0].keyword in _TABLE_CONSTRAINTS:
                _parse_table_constraint(part, table)
    return end


def _parse_view(ddl: str, name: str, tokens: list[Token], at: int, schema: Schema) -> int:
    """``[(columns)] AS query`` behind the name of a view."""
    columns: tuple[str, ...] = ()
    if at < len(tokens) and tokens[at].text == "(":
        columns, at = _names(tokens, at)
    if at + 1 >= len(tokens) or tokens[at].keyword != "AS":
        return at
    end = next((index for index in range(at, len(tokens)) if tokens[index].text == ";"), len(tokens))
    schema.views[fold(name)] = View(name, columns, ddl[tokens[at + 1].start : tokens[end - 1].end])
    return end


# Options of a full-text table that change what matches, and read nothing else.
_FULL_TEXT_OPTIONS = frozenset(("TOKENIZE", "PREFIX"))


def _parse_full_text(name: str, tokens: list[Token], at: int, schema: Schema) -> int:
    """``USING fts5(columns, options)`` behind the name of a virtual table; other modules are no tables."""
    if at + 2 >= len(tokens) or tokens[at].keyword != "USING" or tokens[at + 2].text != "(":
        return at
    module, end = tokens[at + 1].text.lower(), _matching(tokens, at + 2)
    if module not in ("fts3", "fts4", "fts5"):
        return end
    table = schema.tables.setdefault(fold(name), TableSchema(name, full_text=module))
    options = []
    for part in _split(tokens[at + 3 : end]):
        if len(part) > 1 and part[1].text == "=":
            options += [" ".join(t.text for t in part)] if part[0].keyword in _FULL_TEXT_OPTIONS else []
        else:
            table.add(Column(part[0].name, "TEXT"))
    table.full_text = " ".join([module, *([", ".join(options)] if options else [])])
    return end


def _qualified_name(tokens: list[Token], at: int) -> tuple[str, int]:
    """The last part of ``schema.table``."""
    name = tokens[at].name
    at += 1
    while at + 1 < len(tokens) and tokens[at].text == ".":
        name = tokens[at + 1].name
        at += 2
    return name, at


def _matching(tokens: list[Token], at: int) -> int:
    """The index of the parenthesis that closes the one at ``at``, or of the end of the text."""
    depth = 0
    for index in range(at, len(tokens)):
        if tokens[index].text == "(":
            depth += 1
        elif tokens[index].text == ")":
            depth -= 1
            if depth == 0:
                return index
    return len(tokens)


def _split(tokens: list[Token]) -> Iterator[list[Token]]:
    """Splits at the commas outside parentheses."""
    depth, part = 0, list[Token]()
    for token in tokens:
        if token.text == "," and depth == 0:
            if part:
                yield part
            part = []
            continue
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        part.append(token)
    if part:
        yield part


def is_constraint(part: list[Token]) -> bool:
    """Whether a comma-separated part of a table's body is a constraint, not a column."""
    first = part[0].keyword
    # A column may be called "key" or "index": a constraint is followed by what belongs to it.
    following = part[1].keyword if len(part) > 1 else ""
    return first in _TABLE_CONSTRAINTS and (
        (first in ("PRIMARY", "FOREIGN") and following == "KEY")
        or (first in ("UNIQUE", "CHECK") and (following in ("(", "KEY", "INDEX") or _has_paren(part)))
        or (first == "CONSTRAINT" and len(part) > 3)
        or (first in ("KEY", "INDEX", "EXCLUDE") and part[-1].text == ")" and following not in _TYPE_WORDS)
    )


def _parse_part(part: list[Token], table: TableSchema) -> None:
    if is_constraint(part):
        _parse_table_constraint(part, table)
    else:
        _parse_column(part, table)


_COLLATIONS = frozenset(("NOCASE", "RTRIM"))
_TYPE_WORDS = frozenset(
    ["INT", "INTEGER", "VARCHAR", "CHAR", "TEXT", "REAL", "FLOAT", "DECIMAL", "NUMERIC", "DOUBLE", "NUMBER", "DATE"]
)


def _has_paren(part: list[Token]) -> bool:
    return len(part) > 2 and part[2].text == "(" and part[1].keyword not in _TYPE_WORDS


def _names(tokens: list[Token], at: int) -> tuple[tuple[str, ...], int]:
    """A parenthesised list of names from ``at`` on, in lower case, and the index behind it."""
    while at < len(tokens) and tokens[at].text != "(":
        at += 1
    end = _matching(tokens, at) if at < len(tokens) else len(tokens)
    return tuple(fold(piece[0].name) for piece in _split(tokens[at + 1 : end])), end + 1


def _parse_table_constraint(part: list[Token], table: TableSchema) -> None:
    if part[0].keyword == "CONSTRAINT":
        part = part[2:]
    kind = part[0].keyword
    if kind == "PRIMARY":
        table.primary_key = table.primary_key or _names(part, 1)[0]
    elif kind == "UNIQUE":
        table.uniques.append(_names(part, 1)[0])
    elif kind == "FOREIGN":
        columns, at = _names(part, 1)
        if at < len(part) and part[at].keyword == "REFERENCES":
            _add_reference(part, at, columns, table)
    elif kind == "CHECK":
        _add_check(part, 1, table)


def _add_reference(part: list[Token], at: int, columns: tuple[str, ...], table: TableSchema) -> None:
    """``REFERENCES parent [(columns)]`` at ``at``."""
    if at + 1 >= len(part):
        return
    parent, at = _qualified_name(part, at + 1)
    targets: tuple[str, ...] = ()
    if at < len(part) and part[at].text == "(":
        targets, _ = _names(part, at)
    table.foreign_keys.append(ForeignKey(columns, fold(parent), targets))


def _add_check(part: list[Token], at: int, table: TableSchema) -> None:
    if at < len(part) and part[at].text == "(":
        end = _matching(part, at)
        table.checks.append(" ".join(t.text for t in part[at + 1 : end]))


def _parse_column(part: list[Token], table: TableSchema) -> None:
    name, words, at = part[0].name, [], 1
    while at < len(part) and part[at].keyword not in CONSTRAINT_WORDS:
        # Length or precision are no part of the affinity.
        if part[at].text == "(":
            at = _matching(part, at)
        elif part[at].kind in ("word", "dquoted", "quoted"):
            words.append(part[at].name)
        at += 1
    column = table.add(Column(name, " ".join(words)))
    while at < len(part):
        word = part[at].keyword
        if word == "PRIMARY":
            table.primary_key = table.primary_key or (fold(name),)
        elif word == "NOT" and at + 1 < len(part) and part[at + 1].keyword == "NULL":
            column.not_null = True
        elif word == "UNIQUE":
            table.uniques.append((fold(name),))
        elif word == "CHECK":
            _add_check(part, at + 1, table)
        elif word == "COLLATE" and at + 1 < len(part) and part[at + 1].keyword in _COLLATIONS:
            column.collation = part[at + 1].keyword
        elif word == "AS" and at + 1 < len(part) and part[at + 1].text == "(":
            column.generated = " ".join(t.text for t in part[at + 2 : _matching(part, at + 1)])
        elif word == "REFERENCES":
            _add_reference(part, at, (fold(name),), table)
        at = _matching(part, at) if part[at].text == "(" else at
        at += 1


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
