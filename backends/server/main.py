"""Starting a server."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvicorn

from backends.interface import BackendError
from backends.server.auth import check_exposure
from backends.server.settings import ServerSettings

if TYPE_CHECKING:
    from backends.server.state import ServerState

GRACE_SECONDS = 5
KEEP_ALIVE_SECONDS = 75


def serve(settings: ServerSettings, ready: Callable[[str], None] = lambda url: None) -> None:
    """Serve until interrupted.

    Args:
        settings: What, where, to whom.
        ready: Called with the address when the models are loaded and requests are taken.

    Raises:
        BackendError: The address is taken, or open to others though there is no key; or a base model cannot be loaded.
    """
    check_exposure(settings.host, settings.keys)
    settings = settings.model_copy(update={"base_models": with_directories(settings.base_models)})
    # Before the models are loaded, which takes long.
    listening = listen(settings.host, settings.port)
    with listening:
        server = make_server(settings, lambda: ready(f"http://{settings.host}:{listening.getsockname()[1]}"))
        server.run(sockets=[listening])


def make_server(settings: ServerSettings, ready: Callable[[], None] = lambda: None) -> uvicorn.Server:
    """The web server around a new `ServerState`; `run(sockets=[...])` starts it."""
    from backends.server.api.app import create_app
    from backends.server.state import ServerState

    state = ServerState(settings)
    config = uvicorn.Config(
        create_app(state, ready),
        log_level="warning",
        # Most requests are polls.
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        server_header=False,
    )
    return _Uvicorn(config, state)


class _Uvicorn(uvicorn.Server):
    """Ends the polls that are held open as soon as it is told to stop."""

    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config)
        self._state = state

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.closing.set()
        await super().shutdown(sockets)


def with_directories(base_models: dict[str, str]) -> dict[str, str]:
    """The models, packaged ones under their directory as well: the SDK loads tokenizers by a sampler's model name."""
    from backends.base_models import PACKAGED, locate

    packaged = {name: locate(location) for name, location in base_models.items() if location in PACKAGED}
    return {**base_models, **packaged, **{directory: directory for directory in packaged.values()}}


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens (BackendError if the address cannot be had)."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends at once (TCP_NODELAY) only where the protocol is named; without, each answer may wait for 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise BackendError(f"Cannot listen on {host}:{port} ({error.strerror}); choose another --port.") from error
    return listening
