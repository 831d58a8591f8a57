"""Collations that a PostgreSQL schema creates itself, including nondeterministic ones: different texts may be equal.

They are created in the schema of temporary tables, as a pair's tables are. PostgreSQL searches that schema for no
collation, so queries name it explicitly.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import sqlglot
from sqlglot import exp

from text2sql.sql.dumps import blank_non_sql
from text2sql.sql.table_parts import closing_parenthesis, qualified_name, split_at_commas
from text2sql.sql.tokens import Token, fold, quote_identifier, quote_string, statements, tokenize
from text2sql.sql.trees import literal_value
from text2sql.sql.values import Value

_OPTIONS = frozenset(("locale", "lc_collate", "lc_ctype", "provider", "deterministic", "rules", "version"))
# Collations that every PostgreSQL server has, whatever its operating system.
BUILTIN_COLLATIONS = frozenset(("C", "POSIX", "ucs_basic"))
_SCHEMA, _QUOTE = "pg_temp", '"'


@dataclass(frozen=True)
class CreatedCollation:
    """A collation that a schema creates.

    Attributes:
        name: The name in lower case.
        definition: What follows the name in CREATE COLLATION.
        blind: Whether different texts may be equal.
    """

    name: str
    definition: str
    nondeterministic: bool

    @property
    def qualified_name(self) -> str:
        """The name with the schema that it is created in."""
        return f"{_SCHEMA}.{quote_identifier(self.name, _QUOTE)}"

    @property
    def create_statement(self) -> str:
        """The statement that creates it."""
        return f"CREATE COLLATION {self.qualified_name} {self.definition}"


def created_collations(ddl: str) -> dict[str, CreatedCollation]:
    """Reads ``CREATE COLLATION name (option = value, ...)`` and ``... FROM other``, by lower-case name."""
    collations: dict[str, CreatedCollation] = {}
    for tokens in statements(tokenize(blank_non_sql(ddl))) if "collation" in ddl.lower() else ():
        if [token.keyword for token in tokens[:2]] != ["CREATE", "COLLATION"]:
            continue
        index = 5 if [token.keyword for token in tokens[2:5]] == ["IF", "NOT", "EXISTS"] else 2
        if index >= len(tokens):
            continue
        name, behind = qualified_name(tokens, index)
        collation = _read(fold(name), tokens[behind:], collations)
        collations |= {collation.name: collation} if collation is not None else {}
    return collations


def _read(name: str, tokens: list[Token], known: Mapping[str, CreatedCollation]) -> CreatedCollation | None:
    if len(tokens) > 1 and tokens[0].keyword == "FROM":
        other = known.get(fold(tokens[-1].name))
        if other is not None:
            return CreatedCollation(name, other.definition, other.nondeterministic)
        return CreatedCollation(name, f"FROM {quote_identifier(tokens[-1].name, _QUOTE)}", False)
    if not tokens or tokens[0].text != "(":
        return None
    options: dict[str, str] = {}
    for part in split_at_commas(tokens[1 : closing_parenthesis(tokens, 0)]):
        if len(part) == 3 and part[1].text == "=" and fold(part[0].name) in _OPTIONS:
            options[fold(part[0].name)] = part[2].name
    # A version belongs to the server that the schema is from.
    options.pop("version", None)
    listed = ", ".join(f"{key} = {quote_string(value)}" for key, value in options.items())
    nondeterministic = fold(options.get("deterministic", "true")) in ("false", "off", "no", "0", "f")
    return CreatedCollation(name, f"({listed})", nondeterministic) if options else None


def qualify_collations(sql: str, created: Mapping[str, CreatedCollation]) -> str:
    """The text of a query with the schema in front of created collations."""
    if not created or "collate" not in sql.lower():
        return sql
    tokens = sqlglot.tokenize(sql, read="postgres")
    parts, position = list[str](), 0
    for previous, token in pairwise(tokens):
        collation = created.get(token.text.lower()) if previous.text.upper() == "COLLATE" else None
        if collation is not None:
            parts += [sql[position : token.start], collation.qualified_name]
            position = token.end + 1
    return "".join(parts) + sql[position:]


def collation_key(text: str) -> str:
    """A text without case, accents and trailing spaces; a nondeterministic collation may equate texts of one key."""
    decomposed = unicodedata.normalize("NFD", text.casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char)).rstrip(" ")


def collation_hints(trees: Sequence[exp.Expr], collated: Iterable[str]) -> dict[str, list[Value]]:
    """Texts that collations order differently, or take for equal.

    Args:
        trees: The syntax trees of the queries.
        collated: The lower-case names of columns that declare a collation.
    """
    columns = set(collated)
    for tree in trees:
        for node in tree.find_all(exp.Collate):
            columns |= {fold(column.name) for column in node.this.find_all(exp.Column)}
    literals = (literal_value(literal) for tree in trees for literal in tree.find_all(exp.Literal))
    texts = sorted({text for text in literals if isinstance(text, str) and 0 < len(text) < _MAX_LITERAL_CHARACTERS})[
        :_MAX_TEXTS
    ]
    near = [form for text in [*texts, "cafe"] for form in _variants(text)]
    return {column: [*near, *_SORTED_DIFFERENTLY] for column in columns}


# Numbers in texts, punctuation that some collations ignore, and letter case that others sort first.
_SORTED_DIFFERENTLY: tuple[Value, ...] = ("a2", "a10", "a-b", "ab", "B", "b", "Ab", "áb")
_MAX_TEXTS = 6
_MAX_LITERAL_CHARACTERS = 80
_ACCENTS = str.maketrans("aeiouAEIOU", "áéíóúÁÉÍÓÚ")


def _variants(text: str) -> tuple[str, ...]:
    return text, text.upper(), text.title(), text.translate(_ACCENTS), text + "x"
