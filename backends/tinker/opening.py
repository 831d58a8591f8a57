"""Opens the hosted API; everything that can be checked is checked before the SDK is loaded, which takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from backends.interface import BackendError, ServiceClient
from backends.options import BackendOptions, TinkerOptions
from backends.tinker.preflight import check_key, check_server, server_address


def open_remote(options: BackendOptions | None = None, *, checkpoints: Path | None = None) -> ServiceClient:
    """The SDK's service client, after a check that the server can be reached.

    Args:
        options: `TinkerOptions`, or None for its defaults.
        checkpoints: Ignored: the service stores the checkpoints.

    Raises:
        BackendError: There is no usable API key, or the server cannot be reached or refuses the key.
    """
    settings = TinkerOptions.read(options)
    url = server_address(settings.base_url)
    check_key()
    check_server(url)
    import tinker

    from backends.tinker.client_futures import give_futures
    from backends.tinker.remote import RemoteServiceClient
    from backends.tinker.sdk_patches import apply_patches

    apply_patches(settings.tokenizer)
    try:
        # The SDK's clients take more arguments than the interface, in part with narrower types.
        return cast(ServiceClient, give_futures(RemoteServiceClient(url)))
    except tinker.TinkerError as error:
        raise BackendError(f"backend: the Tinker SDK could not start: {error}") from error
