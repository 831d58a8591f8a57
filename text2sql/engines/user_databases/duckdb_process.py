"""The process that a user's DuckDB file is opened in: what a query takes is its process's, which the system limits.

DuckDB's own ``memory_limit`` does not count the values of a query's functions, nor rows that wait to be fetched, and a
function that is at work is not interrupted: https://duckdb.org/docs/stable/operations_manual/limits. The parent is
`duckdb_file`; it sends a `Request` for each query and receives a `Reply`.
"""

from __future__ import annotations

import os
import pickle
import re
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from text2sql.engines.failures import first_line
from text2sql.engines.user_databases.connection import Limits
from text2sql.engines.values.fetched import display_value
from text2sql.sql.sandbox import Result
from text2sql.sql.values import Row

if TYPE_CHECKING:
    import duckdb

# Limits of the engine, which shares the machine with others.
_SETTINGS: dict[str, Any] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": "1GB",
    "threads": 2,
    "lock_configuration": "true",
}
# The address space of the process: that of an engine that uses all of its memory, and as much again.
_ADDRESS_SPACE = 3 * 2**30
# Rows per fetch.
_FETCH_ROWS = 100
# Types whose Python values say all that the engine's do. Of the others DuckDB's module for Python loses something, such
# as an infinite date, nanoseconds, or the months of an interval, so that the engine writes them as text.
_PYTHON_TYPES = re.compile(
    r"BOOLEAN|U?(?:TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL\(\d+,\d+\)|VARCHAR|BLOB|ENUM\(.*\)|\"NULL\"",
    re.DOTALL,
)


@dataclass(frozen=True)
class Request:
    """A query and its limits."""

    sql: str
    limits: Limits


@dataclass(frozen=True)
class Reply:
    """What came of opening the file or of a query.

    Attributes:
        kind: done, or what went wrong: a `QueryFailed.kind`, or that the file cannot be read (any more).
        text: Why it went wrong.
        result: What a query that is done has returned.
        out_of_memory: Whether it took too much memory.
    """

    kind: Literal["done", "error", "timeout", "refused", "unreadable"]
    text: str = ""
    result: Result | None = None
    out_of_memory: bool = False


OUT_OF_MEMORY = Reply("timeout", "it takes too much memory", out_of_memory=True)


def serve(path: str) -> None:
    """Opens the file, then answers requests on the standard input until it ends."""
    import duckdb

    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Nothing else may write between the replies.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _limit_memory()

    def reply(answer: Reply) -> None:
        pickle.dump(answer, replies)
        replies.flush()

    try:
        connection = duckdb.connect(path, read_only=True, config=_SETTINGS)
    except duckdb.Error as error:
        reply(Reply("unreadable", str(error)))
        return
    reply(Reply("done", duckdb.__version__))
    while True:
        try:
            request: Request = pickle.load(requests)
        except EOFError:
            return
        reply(_answer(connection, request))


def _limit_memory() -> None:
    """Limits the process's address space where the system can."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _ADDRESS_SPACE if hard == resource.RLIM_INFINITY else min(_ADDRESS_SPACE, hard)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (OSError, ValueError):
        # macOS has the name and not the limit.
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _answer(connection: duckdb.DuckDBPyConnection, request: Request) -> Reply:
    import duckdb

    timed_out = threading.Event()

    def interrupt() -> None:
        timed_out.set()
        connection.interrupt()

    timer = threading.Timer(request.limits.seconds, interrupt)
    timer.start()
    try:
        # DuckDB's own parser counts the statements too, because the guard uses another parser.
        if len(connection.extract_statements(request.sql)) != 1:
            return Reply("refused", "it holds more than one statement")
        return Reply("done", result=_run(connection, request.sql, request.limits))
    except MemoryError:
        return OUT_OF_MEMORY
    except (duckdb.FatalException, duckdb.ConnectionException) as error:
        return Reply("unreadable", first_line(error))
    except (duckdb.Error, ValueError, OverflowError, RuntimeError) as error:
        if timed_out.is_set():
            return Reply("timeout", "it takes too long")
        is_memory = isinstance(error, (duckdb.OutOfMemoryException, duckdb.InterruptException))
        # The system's refusal comes as C++'s exception.
        return OUT_OF_MEMORY if is_memory or "bad_alloc" in str(error) else Reply("error", first_line(error))
    finally:
        timer.cancel()


def _run(connection: duckdb.DuckDBPyConnection, sql: str, limits: Limits) -> Result:
    """Runs a query within another that limits its rows and writes what Python has no value for."""
    described = connection.execute(f"DESCRIBE {sql}").fetchall()
    columns = tuple(str(name) for name, *_ in described)
    names = [f"c{number}" for number in range(len(columns))]
    values = [
        name if _PYTHON_TYPES.fullmatch(str(data_type)) else f"CAST({name} AS VARCHAR)"
        for name, (_, data_type, *_) in zip(names, described, strict=True)
    ]
    cursor = connection.execute(
        f"SELECT {', '.join(values)} FROM ({sql}) AS query({', '.join(names)}) LIMIT {limits.rows + 1}"
    )
    rows: list[Row] = []
    size = 0
    while chunk := cursor.fetchmany(_FETCH_ROWS):
        for row in chunk:
            if len(rows) >= limits.rows or size > limits.size:
                return Result(columns, rows, True)
            rows.append(tuple(display_value(value) for value in row))
            size += sum(len(value) for value in rows[-1] if isinstance(value, (str, bytes)))
    return Result(columns, rows, False)
