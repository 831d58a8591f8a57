"""The hosted Tinker API, or any server of its protocol, through the official SDK."""

from __future__ import annotations

import os
from collections.abc import Collection
from datetime import datetime

import tinker
from tinker import types

from backends.billing import Bill
from backends.capabilities import BACKENDS
from backends.checkpoint_paths import CheckpointPath
from backends.facts import BackendFacts
from backends.interface import BackendError
from backends.tinker.bill import read_bill
from backends.tinker.client_futures import give_futures
from backends.tinker.preflight import check_offered


class RemoteServiceClient(tinker.ServiceClient):
    """The SDK's client, extended by the other methods of the interface.

    Two of its methods are on the SDK's `RestClient` only.
    """

    capabilities = BACKENDS["tinker"].capabilities

    def __init__(self, url: str) -> None:
        super().__init__(user_metadata={"client": "text2sql"}, base_url=url)
        self._url, self._key = url, os.environ.get("TINKER_API_KEY")

    def create_rest_client(self) -> tinker.RestClient:
        """Housekeeping on stored checkpoints."""
        return give_futures(tinker.RestClient(base_url=self._url, api_key=self._key))

    def get_server_capabilities(self) -> types.GetServerCapabilitiesResponse:
        """The models that can be trained and sampled."""
        rest = self.create_rest_client()
        if hasattr(rest, "get_server_capabilities"):
            return rest.get_server_capabilities().result()
        # SDKs before 0.38 have it on the service client.
        return super().get_server_capabilities()

    def sampler_links(self, path: str) -> types.ExternalWeightsUrlsResponse:
        """A link to each file of sampling weights; `text2sql serve` offers them, and the SDK has no method for them.

        Raises:
            BackendError: The server offers no links, or has no such checkpoint.
        """
        import httpx

        checkpoint = CheckpointPath.parse(path)
        url_path = f"training_runs/{checkpoint.run}/checkpoints/{checkpoint.checkpoint_id}/external_weights_urls"
        headers = {"X-API-Key": self._key} if self._key else {}
        response = httpx.get(f"{self._url}/api/v1/{url_path}", headers=headers, timeout=60)
        if response.status_code >= 400:
            raise BackendError(
                f"The server gives no files of {path} ({response.status_code}). A training state, "
                "tinker://RUN/weights/NAME, can be downloaded."
            )
        return types.ExternalWeightsUrlsResponse.model_validate(response.json())

    @property
    def session_id(self) -> str:
        """The session under which the tokens of this client are charged."""
        return self.holder.get_session_id()

    def read_bill(self, sessions: Collection[str], begin: datetime, end: datetime) -> Bill:
        """What the service has charged for sessions (see `backends.billing`)."""
        return read_bill(self._url, self._key, sessions, begin, end)

    def describe(self) -> BackendFacts:
        """No facts: the server chooses devices and dtypes, and does not say."""
        return BackendFacts()

    def describe_training(self, base_model: str, rank: int, **flags: bool) -> None:
        """None: the server chooses the modules, and does not say."""
        return None

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
        check_offered(base_model, offered)
