"""The rights to write that a connection's role has on its server, were it not for the read-only transaction."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from text2sql.sql.values import Row

# Since PostgreSQL 15 not everybody may create tables in the schema `public` of a new database.
_PUBLIC_RESTRICTED_VERSION = 150000
_POSTGRES_ROLE = """
SELECT rolsuper, rolcreatedb OR rolcreaterole, pg_has_role(current_user, 'pg_execute_server_program', 'USAGE')
  OR pg_has_role(current_user, 'pg_write_server_files', 'USAGE') FROM pg_roles WHERE rolname = current_user"""
_POSTGRES_TABLE = r"""
SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
  AND (has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
    OR has_any_column_privilege(c.oid, 'INSERT, UPDATE'))
ORDER BY 1 LIMIT 1"""
_POSTGRES_SCHEMA = r"""
SELECT nspname FROM pg_namespace WHERE has_schema_privilege(oid, 'CREATE') AND nspname NOT LIKE 'pg\_%'
  AND nspname <> 'information_schema' ORDER BY 1"""
# The rights of a MySQL or MariaDB role that only reads.
_READ_RIGHTS = frozenset(
    ("USAGE", "SELECT", "SHOW VIEW", "SHOW DATABASES", "PROCESS", "EXECUTE", "REFERENCES", "LOCK TABLES",
     "REPLICATION CLIENT", "BINLOG MONITOR", "SHOW_ROUTINE", "SHOW CREATE ROUTINE", "PROXY")
)  # fmt: skip

Fetch = Callable[[str], Sequence[Row]]


def postgres_rights(fetch: Fetch, version: int) -> str | None:
    """What a PostgreSQL role may do besides reading, as a clause for a message; None if it can only read.

    Args:
        fetch: Returns the rows of a query.
        version: The server's version number, such as 150020.
    """
    ((superuser, creates, server),) = fetch(_POSTGRES_ROLE) or ((False, False, False),)
    for has_right, clause in (
        (superuser, "it is a superuser"),
        (creates, "it may create databases or roles"),
        (server, "it may write files of the server or start programs there"),
    ):
        if has_right in (True, "true"):
            return clause
    for (table,) in fetch(_POSTGRES_TABLE):
        return f"it may write to {table!s}"
    for (schema,) in fetch(_POSTGRES_SCHEMA):
        if schema != "public" or version >= _PUBLIC_RESTRICTED_VERSION:
            return f"it may make tables in {schema!s}"
    return None


def mysql_rights(fetch: Fetch) -> str | None:
    """What a MySQL or MariaDB role may do besides reading, as a clause for a message; None if it can only read.

    Args:
        fetch: Returns the rows of a query; no rows where the server refuses it.
    """
    grants = [str(row[0]) for row in fetch("SHOW GRANTS FOR CURRENT_USER()")]
    for role in [match[1] for grant in grants if (match := re.match(r"GRANT (`[^`]*`(?:@`[^`]*`)?) TO ", grant))]:
        grants += [str(row[0]) for row in fetch(f"SHOW GRANTS FOR {role}")]
    for right, target in (pair for grant in grants for pair in _rights(grant)):
        if right not in _READ_RIGHTS:
            return f"it has the right {right} on {target}"
    return None


def _rights(grant: str) -> Iterator[tuple[str, str]]:
    """The rights that a line of SHOW GRANTS names, as (right, target)."""
    match = re.match(r"GRANT (.*?) ON (\S+) TO ", grant)
    if match is None:
        return
    for right in re.split(r",\s*(?![^(]*\))", match[1]):
        yield re.sub(r"\s*\(.*\)", "", right).strip().upper(), match[2].replace("`", "")
