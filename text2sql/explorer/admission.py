"""Who may look: the pages of this server alone, on this machine; and what its own pages may load."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backends.web_origin import Hosts, foreign_page, security_headers

# The page has its scripts and styles in files; the table library sets sizes through the style of elements.
PAGE = security_headers("script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'")
# A comparison is one file with a style sheet inside, and has no script.
DOCUMENT = security_headers("style-src 'unsafe-inline'; img-src data:")
# A report has scripts, and names them itself. The file may be anybody's: in a sandbox whatever runs there has an origin
# that is nobody's, and reaches neither this page nor a network.
REPORT = security_headers(
    "sandbox allow-scripts allow-downloads; script-src 'unsafe-inline' blob:; style-src 'unsafe-inline'; img-src data:"
)


class Admission:
    """ASGI middleware: refuses what pages of others ask, and adds the security headers.

    Args:
        app: What answers the requests that come in.
        hosts: The names under which the server may be addressed.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "websocket":
            # The page uses none.
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
                # What has been read is in the page; the files are the truth.
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if refused := foreign_page(Headers(scope=scope), self._hosts):
            await PlainTextResponse(refused.sentence, refused.status)(scope, receive, sending)
            return
        await self._app(scope, receive, sending)
