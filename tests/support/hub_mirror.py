"""A server on the loopback interface that answers as the Hugging Face Hub does for a data set of one file."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

COMMIT = "a" * 40


class Mirror:
    """What is served, and how.

    Attributes:
        url: Where.
        name: Id of the data set.
        file: Name of its file.
        content: Of the file.
        cut: Bytes of the file after which each connection ends; None to send all.
        sent: The ranges that were asked for of the file, None where all of it was.
    """

    def __init__(self, name: str, file: str, content: bytes) -> None:
        self.url, self.name, self.file, self.content = "", name, file, content
        self.cut: int | None = None
        self.sent: list[str | None] = []

    def about(self, path: str) -> Any:
        """What the interface answers to a path, None where there is nothing."""
        if path.startswith(f"/api/datasets/{self.name}/tree/{COMMIT}"):
            return [{"type": "file", "path": self.file, "size": len(self.content), "oid": self.tag}]
        if path == f"/api/datasets/{self.name}" or path.startswith(f"/api/datasets/{self.name}/revision/"):
            files = [{"rfilename": self.file}]
            return {"_id": "1", "id": self.name, "sha": COMMIT, "private": False, "gated": False, "siblings": files}
        return None

    @property
    def tag(self) -> str:
        """By which the file's content is known."""
        return hashlib.sha1(self.content).hexdigest()


@contextmanager
def hub_mirror(mirror: Mirror) -> Iterator[Mirror]:
    """Serve it; ``HF_ENDPOINT`` is to be its `url`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path.startswith(f"/datasets/{mirror.name}/resolve/") and path.endswith(f"/{mirror.file}"):
                return self._file()
            found = mirror.about(path)
            body = json.dumps(found if found is not None else {"error": "Not found"}).encode()
            self.send_response(200 if found is not None else 404)
            if found is None:
                # Of a data set that is there a file is not; else the data set.
                here = path.startswith(f"/datasets/{mirror.name}/")
                self.send_header("X-Error-Code", "EntryNotFound" if here else "RepoNotFound")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self._write(body)

        do_HEAD = do_GET

        def _file(self) -> None:
            wanted = self.headers.get("Range")
            start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
            self.send_response(206 if wanted else 200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{mirror.tag}"')
            if wanted:
                size = len(mirror.content)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.send_header("Content-Length", str(len(mirror.content) - start))
            self.end_headers()
            if self.command == "GET":
                mirror.sent.append(wanted)
                self._write(mirror.content[start:][: mirror.cut])
                self.close_connection = True

        def _write(self, body: bytes) -> None:
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    mirror.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield mirror
    finally:
        server.shutdown()
        server.server_close()
