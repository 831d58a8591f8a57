"""Who may use the demo, and how much may be sent: decided from a request's headers, before its body is read."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from backends.web_origin import Hosts, Refusal, foreign_page
from text2sql.demo.storage import Storage
from text2sql.demo.uploads import MAX_DATABASE
from text2sql.errors import UserError

# Bytes of a message of the page: a schema, a question, a query.
MAX_MESSAGE = 4 * 10**6
# What a form adds to the files in it.
FORM = 10**5


class Admission:
    """ASGI middleware: refuses pages of others, and bodies that are too large or for which there is no room.

    Args:
        app: What answers the requests that come in.
        hosts: The names under which the demo may be addressed.
        storage: Where uploads go.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts, storage: Storage) -> None:
        self._app, self._hosts, self._storage = app, hosts, storage
        # Bytes of uploads that are on their way.
        self._arriving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "websocket":
            # The page uses none.
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        upload = _size(headers) or 0 if _is_upload(scope) else 0
        if refused := foreign_page(headers, self._hosts) or self._too_much(scope, headers):
            await PlainTextResponse(refused.sentence, refused.status)(scope, receive, send)
            return
        self._arriving += upload
        try:
            await self._app(scope, receive, send)
        finally:
            self._arriving -= upload

    def _too_much(self, scope: Scope, headers: Headers) -> Refusal | None:
        """Why a body is not taken, or None."""
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return None
        size = _size(headers)
        if size is None:
            return Refusal(411, "Say in Content-Length how many bytes follow.")
        most = MAX_DATABASE + FORM if _is_upload(scope) else MAX_MESSAGE
        if size > most:
            return Refusal(413, f"The request has {size:,} bytes; at most {most:,} are taken here.")
        try:
            if _is_upload(scope):
                self._storage.check_room(size + self._arriving)
        except UserError as error:
            return Refusal(413, str(error))
        return None


def _is_upload(scope: Scope) -> bool:
    return bool(scope["method"] == "POST" and scope["path"].rstrip("/").endswith("/upload"))


def _size(headers: Headers) -> int | None:
    """Bytes of the body; None where they are not said."""
    length = headers.get("content-length", "")
    # Longer numbers are no size of anything, and take long to read.
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None
