"""Refuses requests of foreign pages, and sets the security headers of the explorer's own pages."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backends.web_origin import Hosts, foreign_page, security_headers

# The page loads scripts and styles from files; the table library sets sizes by the elements' style properties.
PAGE = security_headers("script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'")
# A comparison is one file with an inline style sheet and without scripts.
DOCUMENT = security_headers("style-src 'unsafe-inline'; img-src data:")
# A report has inline scripts. Anybody may have written the file: in a sandbox its scripts have an opaque origin, and
# can reach neither this page nor a network.
REPORT = security_headers(
    "sandbox allow-scripts allow-downloads; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; img-src data:"
)


class Admission:
    """ASGI middleware that refuses requests of foreign pages and adds the security headers.

    Args:
        app: The application that answers admitted requests.
        hosts: The names under which the server may be addressed.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses a request, or passes it on."""
        if scope["type"] == "websocket":
            # The page uses no web sockets.
            await send({"type": "websocket.close"})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in PAGE.items():
                    headers.setdefault(name, value)
                # The files may change, so nothing is cached.
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if refused := foreign_page(Headers(scope=scope), self._hosts):
            await PlainTextResponse(refused.sentence, refused.status)(scope, receive, sending)
            return
        await self._app(scope, receive, sending)
