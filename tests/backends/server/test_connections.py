"""Clients that hold connections without using them."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable

import pytest

from backends.server.log import Repeats
from tests.support.running import KEY, Running


@pytest.fixture(scope="module")
def impatient(start_server: Callable[..., Running]) -> Running:
    """A server that waits for a second."""
    return start_server(limits={"header_seconds": 1, "body_idle_seconds": 1, "connections_per_client": 20})


def connect(server: Running) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=8)


HALVES = [
    b"",
    b"GET /healthz HTT",
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n",
    b"POST /api/v1/create_session HTTP/1.1\r\nHost: localhost\r\nX-API-Key: %s\r\nContent-Length: 50\r\n\r\n{"
    % KEY.encode(),
]


@pytest.mark.parametrize("half", HALVES)
def test_half_a_request_is_not_waited_for(impatient: Running, half: bytes) -> None:
    with connect(impatient) as connection:
        connection.sendall(half)
        begun = time.monotonic()
        assert is_closed(connection) and time.monotonic() - begun < 30


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(impatient: Running) -> None:
    with connect(impatient) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        deadline = time.monotonic() + 7
        with pytest.raises(OSError):
            while time.monotonic() < deadline:
                connection.sendall(b"a")
                time.sleep(0.2)


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_a_client_has_a_number_of_connections(impatient: Running) -> None:
    # Those of the tests before are closed by then.
    time.sleep(3)
    with impatient.http() as http:
        http.get("/healthz").raise_for_status()
        connections = [connect(impatient) for _ in range(30)]
        refused = [connection for connection in connections[20:] if is_closed(connection)]
        assert len(refused) == 10
        for connection in connections:
            connection.close()
        time.sleep(0.5)
        http.get("/healthz").raise_for_status()


def test_requests_that_take_their_time_are_not_late(impatient: Running) -> None:
    """A poll is held open for longer than a head may take, and the connection lives on."""
    with impatient.http() as http:
        for _ in range(2):
            http.get("/healthz").raise_for_status()
            time.sleep(2.5)


def test_lines_that_repeat_are_counted() -> None:
    repeats = Repeats(seconds=0.2)

    def passes(text: str) -> str | None:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "%s", (text,), None)
        return record.getMessage() if repeats.filter(record) else None

    assert [passes("full") for _ in range(5)] == ["full", None, None, None, None]
    assert passes("other") == "other"
    time.sleep(0.25)
    assert passes("full") == "full (4 more times since it was last written)"
