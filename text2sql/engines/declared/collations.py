"""Which texts a column takes for equal: what a schema's collations say, in each engine's words."""

from __future__ import annotations

import re
from collections.abc import Mapping

from text2sql.engines.declared.created_collations import EVERYWHERE, CreatedCollation
from text2sql.engines.declared.types import CITEXT, EngineType
from text2sql.engines.dialect import Dialect
from text2sql.sql.tokens import Token, quote_identifier

# MySQL's kinds of collations, by whether they tell case and whether spaces at the end count, as MariaDB calls them.
_EXACT, _EXACT_UNPADDED, _UNPADDED = "utf8mb4_bin", "utf8mb4_nopad_bin", "utf8mb4_general_nopad_ci"
# The same in MySQL 8, where what is not padded has other names.
IN_MYSQL = {_EXACT_UNPADDED: "utf8mb4_0900_bin", _UNPADDED: "utf8mb4_0900_ai_ci"}
_COUNTS_SPACES = re.compile(r"_nopad_|_0900_")


def collation_of(
    part: list[Token], options: list[Token], dialect: Dialect, created: Mapping[str, CreatedCollation]
) -> str:
    """The collation of a column as its engine is told it; empty for the usual one.

    PostgreSQL's order texts and do not make them equal, but for those that a schema creates itself; others may be
    another server's.

    Args:
        part: The column's tokens.
        options: Those behind the table's body: MySQL's tables have a collation for all their columns.
        dialect: The engine's.
        created: The collations that the schema creates.
    """
    own = _named(part, "COLLATE")
    if dialect == "duckdb":
        return own if re.fullmatch(r"[\w.]*", own) else ""
    if dialect == "postgres":
        known = created.get(own.split(".")[-1].lower())
        return known.spelt if known is not None else quote_identifier(own, '"') if own in EVERYWHERE else ""
    if dialect != "mysql":
        return ""
    words = {token.keyword for token in part}
    name = "_bin" if "BINARY" in words else own
    if not name and not {"CHARACTER", "CHARSET"} & words:
        name = _named(options, "COLLATE")
    if _COUNTS_SPACES.search(name.lower()):
        return _EXACT_UNPADDED if _is_exact(name) else _UNPADDED
    return _EXACT if _is_exact(name) else ""


def counts_spaces(collation: str) -> bool:
    """Whether two texts that differ in spaces at the end are told apart by a collation of MySQL's."""
    return collation in IN_MYSQL


def compares_blindly(
    kind: EngineType, collation: str, dialect: Dialect, created: Mapping[str, CreatedCollation]
) -> bool:
    """Whether a column takes texts for equal that differ in case: MySQL's do unless a schema says otherwise."""
    if dialect == "postgres" and any(known.blind and known.spelt == collation for known in created.values()):
        return True
    if kind.kind != "text" or kind.sql == CITEXT:
        return kind.sql == CITEXT
    return not _is_exact(collation) if dialect == "mysql" else "nocase" in collation.lower()


def _is_exact(name: str) -> bool:
    return name.lower().endswith(("_bin", "_cs")) or name.lower() == "binary"


def _named(tokens: list[Token], word: str) -> str:
    """The name behind a word, and behind the equals sign after it."""
    for at, token in enumerate(tokens):
        if token.keyword == word:
            rest = [following for following in tokens[at + 1 : at + 3] if following.text != "="]
            if not rest:
                return ""
            # DuckDB's are joined by points: NOCASE.NOACCENT.
            end = at + 2
            name = rest[0].name
            while [t.text for t in tokens[end : end + 1]] == ["."] and end + 1 < len(tokens):
                name += "." + tokens[end + 1].name
                end += 2
            return name
    return ""
