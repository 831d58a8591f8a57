"""Web pages of others are kept out of what listens on this machine.

A page in somebody's browser can send requests to a server on the same machine. Three checks of a request's headers
refuse them: the `Host` must be a name of this server (a page whose own name has been pointed at 127.0.0.1 sends that
name), the `Origin` must be this server's, and the browser's `Sec-Fetch-Site` must not say that another site asks.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


def security_headers(policy: str) -> dict[str, str]:
    """The headers of a page that is in no frame, names nobody its address, and loads what a policy allows.

    Args:
        policy: Directives of its `Content-Security-Policy` besides those that hold for all pages.
    """
    return {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Content-Security-Policy": (
            f"default-src 'none'; {policy}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    }


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request may not come in: the HTTP status, and a sentence for a person."""

    status: int
    sentence: str


class Hosts:
    """The names under which a server may be addressed.

    They are localhost, every loopback address, the address that the server listens on, and those that are configured. A
    server that listens on every address is also addressed by any literal address (a web page always has a name) and by
    its machine's name.

    Args:
        listening: The address that the server listens on.
        configured: Further names: of a proxy, or of this machine in its network.
        option: How a person configures one more, for messages.

    Attributes:
        option: The same.
    """

    def __init__(self, listening: str, configured: Iterable[str], option: str) -> None:
        self.option = option
        self._configured = {host.lower() for host in configured}
        self._names = {"localhost", listening.lower(), *self._configured}
        self._any_address = listening in ("0.0.0.0", "::", "")
        if self._any_address:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def add(self, host: str) -> None:
        """Take one more name as configured."""
        self._configured.add(host.lower())
        self._names.add(host.lower())

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


def foreign_page(headers: Mapping[str, str], hosts: Hosts) -> Refusal | None:
    """Why a request is refused as one that a page of others makes, or None if it may come in.

    Args:
        headers: Of the request; names are looked up in lower case.
        hosts: The names of this server.
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    if not hosts.has(host):
        return Refusal(421, f'This server is not called "{host}". If it should be, start it with {hosts.option}.')
    if origin is not None and not hosts.is_own_origin(origin, host):
        return Refusal(403, f'Requests from pages of another origin ("{origin}") are refused.')
    if headers.get("sec-fetch-site", "").lower() == "cross-site":
        return Refusal(403, "Requests that another site's page makes are refused; open the address itself.")
    return None


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
