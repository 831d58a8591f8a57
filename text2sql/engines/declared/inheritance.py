"""PostgreSQL tables whose rows are read through another table: INHERITS and partitions.

A partition is created as an inheriting table with its bounds as a condition. Rows of partitions that no query names are
stored in the parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from text2sql.sql.ddl import table_statements
from text2sql.sql.dumps import blank_non_sql
from text2sql.sql.table_parts import closing_parenthesis, qualified_name, split_at_commas
from text2sql.sql.tokens import Token, fold, statements, tokenize

_DEFAULT = "DEFAULT"


@dataclass(frozen=True)
class Inheritance:
    """The tables whose rows are read through others; names in lower case.

    Attributes:
        parents: The parents of each child.
        bounds: The condition on the rows of each partition.
    """

    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bounds: Mapping[str, str] = field(default_factory=dict)

    def nearest_ancestors(self, table: str, tables: Iterable[str]) -> list[str]:
        """The nearest ones of the given tables through which the rows of `table` are read."""
        known, ancestors = set(tables), list[str]()
        for parent in self.parents.get(table, ()):
            ancestors += [parent] if parent in known else self.nearest_ancestors(parent, known)
        return ancestors

    def row_conditions(self, tables: Iterable[str]) -> Iterator[tuple[str, str]]:
        """The conditions on the rows of tables, as (table, condition).

        Args:
            tables: All tables that a pair's queries read.
        """
        known = set(tables)
        for table in sorted(known):
            child: str | None = table
            while child is not None:
                if child in self.bounds:
                    yield table, self.bounds[child]
                child = next(iter(self.parents.get(child, ())), None)
            partitions = [name for name, parents in self.parents.items() if table in parents and name in self.bounds]
            if any(self._is_read_through(name, known) for name in partitions):
                others = [f"({self.bounds[name]})" for name in partitions if not self._is_read_through(name, known)]
                yield table, " OR ".join(others) or "1 = 0"

    def _is_read_through(self, table: str, known: set[str]) -> bool:
        children = [name for name, parents in self.parents.items() if table in parents]
        return table in known or any(self._is_read_through(name, known) for name in children)


def read_inheritance(ddl: str) -> Inheritance:
    """Reads ``INHERITS (parent)``, ``PARTITION OF parent FOR VALUES ...`` and ``ATTACH PARTITION``."""
    upper = ddl.upper()
    if "INHERITS" not in upper and "PARTITION" not in upper:
        return Inheritance()
    keys: dict[str, tuple[str, str]] = {}
    parents: dict[str, tuple[str, ...]] = {}
    parts: list[tuple[str, str, list[Token]]] = []
    for statement in table_statements(ddl):
        name, options = fold(statement.name.name), statement.options
        # In PARTITION OF, the word PARTITION stands where other tables have their columns.
        if options[:1] and options[0].keyword == "OF":
            parent, rest = qualified_name(options, 1)
            parts.append((name, fold(parent), options[rest:]))
        for index, token in enumerate(options):
            if token.keyword == "INHERITS" and [t.text for t in options[index + 1 : index + 2]] == ["("]:
                listed = split_at_commas(options[index + 2 : closing_parenthesis(options, index + 1)])
                parents[name] = tuple(fold(qualified_name(part, 0)[0]) for part in listed)
            if token.keyword == "PARTITION" and [t.keyword for t in options[index + 1 : index + 2]] == ["BY"]:
                keys |= _partition_key(name, options[index + 2 :])
    parts += _attached_partitions(ddl)
    return Inheritance(
        parents | {child: (parent,) for child, parent, _ in parts if parent in keys}, _bounds(keys, parts)
    )


def _partition_key(name: str, tokens: list[Token]) -> dict[str, tuple[str, str]]:
    """The kind (RANGE or LIST) and the column of a table's partitioning; empty for a hash or several columns."""
    kind = tokens[0].keyword if tokens else ""
    inner = tokens[2 : closing_parenthesis(tokens, 1)] if len(tokens) > 1 and tokens[1].text == "(" else []
    return {name: (kind, inner[0].text)} if kind in ("RANGE", "LIST") and len(inner) == 1 else {}


def _attached_partitions(ddl: str) -> Iterator[tuple[str, str, list[Token]]]:
    for tokens in statements(tokenize(blank_non_sql(ddl))):
        words = [token.keyword for token in tokens]
        if words[:2] != ["ALTER", "TABLE"] or "ATTACH" not in words:
            continue
        parent, _ = qualified_name(tokens, 3 if words[2:3] == ["ONLY"] else 2)
        child, behind = qualified_name(tokens, words.index("ATTACH") + 2)
        yield fold(child), fold(parent), tokens[behind:]


def _bounds(keys: Mapping[str, tuple[str, str]], parts: list[tuple[str, str, list[Token]]]) -> dict[str, str]:
    bounds: dict[str, str] = {}
    for child, parent, tokens in parts:
        if parent in keys and (bound := _bound(*keys[parent], tokens)):
            bounds[child] = bound
    for child, parent, _ in parts:
        if bounds.get(child) == _DEFAULT:
            siblings = [bounds.get(name, _DEFAULT) for name, above, _ in parts if above == parent]
            others = [bound for bound in siblings if bound != _DEFAULT]
            bounds[child] = " AND ".join(f"COALESCE(NOT ({other}), TRUE)" for other in others) or "1 = 1"
    return bounds


def _bound(kind: str, column: str, tokens: list[Token]) -> str:
    """The condition on the rows of a partition; empty where it cannot be read."""
    words = [token.keyword for token in tokens]
    if _DEFAULT in words[:1]:
        return _DEFAULT
    if kind == "LIST" and "IN" in words:
        at = words.index("IN") + 1
        values = [token.text for token in tokens[at + 1 : closing_parenthesis(tokens, at)] if token.text != ","]
        non_null = [value for value in values if value.upper() != "NULL"]
        condition = f"{column} IN ({', '.join(non_null)})" if non_null else ""
        null = f"{column} IS NULL" if len(non_null) < len(values) else f"{column} IS NOT NULL"
        return f"({condition} OR {null})" if len(non_null) < len(values) and condition else f"{condition} AND {null}"
    if kind == "RANGE" and "FROM" in words and "TO" in words:
        ends = []
        for word, sign in (("FROM", ">="), ("TO", "<")):
            at = words.index(word) + 1
            end = " ".join(token.text for token in tokens[at + 1 : closing_parenthesis(tokens, at)])
            ends += [f"{column} {sign} {end}"] if end.upper() not in ("MINVALUE", "MAXVALUE") else []
        return " AND ".join([f"{column} IS NOT NULL", *ends])
    return ""
