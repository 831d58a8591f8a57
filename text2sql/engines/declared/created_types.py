"""The types that a schema creates itself: enumerations, domains, types with fields, and other names of types."""

from __future__ import annotations

from dataclasses import dataclass, field

from text2sql.sql.dumps import statements_alone
from text2sql.sql.table_parts import matching, split_at_commas
from text2sql.sql.tokens import Token, fold, statements, tokenize


@dataclass(frozen=True)
class Domain:
    """A type with conditions.

    Attributes:
        type: What it is made from, as it was written.
        not_null: Whether it takes no NULL.
        check: Its condition on VALUE; empty for none.
    """

    type: str
    not_null: bool
    check: str

    def condition(self, column: str) -> str:
        """The condition on a column of this type, which is spelt so."""
        tokens = tokenize(self.check)
        return " ".join(column if token.keyword == "VALUE" else token.text for token in tokens)


@dataclass(frozen=True)
class CreatedTypes:
    """Types by lower-case name.

    Attributes:
        enums: The values of each enumeration.
        domains: Domains.
        composites: PostgreSQL's types with fields: the names of these, and their types as they were written.
    """

    enums: dict[str, tuple[str, ...]] = field(default_factory=dict)
    domains: dict[str, Domain] = field(default_factory=dict)
    composites: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)

    def domain(self, declared: str) -> Domain | None:
        """The domain that a column's type names, if it does."""
        return self.domains.get(_bare(declared))

    def composite(self, declared: str) -> tuple[str, tuple[tuple[str, str], ...]] | None:
        """The name and the fields of the type that a column's type names, if it has fields."""
        name = _bare(declared)
        return (name, self.composites[name]) if name in self.composites else None


def _bare(declared: str) -> str:
    return declared.strip('"').lower().split(".")[-1].strip('"')


def created_types(ddl: str) -> CreatedTypes:
    """Reads ``CREATE TYPE name AS ENUM (...)`` and ``CREATE DOMAIN name AS type ...``."""
    text = statements_alone(ddl)
    found = CreatedTypes()
    for tokens in statements(tokenize(text)):
        words = [token.keyword for token in tokens[:14]]
        if words[:2] == ["CREATE", "TYPE"] and "ENUM" in words:
            name = _name(tokens[2 : words.index("ENUM")])
            labels = tuple(token.name for token in tokens[words.index("ENUM") :] if token.kind == "string")
            found.enums.update({name: labels} if name and labels else {})
        elif words[:2] == ["CREATE", "TYPE"] and "AS" in words:
            _read_type(text, tokens, words.index("AS"), found)
        elif words[:2] == ["CREATE", "DOMAIN"] and len(tokens) > 3:
            _read_domain(text, tokens[2:], found)
    return found


def _read_type(text: str, tokens: list[Token], at: int, found: CreatedTypes) -> None:
    """``CREATE TYPE name AS (field type, ...)``, and DuckDB's other names: ``CREATE TYPE name AS STRUCT(...)``."""
    name = _name(tokens[2:at])
    if not name or at + 1 >= len(tokens) or tokens[at + 1].keyword == "RANGE":
        return
    if tokens[at + 1].text != "(":
        found.domains[name] = Domain(text[tokens[at + 1].start : tokens[-1].end], False, "")
        return
    parts = [part for part in split_at_commas(tokens[at + 2 : matching(tokens, at + 1)]) if len(part) > 1]
    found.composites[name] = tuple((fold(part[0].name), text[part[1].start : part[-1].end]) for part in parts)


def _read_domain(text: str, tokens: list[Token], found: CreatedTypes) -> None:
    words = [token.keyword for token in tokens]
    # The type follows AS, which may be left out, behind a name that may have the name of its schema before it.
    begin = words.index("AS") + 1 if "AS" in words else 3 if words[1:2] == ["."] else 1
    ends = [words.index(word, begin) for word in _BEHIND_TYPE if word in words[begin:]]
    end = min(ends, default=len(tokens))
    if end <= begin:
        return
    check = ""
    if "CHECK" in words[end:]:
        opening = words.index("CHECK", end) + 1
        closed = min(matching(tokens, opening), len(tokens) - 1)
        check = text[tokens[opening].end : tokens[closed].start] if opening < len(tokens) else ""
    not_null = ("NOT", "NULL") in zip(words[end:], words[end + 1 :], strict=False)
    name = _name(tokens[: begin - ("AS" in words)])
    found.domains[name] = Domain(text[tokens[begin].start : tokens[end - 1].end], not_null, check)


_BEHIND_TYPE = ("CONSTRAINT", "NOT", "NULL", "CHECK", "DEFAULT", "COLLATE")


def _name(tokens: list[Token]) -> str:
    """The last name before the type, in lower case."""
    names = [token for token in tokens if token.kind in ("word", "dquoted") and token.keyword != "AS"]
    return fold(names[-1].name) if names else ""
