"""The dialects of SQL that queries are written, read and executed in."""

from __future__ import annotations

from typing import Literal, get_args

from text2sql.errors import UserError

Dialect = Literal["sqlite", "postgres", "duckdb", "mysql"]
DIALECTS: tuple[Dialect, ...] = get_args(Dialect)

# Their names in prompts, reports and messages; sqlglot's names are those of `Dialect`.
DISPLAY_NAMES: dict[Dialect, str] = {"sqlite": "SQLite", "postgres": "PostgreSQL", "duckdb": "DuckDB", "mysql": "MySQL"}
# Other names, which settings and the schemes of URLs may use.
_ALIASES: dict[str, Dialect] = {
    "postgresql": "postgres",
    "pg": "postgres",
    "sqlite3": "sqlite",
    "mariadb": "mysql",
}
# Systems that rows name and that have no engine here, besides those that sqlglot knows.
_OTHER_SYSTEMS = {"mssql", "sqlserver", "sql server", "plsql", "db2"}


def dialect_named(name: str) -> Dialect | None:
    """The dialect of a name in any letter case; None if there is no engine for it.

    The name may be the scheme of a URL: ``postgresql+psycopg`` is ``postgres``.
    """
    scheme = name.lower().partition("+")[0]
    dialects = {dialect: dialect for dialect in DIALECTS} | _ALIASES
    return dialects.get(scheme)


def read_dialect(name: str, where: str) -> Dialect:
    """The dialect that a user names.

    Args:
        name: The name.
        where: The option or key that holds it, for the message.

    Raises:
        UserError: There is no engine for this dialect.
    """
    dialect = dialect_named(name)
    if dialect is None:
        raise UserError(f"{where}={name}: choose one of {', '.join(DIALECTS)}.")
    return dialect


def stated_dialect(text: str) -> str | None:
    """The dialect that a row's own field ``dialect`` names.

    Returns:
        One of `Dialect`; the name, in small letters, of another system; None if it names neither (``ansi``, ``sql``).
    """
    from sqlglot.dialects import Dialects

    name = text.strip().lower()
    # Often with a version: PostgreSQL 15.
    known = dialect_named(name) or dialect_named(name.partition(" ")[0])
    systems = {dialect.value for dialect in Dialects} | _OTHER_SYSTEMS
    return known or (name if name and name in systems else None)
