"""Servers on the tiny model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.running import Running


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Iterator[Callable[..., Running]]:
    """Starts servers of the tiny model; they are stopped at the end."""
    running = []

    def start(data: Path | None = None, **settings: Any) -> Running:
        models = settings.pop("base_models", {"tiny": tiny_model})
        server = Running(data or tmp_path_factory.mktemp("server"), models, **settings)
        running.append(server)
        return server

    yield start
    for server in running:
        if server._thread.is_alive():
            server.stop()


@pytest.fixture(scope="session")
def server(start_server: Callable[..., Running]) -> Running:
    """One server for all, without keys."""
    return start_server()


@pytest.fixture
def service(server: Running) -> Iterator[Any]:
    """A service client of that server."""
    client = server.client()
    yield client
    client.close("success").result()
