"""The types that a schema creates itself: enumerations, domains, composite types, and aliases of types."""

from __future__ import annotations

from dataclasses import dataclass, field

from text2sql.sql.dumps import blank_non_sql
from text2sql.sql.table_parts import closing_parenthesis, split_at_commas
from text2sql.sql.tokens import Token, fold, statements, tokenize


@dataclass(frozen=True)
class Domain:
    """A domain: another type with conditions.

    Attributes:
        type: The base type as the schema writes it.
        not_null: Whether it refuses NULL.
        check: The condition on VALUE; empty for none.
    """

    type: str
    not_null: bool
    check: str

    def condition(self, column: str) -> str:
        """The condition with the column's name in place of VALUE."""
        tokens = tokenize(self.check)
        return " ".join(column if token.keyword == "VALUE" else token.text for token in tokens)


@dataclass(frozen=True)
class CreatedTypes:
    """The created types by lower-case name.

    Attributes:
        enums: The labels of each enumeration.
        domains: Domains, and DuckDB's aliases of types.
        composites: PostgreSQL's composite types: the name and the written type of each field.
    """

    enums: dict[str, tuple[str, ...]] = field(default_factory=dict)
    domains: dict[str, Domain] = field(default_factory=dict)
    composites: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)

    def domain(self, declared: str) -> Domain | None:
        """The domain that a column's declared type names; None if it names no domain."""
        return self.domains.get(_bare(declared))

    def composite(self, declared: str) -> tuple[str, tuple[tuple[str, str], ...]] | None:
        """The name and the fields of the composite type that a column declares; None if it declares none."""
        name = _bare(declared)
        return (name, self.composites[name]) if name in self.composites else None


def _bare(declared: str) -> str:
    return declared.strip('"').lower().split(".")[-1].strip('"')


def created_types(ddl: str) -> CreatedTypes:
    """Reads ``CREATE TYPE name AS ENUM (...)`` and ``CREATE DOMAIN name AS type ...``."""
    text = blank_non_sql(ddl)
    types = CreatedTypes()
    for tokens in statements(tokenize(text)):
        words = [token.keyword for token in tokens[:14]]
        if words[:2] == ["CREATE", "TYPE"] and "ENUM" in words:
            name = _name(tokens[2 : words.index("ENUM")])
            labels = tuple(token.name for token in tokens[words.index("ENUM") :] if token.kind == "string")
            types.enums.update({name: labels} if name and labels else {})
        elif words[:2] == ["CREATE", "TYPE"] and "AS" in words:
            _read_type(text, tokens, words.index("AS"), types)
        elif words[:2] == ["CREATE", "DOMAIN"] and len(tokens) > 3:
            _read_domain(text, tokens[2:], types)
    return types


def _read_type(text: str, tokens: list[Token], as_index: int, types: CreatedTypes) -> None:
    """Reads ``CREATE TYPE name AS (field type, ...)``, and DuckDB's aliases: ``CREATE TYPE name AS STRUCT(...)``."""
    name = _name(tokens[2:as_index])
    if not name or as_index + 1 >= len(tokens) or tokens[as_index + 1].keyword == "RANGE":
        return
    if tokens[as_index + 1].text != "(":
        types.domains[name] = Domain(text[tokens[as_index + 1].start : tokens[-1].end], False, "")
        return
    parts = [
        part
        for part in split_at_commas(tokens[as_index + 2 : closing_parenthesis(tokens, as_index + 1)])
        if len(part) > 1
    ]
    types.composites[name] = tuple((fold(part[0].name), text[part[1].start : part[-1].end]) for part in parts)


def _read_domain(text: str, tokens: list[Token], types: CreatedTypes) -> None:
    words = [token.keyword for token in tokens]
    # The base type follows an optional AS behind the name, which may be qualified.
    start = words.index("AS") + 1 if "AS" in words else 3 if words[1:2] == ["."] else 1
    ends = [words.index(word, start) for word in _KEYWORDS_AFTER_TYPE if word in words[start:]]
    end = min(ends, default=len(tokens))
    if end <= start:
        return
    check = ""
    if "CHECK" in words[end:]:
        opening = words.index("CHECK", end) + 1
        closing = min(closing_parenthesis(tokens, opening), len(tokens) - 1)
        check = text[tokens[opening].end : tokens[closing].start] if opening < len(tokens) else ""
    not_null = ("NOT", "NULL") in zip(words[end:], words[end + 1 :], strict=False)
    name = _name(tokens[: start - ("AS" in words)])
    types.domains[name] = Domain(text[tokens[start].start : tokens[end - 1].end], not_null, check)


_KEYWORDS_AFTER_TYPE = ("CONSTRAINT", "NOT", "NULL", "CHECK", "DEFAULT", "COLLATE")


def _name(tokens: list[Token]) -> str:
    """The last part of a qualified name, in lower case."""
    names = [token for token in tokens if token.kind in ("word", "dquoted") and token.keyword != "AS"]
    return fold(names[-1].name) if names else ""
