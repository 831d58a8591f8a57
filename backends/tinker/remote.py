"""The hosted Tinker API, or any server of its protocol, through the official SDK."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import cast

import tinker
from pydantic import BaseModel
from tinker import types

from backends.capabilities import BACKENDS
from backends.interface import BackendError, Description, ServiceClient
from backends.options import TinkerOptions
from backends.planning.prices import PRICES
from backends.tinker.sdk_patches import apply_patches

CONNECT_SECONDS = 10.0


class RemoteServiceClient(tinker.ServiceClient):
    """The SDK's client, with what the interface asks for beyond it.

    Two of its methods the SDK means to have on its `RestClient` alone.
    """

    capabilities = BACKENDS["tinker"].capabilities

    def __init__(self, url: str) -> None:
        super().__init__(user_metadata={"client": "text2sql"}, base_url=url)
        self._url, self._key = url, os.environ.get("TINKER_API_KEY")

    def create_rest_client(self) -> tinker.RestClient:
        """Housekeeping on stored checkpoints."""
        return tinker.RestClient(base_url=self._url, api_key=self._key)

    def get_server_capabilities(self) -> types.GetServerCapabilitiesResponse:
        """The models that can be trained and sampled."""
        return self.create_rest_client().get_server_capabilities().result()

    def describe(self) -> Description:
        """Nothing: the server chooses devices and dtypes, and does not say."""
        return {}

    def describe_training(self, base_model: str, rank: int, **flags: bool) -> Description:
        """Nothing: the server chooses the modules, and does not say."""
        return {}

    def check_model(self, base_model: str) -> None:
        """Refuse a model that the server does not offer.

        Raises:
            BackendError: The server does not offer it, and the message names the nearest that it does offer; or it
                refuses the key or the account.
        """
        try:
            offered = [m.model_name for m in self.get_server_capabilities().supported_models if m.model_name]
        except (tinker.AuthenticationError, tinker.PermissionDeniedError, tinker.BillingError) as error:
            raise BackendError(
                f"backend: the Tinker server refuses this key ({error}). Check TINKER_API_KEY and the account in the "
                "Tinker console."
            ) from error
        if base_model in offered:
            return
        near = difflib.get_close_matches(base_model, offered, n=3, cutoff=0.3)
        hint = f" Nearest: {', '.join(near)}." if near else ""
        gone = "no longer offers" if base_model in PRICES else "does not offer"
        raise BackendError(
            f'base_model: the Tinker server {gone} "{base_model}".{hint} Set tinker.base_model to one of its '
            f"{len(offered)} models (base_model may stay, for runs on this machine): {', '.join(sorted(offered))}."
        )


def open_remote(options: BaseModel | None = None, *, checkpoints: Path | None = None) -> ServiceClient:
    """The SDK's service client, after a check that the server can be reached.

    The SDK retries an unreachable server for five minutes before it says so; the check says it in seconds.

    Args:
        options: `TinkerOptions`, or None for its defaults.
        checkpoints: Ignored: the service keeps its checkpoints.

    Raises:
        BackendError: There is no usable API key, or the server cannot be reached or refuses the key.
    """
    chosen = TinkerOptions.model_validate((options or TinkerOptions()).model_dump())
    from tinker.lib.base_url import resolve_base_url

    url = resolve_base_url(chosen.base_url)
    _check_key()
    _check_server(url)
    apply_patches(chosen.tokenizer)
    try:
        # The SDK's clients take more than the interface asks, in part under narrower types.
        return cast(ServiceClient, RemoteServiceClient(url))
    except tinker.TinkerError as error:
        raise BackendError(f"backend: the Tinker SDK could not start: {error}") from error


def _check_key() -> None:
    key = os.environ.get("TINKER_API_KEY")
    if key is None:
        stored = Path.home() / ".tinker" / "credentials.json"
        if "TINKER_CREDENTIAL_CMD" in os.environ or stored.is_file():
            return
        raise BackendError(
            "backend: tinker needs an API key. Create one in the Tinker console and set TINKER_API_KEY, "
            "or use backend=local."
        )
    if not key.startswith(("tml-", "eyJ")):
        raise BackendError('backend: TINKER_API_KEY does not look like a Tinker key; keys start with "tml-".')
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise BackendError("backend: TINKER_API_KEY has spaces, line breaks or letters that no key has; copy it again.")


def _check_server(url: str) -> None:
    import httpx

    key = os.environ.get("TINKER_API_KEY")
    headers = {"X-API-Key": key} if key else {}
    try:
        response = httpx.get(f"{url}/api/v1/healthz", headers=headers, timeout=CONNECT_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise BackendError(
            f"backend: the Tinker server at {url} cannot be reached ({type(error).__name__}: {error}). Check the "
            "network, TINKER_BASE_URL and tinker.base_url, or use backend=local."
        ) from error
    if response.status_code in (401, 403):
        # The SDK may send a stored credential, which this check does not.
        if not key:
            return
        raise BackendError(f"backend: the Tinker server at {url} refuses this TINKER_API_KEY ({response.status_code}).")
    if response.status_code >= 400:
        raise BackendError(f"backend: the Tinker server at {url} answers {response.status_code} to a health check.")
