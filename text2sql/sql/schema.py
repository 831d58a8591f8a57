"""The parts of a schema, which are columns, tables, views and keys, and their DDL for SQLite.

`text2sql.sql.ddl` reads them from ``CREATE TABLE`` statements.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from text2sql.sql.tokens import fold, quote_identifier, tokenize

# Unused tables that a chain of foreign keys is followed through.
_MAX_CHAIN = 4


@lru_cache(maxsize=1024)
def _affinity(declared: str) -> str:
    declared = declared.upper()
    if "INT" in declared:
        return "INTEGER"
    if any(word in declared for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in declared or not declared:
        return "BLOB"
    if any(word in declared for word in ("REAL", "FLOA", "DOUB")):
        return "REAL"
    return "NUMERIC"


@dataclass
class Column:
    """A column.

    Attributes:
        collation: NOCASE or RTRIM; empty for SQLite's default, which compares bytes.
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
        return _affinity(self.type)

    @property
    def kind(self) -> str:
        """The kind of its values by its declared type: integer, real, text, date, datetime, time or boolean."""
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
    """A table; its columns are stored by lower-case name.

    Attributes:
        indexes: Unique indexes of expressions or of some rows, as written after ``ON table``.
        without_rowid: Whether the primary key alone identifies rows (https://sqlite.org/withoutrowid.html).
        full_text: The module of a full-text table with its options, such as ``fts5``; empty for other tables.
        like: The lower-case names of the tables that columns were copied from.
    """

    name: str
    columns: dict[str, Column] = field(default_factory=dict)
    primary_key: tuple[str, ...] = ()
    uniques: list[tuple[str, ...]] = field(default_factory=list)
    foreign_keys: list[ForeignKey] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)
    without_rowid: bool = False
    full_text: str = ""
    like: list[str] = field(default_factory=list)

    def add(self, column: Column) -> Column:
        """Adds a column unless there is one of that name; returns the table's column."""
        return self.columns.setdefault(fold(column.name), column)

    @property
    def keys(self) -> list[tuple[str, ...]]:
        """The primary key, if any, and the unique keys."""
        return ([self.primary_key] if self.primary_key else []) + self.uniques

    @property
    def rowid(self) -> str | None:
        """The column that is an alias of SQLite's rowid and so holds integers only; None if there is none."""
        if self.without_rowid or len(self.primary_key) != 1:
            return None
        (key,) = self.primary_key
        return key if self.columns[key].type.upper() == "INTEGER" else None

    @property
    def stored_columns(self) -> list[str]:
        """The lower-case names of the columns that an INSERT has values for: all except generated ones."""
        return [key for key, column in self.columns.items() if not column.generated]

    def ddl(self) -> str:
        """The CREATE TABLE statement for SQLite, without foreign keys, which the row generator satisfies."""
        if self.full_text:
            module, _, options = self.full_text.partition(" ")
            names = [quote_identifier(column.name) for column in self.columns.values()]
            arguments = ", ".join([*names, options] if options else names)
            return f"CREATE VIRTUAL TABLE {quote_identifier(self.name)} USING {module}({arguments})"
        parts = []
        for key, column in self.columns.items():
            # A primary key is NOT NULL in SQL; only SQLite would accept NULL.
            words = [quote_identifier(column.name), _safe_type(column.type)]
            words += ["NOT NULL"] if column.not_null or key in self.primary_key else []
            words += [f"COLLATE {column.collation}"] if column.collation else []
            words += [f"GENERATED ALWAYS AS ({column.generated}) VIRTUAL"] if column.generated else []
            parts.append(" ".join(words))
        if self.primary_key:
            parts.append(f"PRIMARY KEY ({', '.join(map(quote_identifier, self.primary_key))})")
        parts += [f"UNIQUE ({', '.join(map(quote_identifier, key))})" for key in self.uniques]
        parts += [f"CHECK ({check})" for check in self.checks]
        suffix = " WITHOUT ROWID" if self.without_rowid and self.primary_key else ""
        return f"CREATE TABLE {quote_identifier(self.name)} ({', '.join(parts)}){suffix}"


@dataclass(frozen=True)
class View:
    """A view.

    Attributes:
        columns: Its column names where the declaration gives them, else empty.
        query: The text of its query.
    """

    name: str
    columns: tuple[str, ...]
    query: str

    @property
    def words(self) -> set[str]:
        """The names in its declaration, in lower case."""
        names = {fold(token.name) for token in tokenize(self.query) if token.kind in ("word", "dquoted", "quoted")}
        return names | {fold(name) for name in self.columns}

    def ddl(self) -> str:
        """The CREATE VIEW statement for SQLite."""
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
        """The names that a query may use for tables, views and columns, in lower case."""
        names = {name for table in self.tables.values() for name in table.columns} | self.tables.keys()
        for name, view in self.views.items():
            names |= {name} | view.words
        return names


def used_views(schema: Schema, names: set[str]) -> list[View]:
    """The views that queries with these names read, directly or through other views, in the order of creation."""
    used: set[str] = set()
    for name, view in reversed(schema.views.items()):
        if name in names:
            used.add(name)
            names = names | view.words
    return [view for name, view in schema.views.items() if name in used]


def used_tables(schema: Schema, names: set[str], *, every_column: bool) -> dict[str, TableSchema]:
    """The tables that queries can read, with the columns that they can refer to.

    Args:
        schema: The whole schema.
        names: The names in the queries, in lower case.
        every_column: Whether the queries refer to columns without naming them, by ``*`` or NATURAL.

    Returns:
        By lower-case name, the tables with the named columns and the columns of keys and CHECKs.
    """
    used = {
        name: _with_implied_keys(schema, schema.tables[name], names) for name in sorted(names & schema.tables.keys())
    }
    if every_column:
        return used
    return {name: _narrow(table, names, used.keys()) for name, table in used.items()}


def _with_implied_keys(schema: Schema, table: TableSchema, names: Collection[str]) -> TableSchema:
    """A table with additional foreign keys, which follow from those of tables that are not used."""
    implied_keys = [implied for key in table.foreign_keys for implied in _implied_keys(schema, table, key, names, 0)]
    if not implied_keys:
        return table
    copied = _copy_table(table)
    copied.foreign_keys = [*table.foreign_keys, *(key for key in implied_keys if key not in table.foreign_keys)]
    return copied


def _implied_keys(
    schema: Schema, table: TableSchema, key: ForeignKey, names: Collection[str], depth: int
) -> Iterator[ForeignKey]:
    parent = schema.tables.get(key.parent)
    if key.parent in names or parent is None or depth > _MAX_CHAIN or len(key.columns) != len(key.parent_columns):
        return
    columns = dict(zip(key.parent_columns, key.columns, strict=True))
    for parent_key in parent.foreign_keys:
        if not columns.keys() >= set(parent_key.columns):
            continue
        mapped = tuple(columns[column] for column in parent_key.columns)
        # If one column is NULL, the key refers to nothing.
        others = [table.columns.get(column) for column in key.columns if column not in mapped]
        if all(column is not None and (column.not_null or fold(column.name) in table.primary_key) for column in others):
            implied = ForeignKey(mapped, parent_key.parent, parent_key.parent_columns)
            if implied.parent in names:
                yield implied
            yield from _implied_keys(schema, table, implied, names, depth + 1)


def _narrow(table: TableSchema, names: set[str], used_tables: Collection[str]) -> TableSchema:
    if table.checks or table.indexes or table.full_text:
        return table
    names = names | {name for column in table.columns.values() for name in _names_in_text(column.generated)}
    references = [key for key in table.foreign_keys if key.parent in used_tables]
    needed = names | {column for key in table.keys for column in key} | {c for key in references for c in key.columns}
    columns = {key: column for key, column in table.columns.items() if key in needed}
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
        list(table.indexes),
        table.without_rowid,
        table.full_text,
        list(table.like),
    )


def _names_in_text(text: str) -> set[str]:
    return {fold(token.name) for token in tokenize(text)} if text else set()


def _safe_type(declared: str) -> str:
    """The declared type, quoted word by word so that a keyword in it cannot end the declaration."""
    return " ".join(f'"{word}"' for word in declared.replace('"', "").split())
