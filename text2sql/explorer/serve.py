"""Serves the explorer on this machine until it is interrupted."""

from __future__ import annotations

import socket
from pathlib import Path

from backends.extras import missing_package
from backends.web_origin import Hosts
from text2sql.console import console
from text2sql.errors import UserError

# Only users of this machine may connect.
HOST = "127.0.0.1"


def serve_explorer(directory: Path, port: int) -> None:
    """Serves the explorer of a directory's runs until interrupted.

    Args:
        directory: The directory of the runs; it may be a run itself.
        port: The port to listen on; 0 for any free one.

    Raises:
        UserError: There is no such directory, the port is taken, or the web server is not installed.
    """
    if not directory.is_dir():
        raise UserError(f"There is no directory {directory}. Runs are made in runs/ unless output_dir says otherwise.")
    with listen(port) as listener:
        # Imported late, because it takes seconds and is not needed to find that the port is taken.
        from text2sql.explorer.catalogue import Catalogue

        Catalogue(directory).entries()
        try:
            import uvicorn

            from text2sql.explorer.app import create_app
        except ImportError as error:
            raise UserError(
                missing_package(
                    "text2sql view", error.name or "fastapi", "server", "read the report.html in each run's directory"
                )
            ) from error
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            create_app(directory, Hosts(HOST, (), "the name 127.0.0.1 or localhost")),
            log_level="warning",
            # The application has no lifespan events, and an interrupt while waiting for them would print a traceback.
            lifespan="off",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        console.print(f"The runs in {directory} are at http://{HOST}:{port} (stop it with Ctrl-C)", soft_wrap=True)
        uvicorn.Server(config).run(sockets=[listener])


def listen(port: int) -> socket.socket:
    """A socket that listens on this machine only (UserError if the port cannot be used)."""
    # asyncio sets TCP_NODELAY only if the protocol is given explicitly.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise UserError(
            f"--port: {HOST}:{port} cannot be used: {error.strerror}. Choose another with --port."
        ) from error
    return listener
