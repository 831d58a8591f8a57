"""The collations that columns declare, as each engine names them, and which texts they take for equal."""

from __future__ import annotations

import re
from collections.abc import Mapping

from text2sql.engines.declared.created_collations import BUILTIN_COLLATIONS, CreatedCollation
from text2sql.engines.declared.types import CITEXT, EngineType
from text2sql.engines.dialect import Dialect
from text2sql.sql.tokens import Token, quote_identifier

# MySQL's kinds of collations under MariaDB's names: exact or not, and with trailing spaces counted (unpadded) or not.
_EXACT, _EXACT_UNPADDED, _UNPADDED = "utf8mb4_bin", "utf8mb4_nopad_bin", "utf8mb4_general_nopad_ci"
# The names of the unpadded ones in MySQL 8.
MYSQL_NAMES = {_EXACT_UNPADDED: "utf8mb4_0900_bin", _UNPADDED: "utf8mb4_0900_ai_ci"}
_UNPADDED_NAME = re.compile(r"_nopad_|_0900_")


def engine_collation(
    part: list[Token], options: list[Token], dialect: Dialect, created: Mapping[str, CreatedCollation]
) -> str:
    """The collation to create a column with; empty for the default one.

    PostgreSQL's collations order texts and do not make them equal, except for those that the schema creates itself; of
    the others this server may lack some, so that only those that every server has are kept.

    Args:
        part: The tokens of the column.
        options: The tokens behind the table's body: a MySQL table has a collation for all of its columns.
        dialect: The engine's dialect.
        created: The collations that the schema creates, by lower-case name.
    """
    declared = _name_after(part, "COLLATE")
    if dialect == "duckdb":
        return declared if re.fullmatch(r"[\w.]*", declared) else ""
    if dialect == "postgres":
        known = created.get(declared.split(".")[-1].lower())
        return (
            known.qualified_name
            if known is not None
            else quote_identifier(declared, '"')
            if declared in BUILTIN_COLLATIONS
            else ""
        )
    if dialect != "mysql":
        return ""
    words = {token.keyword for token in part}
    name = "_bin" if "BINARY" in words else declared
    if not name and not {"CHARACTER", "CHARSET"} & words:
        name = _name_after(options, "COLLATE")
    if _UNPADDED_NAME.search(name.lower()):
        return _EXACT_UNPADDED if _is_exact(name) else _UNPADDED
    return _EXACT if _is_exact(name) else ""


def is_unpadded(collation: str) -> bool:
    """Whether trailing spaces make two texts different under a collation of MySQL."""
    return collation in MYSQL_NAMES


def is_nondeterministic(
    kind: EngineType, collation: str, dialect: Dialect, created: Mapping[str, CreatedCollation]
) -> bool:
    """Whether different texts of a column may be equal (`a` and `A`), as MySQL's are unless a schema says otherwise."""
    if dialect == "postgres" and any(
        known.nondeterministic and known.qualified_name == collation for known in created.values()
    ):
        return True
    if kind.kind != "text" or kind.sql == CITEXT:
        return kind.sql == CITEXT
    return not _is_exact(collation) if dialect == "mysql" else "nocase" in collation.lower()


def _is_exact(name: str) -> bool:
    return name.lower().endswith(("_bin", "_cs")) or name.lower() == "binary"


def _name_after(tokens: list[Token], keyword: str) -> str:
    """The name after a keyword and an optional equals sign; empty if there is none."""
    for index, token in enumerate(tokens):
        if token.keyword == keyword:
            rest = [following for following in tokens[index + 1 : index + 3] if following.text != "="]
            if not rest:
                return ""
            # DuckDB joins collations by dots: NOCASE.NOACCENT.
            end = index + 2
            name = rest[0].name
            while [t.text for t in tokens[end : end + 1]] == ["."] and end + 1 < len(tokens):
                name += "." + tokens[end + 1].name
                end += 2
            return name
    return ""
