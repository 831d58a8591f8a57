"""Tables of PostgreSQL whose rows are seen through another one: INHERITS, partitions.

A partition is made as a table that inherits, with its bounds as a condition. Rows of partitions that no query names lie
in the parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from text2sql.sql.ddl import table_statements
from text2sql.sql.dumps import statements_alone
from text2sql.sql.table_parts import matching, qualified_name, split_at_commas
from text2sql.sql.tokens import Token, fold, statements, tokenize

_DEFAULT = "DEFAULT"


@dataclass(frozen=True)
class Inheritance:
    """The tables that are seen through others; names in lower case.

    Attributes:
        parents: Of each child its parents.
        bounds: Of each partition the condition on its rows.
    """

    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bounds: Mapping[str, str] = field(default_factory=dict)

    def above(self, table: str, tables: Iterable[str]) -> list[str]:
        """The nearest of some tables through which another one's rows are seen."""
        known, found = set(tables), list[str]()
        for parent in self.parents.get(table, ()):
            found += [parent] if parent in known else self.above(parent, known)
        return found

    def conditions(self, tables: Iterable[str]) -> Iterator[tuple[str, str]]:
        """What the rows of some tables keep, of which a pair's queries read no others; each with its table."""
        known = set(tables)
        for table in sorted(known):
            child: str | None = table
            while child is not None:
                if child in self.bounds:
                    yield table, self.bounds[child]
                child = next(iter(self.parents.get(child, ())), None)
            partitions = [name for name, above in self.parents.items() if table in above and name in self.bounds]
            if any(self._seen(name, known) for name in partitions):
                others = [f"({self.bounds[name]})" for name in partitions if not self._seen(name, known)]
                yield table, " OR ".join(others) or "1 = 0"

    def _seen(self, table: str, known: set[str]) -> bool:
        below = [name for name, above in self.parents.items() if table in above]
        return table in known or any(self._seen(name, known) for name in below)


def read_inheritance(ddl: str) -> Inheritance:
    """Reads ``INHERITS (parent)``, ``PARTITION OF parent FOR VALUES ...`` and ``ATTACH PARTITION``."""
    words = ddl.upper()
    if "INHERITS" not in words and "PARTITION" not in words:
        return Inheritance()
    keys: dict[str, tuple[str, str]] = {}
    parents: dict[str, tuple[str, ...]] = {}
    parts: list[tuple[str, str, list[Token]]] = []
    for statement in table_statements(ddl):
        name, options = fold(statement.name.name), statement.options
        # Of a partition the word before OF stands where others have their columns.
        if options[:1] and options[0].keyword == "OF":
            parent, behind = qualified_name(options, 1)
            parts.append((name, fold(parent), options[behind:]))
        for at, token in enumerate(options):
            if token.keyword == "INHERITS" and [t.text for t in options[at + 1 : at + 2]] == ["("]:
                listed = split_at_commas(options[at + 2 : matching(options, at + 1)])
                parents[name] = tuple(fold(qualified_name(part, 0)[0]) for part in listed)
            if token.keyword == "PARTITION" and [t.keyword for t in options[at + 1 : at + 2]] == ["BY"]:
                keys |= _key(name, options[at + 2 :])
    parts += _attached(ddl)
    return Inheritance(
        parents | {child: (parent,) for child, parent, _ in parts if parent in keys}, _bounds(keys, parts)
    )


def _key(name: str, tokens: list[Token]) -> dict[str, tuple[str, str]]:
    """How a table is partitioned, and by which column; nothing where it is by several or by a hash."""
    kind = tokens[0].keyword if tokens else ""
    inner = tokens[2 : matching(tokens, 1)] if len(tokens) > 1 and tokens[1].text == "(" else []
    return {name: (kind, inner[0].text)} if kind in ("RANGE", "LIST") and len(inner) == 1 else {}


def _attached(ddl: str) -> Iterator[tuple[str, str, list[Token]]]:
    for tokens in statements(tokenize(statements_alone(ddl))):
        words = [token.keyword for token in tokens]
        if words[:2] != ["ALTER", "TABLE"] or "ATTACH" not in words:
            continue
        parent, _ = qualified_name(tokens, 3 if words[2:3] == ["ONLY"] else 2)
        child, behind = qualified_name(tokens, words.index("ATTACH") + 2)
        yield fold(child), fold(parent), tokens[behind:]


def _bounds(keys: Mapping[str, tuple[str, str]], parts: list[tuple[str, str, list[Token]]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for child, parent, tokens in parts:
        if parent in keys and (bound := _bound(*keys[parent], tokens)):
            found[child] = bound
    for child, parent, _ in parts:
        if found.get(child) == _DEFAULT:
            beside = [found.get(name, _DEFAULT) for name, above, _ in parts if above == parent]
            others = [bound for bound in beside if bound != _DEFAULT]
            found[child] = " AND ".join(f"COALESCE(NOT ({other}), TRUE)" for other in others) or "1 = 1"
    return found


def _bound(kind: str, column: str, tokens: list[Token]) -> str:
    """The condition on the rows of a partition; empty for one that is not understood."""
    words = [token.keyword for token in tokens]
    if _DEFAULT in words[:1]:
        return _DEFAULT
    if kind == "LIST" and "IN" in words:
        at = words.index("IN") + 1
        values = [token.text for token in tokens[at + 1 : matching(tokens, at)] if token.text != ","]
        given = [value for value in values if value.upper() != "NULL"]
        condition = f"{column} IN ({', '.join(given)})" if given else ""
        null = f"{column} IS NULL" if len(given) < len(values) else f"{column} IS NOT NULL"
        return f"({condition} OR {null})" if len(given) < len(values) and condition else f"{condition} AND {null}"
    if kind == "RANGE" and "FROM" in words and "TO" in words:
        ends = []
        for word, sign in (("FROM", ">="), ("TO", "<")):
            at = words.index(word) + 1
            end = " ".join(token.text for token in tokens[at + 1 : matching(tokens, at)])
            ends += [f"{column} {sign} {end}"] if end.upper() not in ("MINVALUE", "MAXVALUE") else []
        return " AND ".join([f"{column} IS NOT NULL", *ends])
    return ""
