"""A real HTTP server that speaks as an OpenAI-compatible chat endpoint, and fails in every way that a test asks for."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx


@dataclass
class ChatServer:
    """Answers ``echo QUESTION``, or what `upstream` answers; `faults` are taken first, one for each request.

    A fault is a status with headers and a body, a body, or ``hang``.
    """

    faults: list[Any] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)
    busy: int = 0
    most: int = 0
    reply: Callable[[str], str] = field(default=lambda question: f"echo {question}")
    usage: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    upstream: str = ""
    answered: int = 0

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            self.seen.append({"at": time.monotonic(), "path": handler.path, "body": body, "headers": handler.headers})
            fault = self.faults.pop(0) if self.faults else None
            self.busy += 1
            self.most = max(self.most, self.busy)
        try:
            time.sleep(0.01)
            self._send(handler, body, fault)
        except BrokenPipeError:
            # The client left.
            pass
        finally:
            with self.lock:
                self.busy -= 1

    def _send(self, handler: BaseHTTPRequestHandler, body: dict[str, Any], fault: Any) -> None:
        status, headers = 200, {}
        if fault == "hang":
            self.released.wait(20)
            return
        if isinstance(fault, tuple):
            status, headers, reply = fault
        elif isinstance(fault, (str, dict)):
            reply = fault
        elif self.upstream:
            status, reply = self._forward(handler, body)
        else:
            reply = self._own(body)
        data = (reply if isinstance(reply, str) else json.dumps(reply)).encode()
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    def _own(self, body: dict[str, Any]) -> dict[str, Any]:
        message = {"role": "assistant", "content": self.reply(body["messages"][-1]["content"])}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        reply: dict[str, Any] = {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"]}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        return reply | {"choices": choices} | ({"usage": usage} if self.usage else {})

    def _forward(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> tuple[int, str]:
        """The answer of the server behind this one; 502 if there is none."""
        headers = {"Authorization": handler.headers["Authorization"]}
        try:
            answer = httpx.post(self.upstream + "/chat/completions", json=body, headers=headers, timeout=60)
        except httpx.HTTPError as error:
            return 502, json.dumps({"error": {"message": f"nothing behind the gateway: {type(error).__name__}"}})
        with self.lock:
            self.answered += answer.status_code == 200
        return answer.status_code, answer.text


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """Runs a server in a thread of the test process."""
    state = ChatServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            state.answer(self)

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    state.url = f"http://127.0.0.1:{http.server_port}/v1"
    try:
        yield state
    finally:
        state.released.set()
        http.shutdown()
        http.server_close()
