"""Who may come in, decided from a request's headers before anything else of it is read.

A web page in somebody's browser can send requests to a server on the same machine. It is kept out by three checks: the
`Host` must be a name of this server (a page whose own name has been pointed at 127.0.0.1 sends that name), the `Origin`
must be this server's, and the browser's `Sec-Fetch-Site` must not say that another site asks.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backends.server import wire
from backends.server.api.errors import error_response
from backends.server.auth import is_loopback
from backends.server.errors import ApiError
from backends.server.state import ServerState

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # The status page has nothing but an inline style sheet.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
# Answered without a key: what a load balancer asks, and files whose link is signed.
WITHOUT_KEY = ("/healthz", "/api/v1/external_weights/")
# Answered without a key where there are no keys.
WITHOUT_KEY_IF_KEYLESS = ("/", "/metrics")


class Hosts:
    """The names under which a server may be addressed.

    They are localhost, every loopback address, the address that the server listens on, and those that are configured. A
    server that listens on every address is also addressed by any literal address (a web page always has a name) and by
    its machine's name.

    Args:
        listening: The address that the server listens on.
        configured: `server.allowed_hosts`.
    """

    def __init__(self, listening: str, configured: Iterable[str]) -> None:
        self._configured = {host.lower() for host in configured}
        self._names = {"localhost", listening.lower(), *self._configured}
        self._any_address = listening in ("0.0.0.0", "::", "")
        if self._any_address:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def has(self, host: str) -> bool:
        """Whether a `Host` header names this server."""
        name = _hostname(host)
        if name is None:
            return False
        return name in self._names or is_loopback(name) or (self._any_address and _is_address(name))

    def is_own_origin(self, origin: str, host: str) -> bool:
        """Whether an `Origin` is the one that `host` serves, or that of a configured name (in front of a proxy)."""
        try:
            netloc = urlsplit(origin).netloc
        except ValueError:
            return False
        return bool(netloc) and (netloc.lower() == host.lower() or _hostname(netloc) in self._configured)


def _hostname(host: str) -> str | None:
    """The name in ``NAME``, ``NAME:PORT`` or ``[ADDRESS]:PORT``; None if it is none of them."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return None if parts.path or parts.query or parts.fragment or parts.username is not None else parts.hostname


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Admission:
    """ASGI middleware: refuses from the headers alone, counts every request, and adds the security headers."""

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self._app = app
        self._state = state
        self._hosts = Hosts(state.settings.host, state.settings.server.allowed_hosts)

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

    def _check(self, scope: Scope) -> None:
        """Raise ApiError if the request may not come in."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._hosts.has(host):
            raise ApiError(
                421, f'This server is not called "{host}". If it should be, start it with server.allowed_hosts=[NAME].'
            )
        if origin is not None and not self._hosts.is_own_origin(origin, host):
            raise ApiError(403, f'Requests from pages of another origin ("{origin}") are refused.')
        if headers.get("sec-fetch-site", "").lower() == "cross-site":
            raise ApiError(403, "Requests that another site's page makes are refused; open the address itself.")
        if sentence := wire.refusal(headers):
            raise ApiError(400, sentence)
        if not self._needs_no_key(scope["path"]):
            self._state.keys.require(headers)

    def _needs_no_key(self, path: str) -> bool:
        if path.startswith(WITHOUT_KEY):
            return True
        return not self._state.settings.keys and path in WITHOUT_KEY_IF_KEYLESS

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
