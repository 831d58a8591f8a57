"""Turns the errors of database drivers into `QueryFailed`, and into messages that say what to do."""

from __future__ import annotations

import re

from text2sql.engines.dialect import DISPLAY_NAMES
from text2sql.engines.url import Location
from text2sql.sql.sandbox import QueryFailed

# Texts are PostgreSQL's SQLSTATEs, https://www.postgresql.org/docs/current/errcodes-appendix.html; numbers are MySQL's
# and MariaDB's, https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html,
# https://mariadb.com/kb/en/mariadb-error-codes/.
_TIMEOUT_CODES = ("57014", 3024, 1969, 1317)
_MEMORY_CODES = ("53200", "53400", "54000", "54001", 1037, 1038, 1114, 1041)
_READ_ONLY_CODES = ("25006", 1792)
_LOST_CODES = ("57P01", "57P02", "57P03", "08003", "08006", "08000", 2006, 2013, 2055, 1053, 1927, 0)
_PASSWORD_CODES = (1045, 1698)
_NO_DATABASE_CODES = (1049, 1044)
# What precedes the reason: DuckDB's name of the error's kind, or libpq's address of the server.
_PREFIX = re.compile(r"^(?:[A-Z]\w+ Error: |connection failed: )?(?:connection to server .*? failed: )?(?:FATAL:\s+)?")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without the library's name for the kind of error."""
    lines = [line.strip() for line in error_text(error).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return _PREFIX.sub("", line).rstrip(".!")


def error_text(error: BaseException) -> str:
    """The message of an error; PyMySQL keeps it behind the error number."""
    return str(error.args[1]) if len(error.args) > 1 and isinstance(error.args[0], int) else str(error)


def error_code(error: BaseException) -> str | int | None:
    """The SQLSTATE of a PostgreSQL error, or the number of a MySQL error."""
    if error.args and isinstance(error.args[0], int):
        return error.args[0]
    state = getattr(error, "sqlstate", None)
    return None if state is None else str(state)


def is_connection_lost(error: BaseException) -> bool:
    """Whether an error comes from a broken connection and not from the query."""
    return error_code(error) in _LOST_CODES or type(error).__name__ in (
        "InterfaceError",
        "AdminShutdown",
        "BrokenPipeError",
    )


def to_query_failed(error: BaseException) -> QueryFailed:
    """A driver's error as a `QueryFailed` of the right kind."""
    code = error_code(error)
    if code in _TIMEOUT_CODES:
        return QueryFailed("timeout", "it takes too long")
    # A limit of the server's is not always one of memory: chr(0) breaks one too.
    if code in _MEMORY_CODES and "null character" not in error_text(error):
        return QueryFailed("timeout", "it takes too much memory", out_of_memory=True)
    if code in _READ_ONLY_CODES:
        return QueryFailed("refused", "it writes")
    return QueryFailed("error", first_line(error))


def explain_connection_failure(location: Location, error: BaseException) -> str:
    """A message about a server that could not be opened: the reason, and what to do."""
    # Only the driver's words are redacted: a password may equal a word of our own message.
    message, code = location.redact(first_line(error)), error_code(error)
    text = error_text(error)
    in_url = location.url is not None and bool(location.url.password)
    # The driver may have found one elsewhere, as in PGPASSWORD.
    has_password = in_url or "password authentication failed" in text
    if code in _PASSWORD_CODES or re.search(
        r"password authentication failed|no password supplied|authentication failed", text
    ):
        problem = "the password is wrong, or the user is unknown" if has_password else "it wants a password"
        advice = "Write it as USER:${NAME}@HOST and put the password into the variable NAME"
        reason = f"{problem} ({message}). {advice}."
    elif re.search(r"invalid \w+ value|invalid connection option|invalid command-line argument", text):
        reason = f"an option behind the ? of the URL is refused ({message}). Mend it, or leave it out."
    elif code in _NO_DATABASE_CODES or re.search(r'database "[^"]*" does not exist', text):
        reason = (
            f"the server has no such database, or the user may not read it ({message}). "
            "Look at the name behind the host."
        )
    elif re.search(r'role "[^"]*" does not exist|no pg_hba\.conf entry', text):
        reason = f"the server does not let this user in ({message}). Look at the user and at how the server admits it."
    else:
        reason = (
            f"the server cannot be reached ({message}). Look whether it runs, whether host and port are right, and "
            "whether this machine may connect to it."
        )
    engine = DISPLAY_NAMES[location.dialect]
    return f"{engine} at {location.display_name}: {reason}"
