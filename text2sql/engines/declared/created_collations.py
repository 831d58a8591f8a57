"""Collations that a PostgreSQL schema creates itself, among them such as take texts for equal that differ.

They are made where a pair's tables are, and named there: PostgreSQL looks for no collation among what is temporary
unless it is told to.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import sqlglot
from sqlglot import exp

from text2sql.sql.dumps import statements_alone
from text2sql.sql.table_parts import matching, qualified_name, split_at_commas
from text2sql.sql.tokens import Token, fold, quote_identifier, quote_string, statements, tokenize
from text2sql.sql.trees import literal_value
from text2sql.sql.values import Value

_OPTIONS = frozenset(("locale", "lc_collate", "lc_ctype", "provider", "deterministic", "rules", "version"))
# Collations that every server has, whatever its operating system.
EVERYWHERE = frozenset(("C", "POSIX", "ucs_basic"))
_PLACE, _MARK = "pg_temp", '"'


@dataclass(frozen=True)
class CreatedCollation:
    """A collation.

    Attributes:
        name: In lower case.
        definition: What follows its name where it is created.
        blind: Whether texts are equal to it that are not the same.
    """

    name: str
    definition: str
    blind: bool

    @property
    def spelt(self) -> str:
        """Its name, where it lies."""
        return f"{_PLACE}.{quote_identifier(self.name, _MARK)}"

    @property
    def creation(self) -> str:
        """The statement that creates it."""
        return f"CREATE COLLATION {self.spelt} {self.definition}"


def created_collations(ddl: str) -> dict[str, CreatedCollation]:
    """Reads ``CREATE COLLATION name (option = value, ...)`` and ``... FROM other``, by lower-case name."""
    found: dict[str, CreatedCollation] = {}
    for tokens in statements(tokenize(statements_alone(ddl))) if "collation" in ddl.lower() else ():
        if [token.keyword for token in tokens[:2]] != ["CREATE", "COLLATION"]:
            continue
        at = 5 if [token.keyword for token in tokens[2:5]] == ["IF", "NOT", "EXISTS"] else 2
        if at >= len(tokens):
            continue
        name, behind = qualified_name(tokens, at)
        known = _read(fold(name), tokens[behind:], found)
        found |= {known.name: known} if known is not None else {}
    return found


def _read(name: str, tokens: list[Token], known: Mapping[str, CreatedCollation]) -> CreatedCollation | None:
    if len(tokens) > 1 and tokens[0].keyword == "FROM":
        other = known.get(fold(tokens[-1].name))
        if other is not None:
            return CreatedCollation(name, other.definition, other.blind)
        return CreatedCollation(name, f"FROM {quote_identifier(tokens[-1].name, _MARK)}", False)
    if not tokens or tokens[0].text != "(":
        return None
    options: dict[str, str] = {}
    for part in split_at_commas(tokens[1 : matching(tokens, 0)]):
        if len(part) == 3 and part[1].text == "=" and fold(part[0].name) in _OPTIONS:
            options[fold(part[0].name)] = part[2].name
    # A version is that of another server.
    options.pop("version", None)
    listed = ", ".join(f"{key} = {quote_string(value)}" for key, value in options.items())
    blind = fold(options.get("deterministic", "true")) in ("false", "off", "no", "0", "f")
    return CreatedCollation(name, f"({listed})", blind) if options else None


def with_collations_placed(sql: str, created: Mapping[str, CreatedCollation]) -> str:
    """The text of a query with created collations named where they lie."""
    if not created or "collate" not in sql.lower():
        return sql
    tokens = sqlglot.tokenize(sql, read="postgres")
    parts, at = list[str](), 0
    for before, token in pairwise(tokens):
        known = created.get(token.text.lower()) if before.text.upper() == "COLLATE" else None
        if known is not None:
            parts += [sql[at : token.start], known.spelt]
            at = token.end + 1
    return "".join(parts) + sql[at:]


def alike(text: str) -> str:
    """What a text shares with those that a blind collation may take for it: without case, accents, spaces behind."""
    plain = unicodedata.normalize("NFD", text.casefold())
    return "".join(sign for sign in plain if not unicodedata.combining(sign)).rstrip(" ")


def collation_hints(trees: Sequence[exp.Expr], collated: Iterable[str]) -> dict[str, list[Value]]:
    """Texts that collations order in different ways, or take for equal.

    Args:
        trees: The queries.
        collated: The columns whose texts have a collation, by lower-case name.
    """
    columns = set(collated)
    for tree in trees:
        for node in tree.find_all(exp.Collate):
            columns |= {fold(column.name) for column in node.this.find_all(exp.Column)}
    literals = (literal_value(literal) for tree in trees for literal in tree.find_all(exp.Literal))
    texts = sorted({text for text in literals if isinstance(text, str) and 0 < len(text) < _LONGEST})[:_MOST_TEXTS]
    near = [form for text in [*texts, "cafe"] for form in _forms(text)]
    return {column: [*near, *_ORDERED] for column in columns}


# Numbers in texts, signs that some collations pass over, and letter case that others put first.
_ORDERED: tuple[Value, ...] = ("a2", "a10", "a-b", "ab", "B", "b", "Ab", "áb")
_MOST_TEXTS, _LONGEST = 6, 80
_ACCENTS = str.maketrans("aeiouAEIOU", "áéíóúÁÉÍÓÚ")


def _forms(text: str) -> tuple[str, ...]:
    return text, text.upper(), text.title(), text.translate(_ACCENTS), text + "x"
