"""Checks key, address, model and tokenizer against a Tinker server, without the SDK, which takes seconds to load.

The SDK retries an unreachable server for five minutes before it reports it; this reports it in seconds.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backends.base_models import CONNECT_SECONDS, PACKAGED, check_available, hub_refusal
from backends.interface import BackendError
from backends.options import BackendOptions, TinkerOptions
from backends.planning.lineup import lineup

if TYPE_CHECKING:
    import httpx

# Time to wait for the response of a server that has been reached.
RESPONSE_SECONDS = 10.0
# Ungated repositories from which the SDK loads the tokenizers of some models, by the prefix of their names.
OTHER_TOKENIZERS = {"meta-llama/Llama-3": "thinkingmachineslabinc/meta-llama-3-instruct-tokenizer"}
# Prefixes of the models whose tokenizers the SDK loads from a package.
PACKAGED_TOKENIZERS = ("TML/", "thinkingmachines/")


def check_remote(options: BackendOptions | None, base_model: str | None) -> None:
    """Check that a server accepts the key and offers a model, and that the model's tokenizer is available.

    Args:
        options: `TinkerOptions`, or None for its defaults.
        base_model: The server's name of the model; None if no model is needed.

    Raises:
        BackendError: There is no usable key, the server cannot be reached or refuses the key, the model is not
            offered, or its tokenizer is neither on this machine nor on the Hub.
    """
    settings = TinkerOptions.read(options)
    url = server_address(settings.base_url)
    check_key()
    check_server(url)
    if base_model is None:
        return
    offered = _offered_models(url)
    if offered is not None:
        check_offered(base_model, offered)
    _check_tokenizer(base_model, settings.tokenizer)


def server_address(base_url: str | None) -> str:
    """The address of the server by the SDK's own rule, read from one file without importing the SDK."""
    package = importlib.util.find_spec("tinker")
    assert package is not None and package.submodule_search_locations
    rule = runpy.run_path(str(Path(package.submodule_search_locations[0]) / "lib" / "base_url.py"))
    return str(rule["resolve_base_url"](base_url))


def check_key() -> None:
    """Raise BackendError if there is no key, or one that cannot be valid."""
    key = os.environ.get("TINKER_API_KEY")
    if key is None:
        stored = Path.home() / ".tinker" / "credentials.json"
        if "TINKER_CREDENTIAL_CMD" in os.environ or stored.is_file():
            return
        raise BackendError("backend: tinker needs an API key. Create one in the Tinker console and set TINKER_API_KEY.")
    if not key.startswith(("tml-", "eyJ")):
        raise BackendError('backend: TINKER_API_KEY does not look like a Tinker key; keys start with "tml-".')
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise BackendError("backend: TINKER_API_KEY has spaces, line breaks or letters that no key has; copy it again.")


def check_server(url: str) -> None:
    """Raise BackendError if a server cannot be reached, reports an error, or refuses the key."""
    response = _get(url, "healthz")
    if response.status_code in (401, 403):
        _refuse(url, response.status_code)
    elif response.status_code >= 400:
        raise BackendError(f"backend: the Tinker server at {url} answers {response.status_code} to a health check.")


def check_offered(base_model: str, offered: Sequence[str]) -> None:
    """Raise BackendError for a model that a server does not offer; the message names similar ones."""
    if base_model in offered:
        return
    near = difflib.get_close_matches(base_model, offered, n=3, cutoff=0.3)
    hint = f" Nearest: {', '.join(near)}." if near else ""
    known = lineup()
    retired = known.find_retired(base_model)
    gone = "no longer offers" if retired or known.find(base_model) else "does not offer"
    since = f" (retired {retired.since})" if retired and retired.since else ""
    raise BackendError(
        f'base_model: the Tinker server {gone} "{base_model}"{since}.{hint} Set tinker.base_model to one of its '
        f"{len(offered)} models (base_model may stay, for runs on this machine): {', '.join(sorted(offered))}."
    )


def tokenizer_source(model: str, configured: str | None) -> str | None:
    """The Hub id, directory or packaged name of a model's tokenizer; None if the SDK has it in a package."""
    if configured is not None or model in PACKAGED:
        return configured or model
    name = model.partition(":")[0]
    if name.startswith(PACKAGED_TOKENIZERS):
        return None
    for prefix, repository in OTHER_TOKENIZERS.items():
        if name.startswith(prefix):
            return repository
    # The third part of a name is a variant.
    return "/".join(name.split("/")[:2]) if name.count("/") == 2 else name


def no_tokenizer(model: str, source: str, reason: str) -> str:
    """The message for a tokenizer that is not available."""
    return (
        f'tinker.tokenizer: no tokenizer of "{model}" was found at {source} ({reason}). Set '
        "it to the Hub id or the directory of one."
    )


def _check_tokenizer(model: str, configured: str | None) -> None:
    source = tokenizer_source(model, configured)
    if source is None:
        return
    if source in PACKAGED:
        check_available(source)
    elif Path(source).is_dir():
        if not any((Path(source) / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
            raise BackendError(no_tokenizer(model, source, "the directory has no tokenizer.json"))
    elif refusal := hub_refusal(source, "tokenizer.json", "tokenizer_config.json"):
        raise BackendError(no_tokenizer(model, source, refusal.reason))


def _offered_models(url: str) -> list[str] | None:
    """The models of a server; None if it does not list them without the SDK."""
    response = _get(url, "get_server_capabilities")
    if response.status_code in (401, 403):
        _refuse(url, response.status_code)
    try:
        models = response.json()["supported_models"]
        return [str(model["model_name"]) for model in models if model.get("model_name")]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _get(url: str, path: str) -> httpx.Response:
    import httpx

    key = os.environ.get("TINKER_API_KEY")
    try:
        return httpx.get(
            f"{url}/api/v1/{path}",
            headers={"X-API-Key": key} if key else {},
            timeout=httpx.Timeout(RESPONSE_SECONDS, connect=CONNECT_SECONDS),
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise BackendError(
            f"backend: the Tinker server at {url} cannot be reached ({type(error).__name__}: {error}). Check the "
            "network, TINKER_BASE_URL and tinker.base_url."
        ) from error


def _refuse(url: str, status: int) -> None:
    # The SDK may send a stored credential, which this check does not.
    if os.environ.get("TINKER_API_KEY"):
        raise BackendError(f"backend: the Tinker server at {url} refuses this TINKER_API_KEY ({status}).")
