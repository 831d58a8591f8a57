"""A client of the server that samples in place of this backend: vLLM, or one that speaks its protocol.

It uses ``GET /v1/models``, ``POST /v1/load_lora_adapter`` and ``/v1/unload_lora_adapter``, and ``POST
/v1/completions`` with the prompt as token ids, ``return_token_ids`` and ``logprobs``, as vLLM documents them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from backends.interface import BackendError

# Seconds to wait before each retry of a request that did not get through.
RETRY_DELAYS = (0.5, 2.0, 5.0)
# Seconds to wait for a connection.
_CONNECT_SECONDS = 10.0
# Seconds to wait for a response, which may queue behind many others.
_RESPONSE_SECONDS = 3600.0
# The environment variable of the server's key, as vLLM names it.
KEY_VARIABLE = "VLLM_API_KEY"


class RequestRefused(Exception):
    """The server answered with an error status; the text is its message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class VllmClient:
    """A server, and the adapters that it has loaded for this process.

    Args:
        url: Its address, with or without ``/v1``.
        directory: Directory in which it finds adapters; a temporary one of this machine when None.
    """

    def __init__(self, url: str, directory: str | None = None) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        key = os.environ.get(KEY_VARIABLE)
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS, read=_RESPONSE_SECONDS),
            limits=httpx.Limits(max_connections=None),
            # The server is configured by its address: ignore proxies in the environment.
            trust_env=False,
        )
        self._root = Path(directory).expanduser() if directory else None
        # Directories of the adapters that the server has been given, by name.
        self._adapters: dict[str, Path] = {}
        self._lock = threading.Lock()
        self._base = ""

    def base_model(self) -> str:
        """The server's name of its base model.

        Raises:
            BackendError: The server cannot be reached, or does not speak the protocol.
        """
        if not self._base:
            try:
                cards = self._request("GET", "/v1/models")["data"]
                self._base = next(str(card["id"]) for card in cards if not card.get("parent"))
            except (RequestRefused, KeyError, TypeError, StopIteration) as error:
                raise BackendError(
                    f"local.sampler: what answers at {self.url} lists no model ({error}). It must be an engine that "
                    "speaks vLLM's protocol; leave local.sampler out to sample on this machine."
                ) from error
        return self._base

    def load(self, name: str, rank: int, write: Callable[[Path], None]) -> None:
        """Have the server load an adapter, unless it has.

        Args:
            name: Name of the adapter in requests.
            rank: Its rank, for messages.
            write: Writes the adapter's files into an empty directory.

        Raises:
            BackendError: The files cannot be written, or the server does not load the adapter.
        """
        with self._lock:
            if name not in self._adapters:
                try:
                    if self._root is not None:
                        self._root.mkdir(parents=True, exist_ok=True)
                    files = Path(tempfile.mkdtemp(prefix="text2sql-adapter-", dir=self._root))
                    write(files)
                    # The server may run as another user.
                    files.chmod(0o755)
                except OSError as error:
                    raise BackendError(
                        f"local.sampler_directory: the adapter cannot be written for the engine ({error}); nothing "
                        "else is lost."
                    ) from error
                self._adapters[name] = files
            try:
                self._request(
                    "POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(self._adapters[name])}
                )
            except RequestRefused as error:
                if "already been loaded" in str(error):
                    return
                raise BackendError(self._cannot_load_message(error, rank)) from error

    def _cannot_load_message(self, error: RequestRefused, rank: int) -> str:
        if error.status in (404, 405) and "No adapter found" not in str(error):
            why = "it loads no adapters while it runs"
        else:
            why = f"it does not take the adapter ({error})"
        return (
            f"local.sampler: the engine at {self.url} cannot sample for this run: {why}. Start vLLM with "
            f"VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, --enable-lora and --max-lora-rank {rank} or more, on a machine that "
            "reads local.sampler_directory; leave out modules that it cannot adapt (lora.train_unembed=false), or "
            "leave local.sampler out to sample on this machine. Nothing is lost, and the same command goes on."
        )

    def unload(self, name: str) -> None:
        """Have the server unload an adapter, and delete its files; failures are ignored."""
        with self._lock:
            files = self._adapters.pop(name, None)
        if files is None:
            return
        # If the server is gone, so is the adapter.
        with suppress(httpx.HTTPError):
            self._http.post("/v1/unload_lora_adapter", json={"lora_name": name}, timeout=_CONNECT_SECONDS)
        shutil.rmtree(files, ignore_errors=True)

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The response to a request for completions.

        Raises:
            RequestRefused: The server answered with an error.
            BackendError: The server cannot be reached.
        """
        return self._request("POST", "/v1/completions", body)

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        for delay in (*RETRY_DELAYS, None):
            try:
                response = self._http.request(method, path, json=body)
            except httpx.HTTPError as error:
                if delay is None:
                    raise BackendError(
                        f"local.sampler: nobody answers at {self.url} ({error or type(error).__name__}). Start the "
                        "engine there, or leave local.sampler out to sample on this machine; nothing that was sampled "
                        "before is lost, and the same command goes on."
                    ) from error
                time.sleep(delay)
                continue
            break
        if response.is_error:
            raise RequestRefused(response.status_code, _error_message(response))
        if "json" not in response.headers.get("content-type", ""):
            # Loading an adapter is confirmed by a plain text.
            return {}
        content = response.json()
        return content if isinstance(content, dict) else {}

    def close(self) -> None:
        """Have the server unload all adapters."""
        for name in list(self._adapters):
            self.unload(name)
        self._http.close()


def _error_message(response: httpx.Response) -> str:
    """Status and message of an error response, on one line."""
    try:
        content = response.json()
        error = content.get("error", content)
        text = str(error.get("message") or error.get("detail") or content) if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        text = response.text
    return f"{response.status_code}: {' '.join(text.split())[:300]}"
