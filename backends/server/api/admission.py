"""Who may come in, decided from a request's headers before anything else of it is read: no page of others, no key."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backends.server.api.errors import PAGES, error_response
from backends.server.api.request import release
from backends.server.errors import ApiError
from backends.server.state import ServerState
from backends.web_origin import Hosts, foreign_page, security_headers

# The status page has nothing but an inline style sheet.
SECURITY_HEADERS = security_headers("style-src 'unsafe-inline'")
# Answered without a key: what a load balancer asks, and files whose link is signed.
WITHOUT_KEY = ("/healthz", "/api/v1/external_weights/")
# Answered without a key where there are no keys.
WITHOUT_KEY_IF_KEYLESS = ("/", "/metrics")


class Admission:
    """ASGI middleware: refuses from the headers alone, counts every request, and adds the security headers."""

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self._app = app
        self._state = state
        self._hosts = Hosts(state.settings.host, state.settings.server.allowed_hosts, "server.allowed_hosts=[NAME]")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except ApiError as refused:
            response = error_response(scope["path"], refused)
            await response(scope, receive, self._with_headers(send, scope))
            return
        try:
            await self._app(scope, receive, self._with_headers(send, scope))
        except Exception:
            self._count(scope, 500)
            raise
        finally:
            release(Request(scope))

    def _check(self, scope: Scope) -> None:
        """Raise ApiError if the request may not come in."""
        headers = Headers(scope=scope)
        if refused := foreign_page(headers, self._hosts):
            raise ApiError(refused.status, refused.sentence)
        if not self._needs_no_key(scope["path"]):
            self._state.keys.require(headers)

    def _needs_no_key(self, path: str) -> bool:
        if path.startswith(WITHOUT_KEY):
            return True
        for_people = path in WITHOUT_KEY_IF_KEYLESS or path.startswith(PAGES)
        return not self._state.settings.keys and for_people

    def _with_headers(self, send: Send, scope: Scope) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
                self._count(scope, message["status"])
            await send(message)

        return sending

    def _count(self, scope: Scope, status: int) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._state.metrics.requests.labels(route, status).inc()
