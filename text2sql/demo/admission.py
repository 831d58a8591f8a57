"""Refuses requests of foreign pages and too large bodies, by a request's headers before its body is read."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from backends.web_origin import Hosts, Refusal, foreign_page
from text2sql.demo.storage import Storage
from text2sql.demo.uploads import MAX_DATABASE
from text2sql.errors import UserError

# Bytes of a request without a file: a schema, a question, a query.
MAX_MESSAGE_BYTES = 4 * 10**6
# Bytes that a form adds to its files.
FORM_BYTES = 10**5


class Admission:
    """ASGI middleware that refuses foreign pages, and bodies that are too large or exceed the storage.

    Args:
        app: The application that answers admitted requests.
        hosts: The names under which the demo may be addressed.
        storage: The storage of uploads.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts, storage: Storage) -> None:
        self._app, self._hosts, self._storage = app, hosts, storage
        # Bytes of uploads in progress.
        self._uploading = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses a request, or passes it on."""
        if scope["type"] == "websocket":
            # The page uses no web sockets.
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        upload = _content_length(headers) or 0 if _is_upload(scope) else 0
        if refused := foreign_page(headers, self._hosts) or self._refuse_body(scope, headers):
            await PlainTextResponse(refused.sentence, refused.status)(scope, receive, send)
            return
        self._uploading += upload
        try:
            await self._app(scope, receive, send)
        finally:
            self._uploading -= upload

    def _refuse_body(self, scope: Scope, headers: Headers) -> Refusal | None:
        """The refusal of a body; None if it is accepted."""
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        size = _content_length(headers)
        if size is None:
            return Refusal(411, "Say in Content-Length how many bytes follow.")
        limit = MAX_DATABASE + FORM_BYTES if _is_upload(scope) else MAX_MESSAGE_BYTES
        if size > limit:
            return Refusal(413, f"The request has {size:,} bytes; at most {limit:,} are taken here.")
        try:
            if _is_upload(scope):
                self._storage.check_room(size + self._uploading)
        except UserError as error:
            return Refusal(413, str(error))
        return None


def _is_upload(scope: Scope) -> bool:
    return bool(scope["method"] == "POST" and scope["path"].rstrip("/").endswith("/upload"))


def _content_length(headers: Headers) -> int | None:
    """The length of the body in bytes; None if it is not given."""
    length = headers.get("content-length", "")
    # Longer numbers are no real sizes, and take long to parse.
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None
