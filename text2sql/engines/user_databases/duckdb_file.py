"""A user's DuckDB file: opened in a process of its own, read-only, without access to other files or the network.

https://duckdb.org/docs/stable/operations_manual/securing_duckdb/overview
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version

from backends.extras import missing_package
from text2sql.engines.url import Location
from text2sql.engines.user_databases.connection import DEFAULT_LIMITS, Limits, guard_user_query
from text2sql.engines.user_databases.duckdb_process import OUT_OF_MEMORY, Reply, Request
from text2sql.errors import UserError
from text2sql.sql.sandbox import QueryFailed, Result

# For the process to start and open the file, on a machine that does much else.
_START_SECONDS = 60.0
# What a query may take beyond its time until its process is killed: the engine does not interrupt a single function.
_GRACE_SECONDS = 2.0
# The directory that somebody works in, which Python would look through first, may hold another package of this name.
_COMMAND = (
    "import sys; sys.path.pop(0); from text2sql.engines.user_databases.duckdb_process import serve; serve(sys.argv[1])"
)


class DuckdbFile:
    """A connection to a DuckDB file; the engine's settings are locked, and nothing outside the file can be reached."""

    def __init__(self, location: Location, process: _Process, engine: str) -> None:
        self.location, self._process, self.engine = location, process, engine

    @classmethod
    def open(cls, location: Location, what: str) -> DuckdbFile:
        """Open a file.

        Raises:
            UserError: DuckDB is not installed, the file is no database of it, too new for it, or held by a program.
        """
        try:
            import_module("duckdb")
        except ImportError as error:
            alternative = "take a SQLite file, or give `ask` the schema with --schema"
            raise UserError(missing_package(f"{what}: DuckDB", "duckdb", "duckdb", alternative)) from error
        return cls(location, _start(location, what), f"DuckDB {version('duckdb')}")

    def run(self, sql: str, limits: Limits = DEFAULT_LIMITS) -> Result:
        """Run one query that reads.

        Raises:
            QueryFailed: It fails, does more than read, or exceeds a limit.
            UserError: The file cannot be read any more.
        """
        return self._run(guard_user_query(sql, "duckdb"), limits)

    def fetch(self, sql: str) -> Result:
        """Run a query of this program's own (QueryFailed if it fails)."""
        return self._run(sql, Limits(300.0, 10**9, 2**31))

    def close(self) -> None:
        """Close the file."""
        self._process.end()

    def _run(self, sql: str, limits: Limits) -> Result:
        if not self._process.is_alive:
            self._process = _start(self.location, "The database")
        reply = self._process.ask(Request(sql, limits), limits.seconds + _GRACE_SECONDS)
        if reply.result is not None:
            return reply.result
        if reply.kind == "unreadable":
            raise UserError(f"{self.location.display_name} cannot be read any more: {reply.text}.")
        raise QueryFailed(reply.kind, reply.text, out_of_memory=reply.out_of_memory)


class _Process:
    """The process that has opened the file."""

    def __init__(self, path: str) -> None:
        # It must find this very package, however this process found it.
        import_path = os.pathsep.join(os.path.abspath(directory) for directory in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": import_path, "PYTHONSAFEPATH": ""},
        )

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked something."""
        return self._process.poll() is None

    def ask(self, request: Request | None, seconds: float) -> Reply:
        """Sends a request, if there is one, and reads a reply; after so many seconds the process is killed."""
        overdue = threading.Event()

        def kill() -> None:
            overdue.set()
            self._process.kill()

        timer = threading.Timer(seconds, kill)
        timer.start()
        assert self._process.stdin and self._process.stdout
        try:
            if request is not None:
                pickle.dump(request, self._process.stdin)
                self._process.stdin.flush()
            reply: Reply = pickle.load(self._process.stdout)
            return reply
        except (OSError, EOFError, pickle.UnpicklingError):
            self.end()
            # An engine that cannot have more memory may end its process.
            return Reply("timeout", "it takes too long") if overdue.is_set() else OUT_OF_MEMORY
        except BaseException:
            # The reply that is still to come must not be taken for that of the next request.
            self.end()
            raise
        finally:
            timer.cancel()

    def end(self) -> None:
        """Ends the process."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        self._process.wait()


def _start(location: Location, what: str) -> _Process:
    process = _Process(os.path.abspath(str(location.path)))
    reply = process.ask(None, _START_SECONDS)
    if reply.kind == "done":
        return process
    process.end()
    if reply.kind == "unreadable":
        raise UserError(f"{what}: {_explain_open_failure(location, reply.text, version('duckdb'))}")
    raise UserError(f"{what}: {location.display_name} cannot be opened in a process of its own ({reply.text}).")


def _explain_open_failure(location: Location, message: str, version: str) -> str:
    name = location.display_name
    if "lock" in message.lower():
        return (
            f"{name} is held by a program that writes to it ({message.splitlines()[0]}). Close that program, or "
            "give a copy of the file."
        )
    if "version" in message.lower():
        return (
            f"{name} was written by another version of DuckDB than {version}, which is installed "
            f"({message.splitlines()[0]}). Install the version that wrote it, or export it with EXPORT DATABASE."
        )
    return f"{name} is not a DuckDB database that can be read ({message.splitlines()[0]})."
