"""The dialects of SQL that queries are written, read and executed in."""

from __future__ import annotations

from typing import Literal, get_args

from text2sql.errors import UserError

Dialect = Literal["sqlite", "postgres", "duckdb", "mysql"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)

# As they are called in prompts, reports and messages. sqlglot calls them as `Dialect` does.
SHOWN: dict[Dialect, str] = {"sqlite": "SQLite", "postgres": "PostgreSQL", "duckdb": "DuckDB", "mysql": "MySQL"}
# What people call them besides, for settings and the schemes of URLs.
_ALIASES: dict[str, Dialect] = {
    "postgresql": "postgres",
    "pg": "postgres",
    "sqlite3": "sqlite",
    "mariadb": "mysql",
}


def dialect_named(name: str) -> Dialect | None:
    """The dialect that a name stands for, in any case; None if it is none of those that are executed.

    The name may be the scheme of a URL: ``postgresql+psycopg`` is ``postgres``.
    """
    wanted = name.lower().partition("+")[0]
    found = {dialect: dialect for dialect in DIALECTS} | _ALIASES
    return found.get(wanted)


def read_dialect(name: str, where: str) -> Dialect:
    """The dialect that a person names.

    Args:
        name: As it was given.
        where: The option or key, for the message.

    Raises:
        UserError: It is none of those that are executed.
    """
    found = dialect_named(name)
    if found is None:
        raise UserError(f"{where}={name}: choose one of {', '.join(DIALECTS)}.")
    return found
