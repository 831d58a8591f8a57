"""What drivers and servers say of a failure, as one sentence that says what to do."""

from __future__ import annotations

import re

from text2sql.engines.dialect import SHOWN
from text2sql.engines.url import Location
from text2sql.sql.sandbox import QueryFailed

# PostgreSQL's classes of errors, https://www.postgresql.org/docs/current/errcodes-appendix.html; MySQL's and MariaDB's
# numbers, https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html, https://mariadb.com/kb/en/mariadb-error-codes/.
_LATE = ("57014", 3024, 1969, 1317)
_LARGE = ("53200", "53400", "54000", "54001", 1037, 1038, 1114, 1041)
_WRITES = ("25006", 1792)
_GONE = ("57P01", "57P02", "57P03", "08003", "08006", "08000", 2006, 2013, 2055, 1053, 1927, 0)
_PASSWORD = (1045, 1698)
_NO_DATABASE = (1049, 1044)
# What stands before the reason: DuckDB's name for the kind, and libpq's of the address.
_PREFIX = re.compile(r"^(?:[A-Z]\w+ Error: |connection failed: )?(?:connection to server .*? failed: )?(?:FATAL:\s+)?")


def first_line(error: BaseException) -> str:
    """What a library says of a failure, in one line and without its own name for the kind."""
    lines = [line.strip() for line in said_by(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    return _PREFIX.sub("", said).rstrip(".!")


def said_by(error: BaseException) -> str:
    """The text of a failure; PyMySQL's has its number next to it."""
    return str(error.args[1]) if len(error.args) > 1 and isinstance(error.args[0], int) else str(error)


def code_of(error: BaseException) -> str | int | None:
    """PostgreSQL's code of a failure, or MySQL's number."""
    if error.args and isinstance(error.args[0], int):
        return error.args[0]
    state = getattr(error, "sqlstate", None)
    return None if state is None else str(state)


def is_lost(error: BaseException) -> bool:
    """Whether a failure is the connection's, not the query's."""
    return code_of(error) in _GONE or type(error).__name__ in ("InterfaceError", "AdminShutdown", "BrokenPipeError")


def query_failed(error: BaseException) -> QueryFailed:
    """A failure of a query, by its kind."""
    code = code_of(error)
    if code in _LATE:
        return QueryFailed("timeout", "it takes too long")
    if code in _LARGE:
        return QueryFailed("timeout", "it takes too much memory", out_of_memory=True)
    if code in _WRITES:
        return QueryFailed("refused", "it writes")
    return QueryFailed("error", first_line(error))


def why_closed(location: Location, error: BaseException) -> str:
    """Why a server could not be opened, and what to do."""
    # What we say ourselves holds no secret, and a password may be a word of it.
    said, code = location.redacted(first_line(error)), code_of(error)
    text = said_by(error)
    password = location.url is not None and bool(location.url.password)
    if code in _PASSWORD or re.search(
        r"password authentication failed|no password supplied|authentication failed", text
    ):
        what = "the password is wrong, or the user is unknown" if password else "it wants a password"
        advice = "Write it as USER:${NAME}@HOST and put the password into the variable NAME"
        reason = f"{what} ({said}). {advice}."
    elif code in _NO_DATABASE or re.search(r'database "[^"]*" does not exist', text):
        reason = (
            f"the server has no such database, or the user may not read it ({said}). Look at the name behind the host."
        )
    elif re.search(r'role "[^"]*" does not exist|no pg_hba\.conf entry', text):
        reason = f"the server does not let this user in ({said}). Look at the user and at how the server admits it."
    else:
        reason = (
            f"the server cannot be reached ({said}). Look whether it runs, whether host and port are right, and "
            "whether this machine may connect to it."
        )
    return f"{SHOWN[location.dialect]} at {location.shown}: {reason}"
