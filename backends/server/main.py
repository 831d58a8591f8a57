"""Starting a server."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from backends.interface import BackendError
from backends.server.auth import check_exposure
from backends.server.connections import make_protocol, raise_open_files
from backends.server.settings import ServerSettings

if TYPE_CHECKING:
    from backends.server.services import JsonService
    from backends.server.state import ServerState

# How long the running step, and then open connections, get to end.
GRACE_SECONDS = 2
# A server that has been asked to end is gone after this long, even where the machine is too busy to answer in time.
EXIT_SECONDS = 9
KEEP_ALIVE_SECONDS = 75


def serve(
    settings: ServerSettings,
    ready: Callable[[str], None] = lambda url: None,
    services: Sequence[JsonService] = (),
) -> None:
    """Serve until interrupted.

    Args:
        settings: What, where, to whom.
        ready: Called with the address when the models are loaded and requests are taken.
        services: Routes besides the server's own.

    Raises:
        BackendError: The address is taken, or open to others though there is no key; or a base model cannot be loaded.
    """
    check_exposure(settings.host, settings.keys)
    settings = settings.model_copy(update={"base_models": with_directories(settings.base_models)})
    # Before the models are loaded, which takes long.
    listening = listen(settings.host, settings.port)
    # Weights and the secret that signs links are nobody else's on this machine.
    os.umask(0o077)
    raise_open_files()
    with listening:
        address = url_of(settings.host, listening.getsockname()[1])
        server = make_server(settings, lambda: ready(address), services)
        # The collector looks through all that is loaded, half a second in which no request is answered: not any more.
        gc.collect()
        gc.freeze()
        server.run(sockets=[listening])


def url_of(host: str, port: int) -> str:
    """Where programs on this machine reach a server that listens there; ``0.0.0.0`` is an address of nobody."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def make_server(
    settings: ServerSettings, ready: Callable[[], None] = lambda: None, services: Sequence[JsonService] = ()
) -> uvicorn.Server:
    """The web server around a new `ServerState` with its models loaded; `run(sockets=[...])` starts it.

    Raises:
        BackendError: The data directory cannot be used, or a base model cannot be loaded.
    """
    from backends.server.api.app import create_app
    from backends.server.state import ServerState

    state = ServerState(settings)
    # Here, where an error is raised to the caller: in the application's start uvicorn would log its traceback.
    try:
        state.load()
    except BaseException:
        state.close()
        raise
    config = uvicorn.Config(
        create_app(state, services),
        http=make_protocol(settings.limits),
        log_level="warning",
        # Most requests are polls.
        access_log=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        server_header=False,
    )
    return _Uvicorn(config, state, ready)


class _Uvicorn(uvicorn.Server):
    """Says when it takes requests; ends on the first signal, whatever is running, and on the second at once."""

    def __init__(self, config: uvicorn.Config, state: ServerState, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._state, self._ready = state, ready
        # The first signal.
        self._signal: int | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen: before that a connection would be refused, so `ready` is called after it."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal: the first begins the end, which must not take long; the second is the end.

        What has been acknowledged is on the disk at any moment, so that leaving at once loses nothing.
        """
        if self.should_exit or not self.started:
            os._exit(128 + sig)
        self._signal = sig
        self._state.hurried = True
        deadline = threading.Timer(EXIT_SECONDS, os._exit, [128 + sig])
        deadline.daemon = True
        deadline.start()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what waits and what runs, then the polls that are held open, then leave.

        A step that the device is amid of by then is of no use to anybody, so that nobody waits for it.
        """
        self._state.stop()
        await asyncio.to_thread(self._state.scheduler.join, GRACE_SECONDS)
        self._state.scheduler.give_up()
        self._state.closing.set()
        await super().shutdown(sockets)
        if self._signal is not None and self._state.scheduler.is_alive():
            os._exit(128 + self._signal)


def with_directories(base_models: dict[str, str]) -> dict[str, str]:
    """The models, packaged ones under their directory as well: the SDK loads tokenizers by a sampler's model name."""
    from backends.base_models import PACKAGED, locate

    packaged = {name: locate(location) for name, location in base_models.items() if location in PACKAGED}
    return {**base_models, **packaged, **{directory: directory for directory in packaged.values()}}


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address (BackendError if it cannot be had); it listens once the models are loaded."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends at once (TCP_NODELAY) only where the protocol is named; without, each answer may wait for 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise BackendError(
                f"Cannot listen on {host}: it is no address of this machine; choose another --host, such as "
                "127.0.0.1 for this machine alone or 0.0.0.0 for all its addresses."
            ) from error
        raise BackendError(f"Cannot listen on {host}:{port} ({error.strerror}); choose another --port.") from error
    return listening
