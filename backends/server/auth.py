"""Who is asking: API keys, and signed links for what is fetched without a key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence

from backends.interface import BackendError
from backends.server.errors import ApiError
from backends.web_origin import is_loopback

MISSING_KEY = "The API key is missing or wrong: set TINKER_API_KEY to one that this server was given."
MISSING_WHERE_ANY_WILL_DO = (
    "No API key came with the request. This server takes any, since it was given none: set TINKER_API_KEY=tml-local."
)
# The one user of a server without keys.
ANYONE = "local"
PREFIX = "tml-"
SHORTEST = 12


class Keys:
    """The keys that a server accepts. Only their digests are kept."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    def owner(self, headers: Mapping[str, str]) -> str | None:
        """The user whose key the request carries, or None.

        Tinker's SDK sends ``X-API-Key``; OpenAI's and Prometheus a bearer token; a browser a password.
        """
        key = presented(headers)
        if not key:
            return None
        if not self._digests:
            return ANYONE
        return self.owner_of_key(key)

    def require(self, headers: Mapping[str, str]) -> str:
        """The user whose key the request carries (ApiError with 401 if there is no good one)."""
        owner = self.owner(headers)
        if owner is None:
            raise ApiError(401, MISSING_KEY if self._digests else MISSING_WHERE_ANY_WILL_DO)
        return owner

    def owner_of_key(self, key: str) -> str | None:
        """The user that a key stands for; every key is compared, each in constant time."""
        digest, found = _digest(key), None
        for known in self._digests:
            if hmac.compare_digest(known, digest):
                found = f"user-{known[:12]}"
        return found


def presented(headers: Mapping[str, str]) -> str:
    """The key in a request's headers, or an empty string."""
    if key := headers.get("x-api-key"):
        return key
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value).decode().partition(":")[2]
        except ValueError:
            # Not base64, or not UTF-8.
            return ""
    return ""


def _digest(key: str) -> str:
    # A key from a header or from JSON may be any text, lone surrogates included.
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def check_exposure(host: str, keys: Sequence[str]) -> None:
    """Refuse keys that the SDK would not send, and a server that others can reach but that needs no key.

    Raises:
        BackendError: With what to do.
    """
    for key in keys:
        if not key.startswith(PREFIX) or len(key) < SHORTEST or not key.isascii() or not key.isprintable():
            raise BackendError(
                f'An API key must start with "{PREFIX}" (Tinker\'s SDK sends no other) and have at least {SHORTEST} '
                f"printable characters. Make one: python -c \"import secrets; print('{PREFIX}' + "
                'secrets.token_urlsafe(24))"'
            )
    if not keys and not is_loopback(host):
        raise BackendError(
            f"Serving on {host} lets other machines in, so it needs an API key: --api-key-file. "
            "Without one the server listens on 127.0.0.1 alone."
        )


def sign(secret: bytes, what: str, expires: int) -> str:
    """A token that allows whoever has it to fetch `what` until `expires` (seconds since 1970)."""
    mac = hmac.new(secret, f"{expires}:{what}".encode(), hashlib.sha256).hexdigest()
    return f"{expires}.{mac}"


def signature_holds(secret: bytes, what: str, token: str) -> bool:
    """Whether `sign` made the token for `what` and it has not expired."""
    expires, _, _ = token.partition(".")
    if not expires.isascii() or not expires.isdigit() or len(expires) > 12 or int(expires) < time.time():
        return False
    # As bytes: of text, only ASCII can be compared.
    return hmac.compare_digest(sign(secret, what, int(expires)).encode(), token.encode(errors="surrogatepass"))
