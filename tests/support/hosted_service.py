"""The hosted service as far as money goes, over loopback: its price list, and its account of what was used."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

# As the service writes them.
LISTED = {
    "name": "Tiny",
    "tinker_id": "tiny",
    "type": "Base",
    "context": "64K",
    "prefill": "$1,000.50",
    "cached_prefill": "$200.10",
    "sample": "$2,000",
    "train": "$3000",
}


class HostedService:
    """What the service answers; tests set it, and look at what was asked.

    Attributes:
        models: The price list.
        events: The account.
        status: What a question for the account is answered with, if not 200.
        asked: Paths and queries so far.
    """

    def __init__(self) -> None:
        self.models: Any = [LISTED]
        self.events: list[dict[str, Any]] = []
        self.status = 200
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.url = ""

    @property
    def price_list(self) -> str:
        """Its address."""
        return f"{self.url}/tinker/models.json"

    def answer(self, path: str) -> tuple[int, Any]:
        parts = urlsplit(path)
        self.asked.append((parts.path, dict(parse_qsl(parts.query))))
        if parts.path == "/tinker/models.json":
            return 200, self.models
        if parts.path == "/api/v1/billing/usage/events":
            return self.status, {"data": self._between(), "sessions": {}} if self.status == 200 else {"detail": "no"}
        return 200, {}

    def _between(self) -> list[dict[str, Any]]:
        query = self.asked[-1][1]
        return [e for e in self.events if query["starting_on"] <= e["bucket_start"] < query["ending_before"]]


def event(session: str | None, start: str, kind: str, cost: float | None = None, **info: Any) -> dict[str, Any]:
    """One hour's use of one kind."""
    return {
        "bucket_start": start,
        "bucket_end": start,
        "session_id": session,
        "estimated_cost_usd": cost,
        "event_info": {"type": kind, **info},
    }


@contextmanager
def serving() -> Iterator[HostedService]:
    """The service, at a free port."""
    service = HostedService()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            status, body = service.answer(self.path)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
