"""An engine behind an address that samples for this backend: vLLM, or what speaks its protocol.

Used are ``GET /v1/models``, ``POST /v1/load_lora_adapter`` and ``/v1/unload_lora_adapter``, and ``POST
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

# Seconds to wait before each further try of a request that did not get through.
PAUSES = (0.5, 2.0, 5.0)
# Seconds to connect, and to wait for an answer, which may stand behind many others: what takes an hour does not come.
_CONNECT, _ANSWER = 10.0, 3600.0
# The variable that holds the engine's key, by vLLM's own name for it.
KEY = "VLLM_API_KEY"


class Refused(Exception):
    """The engine does not do what it is asked for; the text is its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class VllmClient:
    """The engine, and the adapters that it has been given.

    Args:
        url: Its address, with or without ``/v1``.
        directory: Where adapters are written for it to read; a temporary one of this machine when None.
    """

    def __init__(self, url: str, directory: str | None = None) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        key = os.environ.get(KEY)
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(None, connect=_CONNECT, read=_ANSWER),
            limits=httpx.Limits(max_connections=None),
            # It is named by its address; a proxy for the world outside is not asked.
            trust_env=False,
        )
        self._root = Path(directory).expanduser() if directory else None
        self._written: dict[str, Path] = {}
        self._lock = threading.Lock()
        self._base = ""

    def base_model(self) -> str:
        """The name by which it knows its base model.

        Raises:
            BackendError: Nobody answers, or what answers is no such engine.
        """
        if not self._base:
            try:
                cards = self._ask("GET", "/v1/models")["data"]
                self._base = next(str(card["id"]) for card in cards if not card.get("parent"))
            except (Refused, KeyError, TypeError, StopIteration) as error:
                raise BackendError(
                    f"local.sampler: what answers at {self.url} lists no model ({error}). It must be an engine that "
                    "speaks vLLM's protocol; leave local.sampler out to sample on this machine."
                ) from error
        return self._base

    def load(self, name: str, rank: int, write: Callable[[Path], None]) -> None:
        """Gives it an adapter, unless it has it.

        Args:
            name: The name to ask for the adapter by.
            rank: Of the adapter, for what is said if it is refused.
            write: Writes the adapter's files into an empty directory.

        Raises:
            BackendError: The files cannot be written, or the engine does not take the adapter.
        """
        with self._lock:
            if name not in self._written:
                try:
                    if self._root is not None:
                        self._root.mkdir(parents=True, exist_ok=True)
                    place = Path(tempfile.mkdtemp(prefix="text2sql-adapter-", dir=self._root))
                    write(place)
                    # The engine may be another user's process.
                    place.chmod(0o755)
                except OSError as error:
                    raise BackendError(
                        f"local.sampler_directory: the adapter cannot be written for the engine ({error}); nothing "
                        "else is lost."
                    ) from error
                self._written[name] = place
            try:
                self._ask("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(self._written[name])})
            except Refused as error:
                if "already been loaded" in str(error):
                    return
                raise BackendError(self._no_adapter(error, rank)) from error

    def _no_adapter(self, error: Refused, rank: int) -> str:
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
        """Has it forget an adapter, and deletes the files; what fails does no harm."""
        with self._lock:
            place = self._written.pop(name, None)
        if place is None:
            return
        # Where it is gone, so is the adapter.
        with suppress(httpx.HTTPError):
            self._http.post("/v1/unload_lora_adapter", json={"lora_name": name}, timeout=_CONNECT)
        shutil.rmtree(place, ignore_errors=True)

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request for completions.

        Raises:
            Refused: The engine will not answer it.
            BackendError: Nobody answers.
        """
        return self._ask("POST", "/v1/completions", body)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        for pause in (*PAUSES, None):
            try:
                response = self._http.request(method, path, json=body)
            except httpx.HTTPError as error:
                if pause is None:
                    raise BackendError(
                        f"local.sampler: nobody answers at {self.url} ({error or type(error).__name__}). Start the "
                        "engine there, or leave local.sampler out to sample on this machine; nothing that was sampled "
                        "before is lost, and the same command goes on."
                    ) from error
                time.sleep(pause)
                continue
            break
        if response.is_error:
            raise Refused(response.status_code, _message(response))
        if "json" not in response.headers.get("content-type", ""):
            # Adapters are taken in plain words.
            return {}
        found = response.json()
        return found if isinstance(found, dict) else {}

    def close(self) -> None:
        """Has it forget all adapters."""
        for name in list(self._written):
            self.unload(name)
        self._http.close()


def _message(response: httpx.Response) -> str:
    """What the engine says of an error, on one line."""
    try:
        said = response.json()
        error = said.get("error", said)
        text = str(error.get("message") or error.get("detail") or said) if isinstance(error, dict) else str(error)
    except (ValueError, AttributeError):
        text = response.text
    return f"{response.status_code}: {' '.join(text.split())[:300]}"
