"""Serving the page on this machine until it is interrupted."""

from __future__ import annotations

import socket
from pathlib import Path

from backends.extras import missing_package
from backends.web_origin import Hosts
from text2sql.console import console
from text2sql.errors import UserError

# Whoever may use this machine may look; nobody else.
HOST = "127.0.0.1"


def serve_explorer(directory: Path, port: int) -> None:
    """Serve the page over a directory's runs until interrupted.

    Args:
        directory: Where the runs are; it may be a run itself.
        port: Port to listen on; 0 for any that is free.

    Raises:
        UserError: There is no such directory, the port is taken, or the web server is not installed.
    """
    if not directory.is_dir():
        raise UserError(f"There is no directory {directory}. Runs are made in runs/ unless output_dir says otherwise.")
    with listen(port) as listening:
        # What reads runs takes seconds to load, and is not needed to find the port taken.
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
        port = listening.getsockname()[1]
        config = uvicorn.Config(
            create_app(directory, Hosts(HOST, (), "the name 127.0.0.1 or localhost")),
            log_level="warning",
            # There is nothing to begin or to end, and an interrupt would show the traceback of waiting for it.
            lifespan="off",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        console.print(f"The runs in {directory} are at http://{HOST}:{port} (stop it with Ctrl-C)", soft_wrap=True)
        uvicorn.Server(config).run(sockets=[listening])


def listen(port: int) -> socket.socket:
    """A socket that listens on this machine alone (UserError if the port cannot be had)."""
    # asyncio sends at once (TCP_NODELAY) only where the protocol is named.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise UserError(
            f"--port: {HOST}:{port} cannot be used: {error.strerror}. Choose another with --port."
        ) from error
    return listening
