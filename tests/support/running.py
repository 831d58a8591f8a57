"""A server in a thread of the test process or in a separate one, and the real SDK's clients for it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

KEY = "tml-test-key-one"
OTHER_KEY = "tml-test-key-two"
REPOSITORY = Path(__file__).resolve().parents[2]


def start_process(
    model: str, data: Path, port: int, *arguments: str, address_space: int | None = None
) -> subprocess.Popen[bytes]:
    """`text2sql serve` in a separate process, when it answers; with at most so many bytes of address space."""
    import resource

    import httpx

    def limit() -> None:
        if address_space is not None:
            resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))

    command = [sys.executable, "-m", "text2sql", "serve", "--base-model", f"tiny={model}", "--data", str(data)]
    process = subprocess.Popen([*command, "--port", str(port), *arguments], cwd=REPOSITORY, preexec_fn=limit)
    for _ in range(200):
        assert process.poll() is None, "the server ended at once"
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz").raise_for_status()
            return process
        except httpx.HTTPError:
            time.sleep(0.3)
    process.kill()
    raise AssertionError("the server did not start")


class Running:
    """A server in a thread."""

    def __init__(self, data: Path, base_models: dict[str, str], **settings: Any) -> None:
        from backends.server.main import listen, make_server
        from backends.server.settings import ServerSettings

        settings.setdefault("local", {"device": "cpu"})
        port = settings.pop("port", 0)
        self.settings = ServerSettings(base_models=base_models, data=data, **settings)
        self._socket = listen("127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        started = threading.Event()
        self._web = make_server(self.settings, started.set)
        self.state = self._web._state  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._web.run, kwargs={"sockets": [self._socket]}, daemon=True)
        self._thread.start()
        self._clients: list[Any] = []
        assert started.wait(60)

    def client(self, key: str = KEY) -> Any:
        """A service client of the real SDK, whose calls return futures with each version of it."""
        import tinker

        from backends.tinker.client_futures import give_futures

        self._clients.append(give_futures(tinker.ServiceClient(base_url=self.url, api_key=key)))
        return self._clients[-1]

    def http(self, key: str | None = KEY, **options: Any) -> Any:
        """A plain HTTP client."""
        import httpx

        headers = {"X-API-Key": key} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, **options)

    def stop(self) -> None:
        """Shut down in good order, then end what its clients do in the background: heartbeats, and trying again."""
        self._web.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._socket.close()
        for client in self._clients:
            if client._session_holder is not None:
                client._session_holder.close()
