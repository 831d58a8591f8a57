"""Reads ``CREATE TABLE`` statements as people and data sets write them, and writes them as SQLite accepts them.

SQLite itself could parse most schemas, but not those of sql-create-context: a table may occur twice with other columns,
a column may be named ``drop`` or occur twice in other cases, and foreign keys may point nowhere. Here such
declarations are merged, quoted or dropped, so that every schema yields tables.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from text2sql.sql.tokens import Token, fold, quote_identifier, tokenize

# Words that end a column's type and begin one of its constraints.
_CONSTRAINT_WORDS = frozenset(
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


@dataclass
class Column:
    """One column: its name, declared type and SQLite affinity.

    Attributes:
        collation: NOCASE or RTRIM where texts compare so; empty for SQLite's own, by bytes.
        generated: The expression of a generated column, empty for all others.
    """

    name: str
    type: str = ""
    not_null: bool = False
    collation: str = ""
    generated: str = ""

    @property
    def affinity(self) -> str:
        """TEXT, NUMERIC, INTEGER, REAL or BLOB, by the rules of https://sqlite.org/datatype3.html section 3.1."""
        declared = self.type.upper()
        if "INT" in declared:
            return "INTEGER"
        if any(word in declared for word in ("CHAR", "CLOB", "TEXT")):
            return "TEXT"
        if "BLOB" in declared or not declared:
            return "BLOB"
        if any(word in declared for word in ("REAL", "FLOA", "DOUB")):
            return "REAL"
        return "NUMERIC"

    @property
    def kind(self) -> str:
        """What the column holds in practice: integer, real, text, date, datetime, time or boolean."""
        declared = self.type.upper()
        if "BOOL" in declared:
            return "boolean"
        if "DATETIME" in declared or "TIMESTAMP" in declared:
            return "datetime"
        if "DATE" in declared:
            return "date"
        if "YEAR" in declared:
            return "integer"
        if declared.startswith("TIME"):
            return "time"
        by_affinity = {"INTEGER": "integer", "REAL": "real", "NUMERIC": "real", "TEXT": "text", "BLOB": "text"}
        return by_affinity[self.affinity]


@dataclass(frozen=True)
class ForeignKey:
    """``columns`` of the owning table point at ``parent_columns`` of ``parent``; all names in lower case."""

    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]


@dataclass
class TableSchema:
    """One table. Column names are looked up in lower case, as SQLite does.

    Attributes:
        without_rowid: Whether the primary key alone identifies rows (https://sqlite.org/withoutrowid.html).
        full_text: The module of a full-text table, ``fts5`` or an older one, with its options; empty for others.
    """

    name: str
    columns: dict[str, Column] = field(default_factory=dict)
    primary_key: tuple[str, ...] = ()
    uniques: list[tuple[str, ...]] = field(default_factory=list)
    foreign_keys: list[ForeignKey] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)
    without_rowid: bool = False
    full_text: str = ""

    def add(self, column: Column) -> Column:
        """Adds a column unless there is one of that name; returns the one that the table has."""
        return self.columns.setdefault(fold(column.name), column)

    @property
    def keys(self) -> list[tuple[str, ...]]:
        """The primary key, if any, and the unique keys."""
        return ([self.primary_key] if self.primary_key else []) + self.uniques

    @property
    def rowid(self) -> str | None:
        """The column that is an alias of SQLite's rowid and so can hold integers only."""
        if self.without_rowid or len(self.primary_key) != 1:
            return None
        (key,) = self.primary_key
        return key if self.columns[key].type.upper() == "INTEGER" else None

    @property
    def given(self) -> list[str]:
        """The columns that an INSERT gives, in lower case: all but the generated ones."""
        return [key for key, column in self.columns.items() if not column.generated]

    def ddl(self, *, checks: bool = True) -> str:
        """The table for SQLite, without its foreign keys: the generator of rows keeps those."""
        if self.full_text:
            module, _, options = self.full_text.partition(" ")
            names = [quote_identifier(column.name) for column in self.columns.values()]
            arguments = ", ".join([*names, options] if options else names)
            return f"CREATE VIRTUAL TABLE {quote_identifier(self.name)} USING {module}({arguments})"
        parts = []
        for key, column in self.columns.items():
            # A primary key is NOT NULL in SQL; SQLite alone would let NULL in.
            words = [quote_identifier(column.name), _safe_type(column.type)]
            words += ["NOT NULL"] if column.not_null or key in self.primary_key else []
            words += [f"COLLATE {column.collation}"] if column.collation else []
            words += [f"GENERATED ALWAYS AS ({column.generated}) VIRTUAL"] if column.generated else []
            parts.append(" ".join(words))
        if self.primary_key:
            parts.append(f"PRIMARY KEY ({', '.join(map(quote_identifier, self.primary_key))})")
        parts += [f"UNIQUE ({', '.join(map(quote_identifier, key))})" for key in self.uniques]
        if checks:
            parts += [f"CHECK ({check})" for check in self.checks]
        suffix = " WITHOUT ROWID" if self.without_rowid and self.primary_key else ""
        return f"CREATE TABLE {quote_identifier(self.name)} ({', '.join(parts)}){suffix}"


@dataclass(frozen=True)
class View:
    """One view.

    Attributes:
        columns: Its column names where the declaration gives them, else empty.
        query: The text of its query.
    """

    name: str
    columns: tuple[str, ...]
    query: str

    @property
    def words(self) -> set[str]:
        """Every name in its declaration, in lower case."""
        found = {fold(t.name) for t in tokenize(self.query) if t.kind in ("word", "dquoted", "quoted")}
        return found | {fold(name) for name in self.columns}

    def ddl(self) -> str:
        """The view for SQLite."""
        columns = f" ({', '.join(map(quote_identifier, self.columns))})" if self.columns else ""
        return f"CREATE VIEW {quote_identifier(self.name)}{columns} AS {self.query}"


@dataclass
class Schema:
    """The tables and views of a database by lower-case name; views in the order in which they can be created."""

    tables: dict[str, TableSchema] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)

    def copy(self) -> Schema:
        """A copy whose tables may be changed."""
        return Schema({name: _copy_table(table) for name, table in self.tables.items()}, dict(self.views))

    @property
    def names(self) -> set[str]:
        """Every name that a query may use for a table, a view or a column, in lower case."""
        found = {name for table in self.tables.values() for name in table.columns} | self.tables.keys()
        for name, view in self.views.items():
            found |= {name} | view.words
        return found


def used_views(schema: Schema, names: set[str]) -> list[View]:
    """The views that queries of these words read, and those that these read, in the order of creation."""
    found: set[str] = set()
    for name, view in reversed(schema.views.items()):
        if name in names:
            found.add(name)
            names = names | view.words
    return [view for name, view in schema.views.items() if name in found]


def used_tables(schema: Schema, names: set[str], *, every_column: bool) -> dict[str, TableSchema]:
    """The tables that queries can read, with the columns that they can see; what they cannot see costs only time.

    Args:
        schema: All tables.
        names: Every word of the queries in lower case.
        every_column: Whether the queries see columns that they do not name, by ``*`` or NATURAL.

    Returns:
        By lower-case name, tables with the columns named, and those that keys and CHECKs are about.
    """
    used = {name: schema.tables[name] for name in sorted(names & schema.tables.keys())}
    if every_column:
        return used
    return {name: _narrowed(table, names, used.keys()) for name, table in used.items()}


def _narrowed(table: TableSchema, names: set[str], others: Collection[str]) -> TableSchema:
    if table.checks or table.full_text:
        return table
    names = names | {name for column in table.columns.values() for name in _words(column.generated)}
    references = [key for key in table.foreign_keys if key.parent in others]
    kept = names | {column for key in table.keys for column in key} | {c for key in references for c in key.columns}
    columns = {key: column for key, column in table.columns.items() if key in kept}
    narrow = _copy_table(table)
    narrow.columns = columns or dict(list(table.columns.items())[:1])
    narrow.foreign_keys = references
    return narrow


def _copy_table(table: TableSchema) -> TableSchema:
    return TableSchema(
        table.name,
        dict(table.columns),
        table.primary_key,
        list(table.uniques),
        list(table.foreign_keys),
        list(table.checks),
        table.without_rowid,
        table.full_text,
    )


def _words(text: str) -> set[str]:
    return {fold(token.name) for token in tokenize(text)} if text else set()


def _safe_type(declared: str) -> str:
    """The declared type, quoted word by word so that no keyword in it can end the declaration."""
    return " ".join(f'"{word}"' for word in declared.replace('"', "").split())


@lru_cache(maxsize=256)
def parse_schema(ddl: str) -> Schema:
    """Parses every ``CREATE TABLE``, ``CREATE VIEW`` and full-text table of a text; all else in it is ignored.

    The result is shared between callers: copy it before changing it.
    """
    schema = Schema()
    tokens = tokenize(ddl)
    at = 0
    while at < len(tokens):
        if tokens[at].keyword != "CREATE":
            at += 1
            continue
        at = _parse_create(ddl, tokens, at + 1, schema)
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


def _read_head(tokens: list[Token], at: int) -> tuple[str, int]:
    """What the statement after CREATE makes (TABLE, VIRTUAL TABLE, VIEW or nothing known), and where its name is."""
    kind = ""
    while at < len(tokens) and tokens[at].keyword in ("TEMP", "TEMPORARY", "GLOBAL", "LOCAL", "EXTERNAL", "VIRTUAL"):
        kind = "VIRTUAL " if tokens[at].keyword == "VIRTUAL" else kind
        at += 1
    if at >= len(tokens) or tokens[at].keyword not in ("TABLE", "VIEW"):
        return "", at
    kind += tokens[at].keyword
    at += 1
    return kind, at + 3 if [t.keyword for t in tokens[at : at + 3]] == ["IF", "NOT", "EXISTS"] else at


def _parse_create(ddl: str, tokens: list[Token], at: int, schema: Schema) -> int:
    """Parses one statement after CREATE; returns the index behind it."""
    kind, at = _read_head(tokens, at)
    if not kind or at >= len(tokens):
        return at
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
    while at < len(part) and part[at].keyword not in _CONSTRAINT_WORDS:
        if part[at].text == "(":  # length or precision: no part of the affinity
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
