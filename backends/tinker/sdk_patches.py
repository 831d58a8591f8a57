"""Patches of the Tinker SDK at run time: one function for each, with its reason.

A patch does nothing if the SDK does not have what it changes. `test_sdk_patches` fails when the SDK no longer needs one
of them.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from backends.base_models import PACKAGED, load_tokenizer, locate
from backends.interface import BackendError
from backends.tinker.preflight import no_tokenizer

# A queue that is paused for this long is reported.
PAUSE_SECONDS = 30
# Least time between two warnings of one kind.
WARNING_INTERVAL_SECONDS = 30.0

# Below the SDK's logger, whose warnings the user sees.
_log = logging.getLogger("tinker.server")


def apply_patches(tokenizer: str | None) -> None:
    """Apply all patches; applying them again replaces them.

    Args:
        tokenizer: Hub id or directory of the tokenizer of every sampling client; None: by the model's name.
    """
    report_pauses_soon()
    find_tokenizers(tokenizer)
    warn_of_retries()


def report_pauses_soon() -> None:
    """Report a paused queue after `PAUSE_SECONDS`: the SDK waits a quarter of an hour without a message."""
    from tinker.lib import queue_state_logger

    # SDKs before 0.38 report pauses at once, and do not have this constant.
    if hasattr(queue_state_logger, "PAUSE_GRACE_PERIOD"):
        queue_state_logger.PAUSE_GRACE_PERIOD = PAUSE_SECONDS


def find_tokenizers(configured: str | None) -> None:
    """Let sampling clients load tokenizers that the Hub does not have under the model's name.

    The server tells a training client where its tokenizer is. A sampling client looks for the model's name on the Hub,
    and the SDK has no setting for another source; it takes a directory such as /models/llama for a Hub id.

    Args:
        configured: Hub id or directory of the tokenizer; None: that of packaged models, else by the model's name.
    """
    from tinker.lib.public_interfaces import sampling_client

    current = sampling_client._load_tokenizer_from_model_info
    original = getattr(current, "of_the_sdk", current)

    def load(model_name: str, *rest: Any) -> Any:
        source = configured or (locate(model_name) if model_name in PACKAGED else None)
        try:
            return original(model_name, *rest) if source is None else load_tokenizer(source)
        except (OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise BackendError(no_tokenizer(model_name, source or "the Hub", reason)) from error

    load.of_the_sdk = original  # type: ignore[attr-defined]
    sampling_client._load_tokenizer_from_model_info = load  # type: ignore[assignment]


def warn_of_retries() -> None:
    """Log rate limits and lost connections as warnings: the SDK retries, and logs them at DEBUG only."""
    from tinker import _base_client

    logger = _base_client.log
    _base_client.log = _RetryWarnings(logger.logger if isinstance(logger, _RetryWarnings) else logger)  # type: ignore[assignment]


class _RetryWarnings(logging.LoggerAdapter[logging.Logger]):
    """Replaces the logger of the SDK's HTTP client, which logs every response and failure at DEBUG.

    The logger itself keeps its level: at DEBUG the SDK would write out every request.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger, {})
        self._last_warning: dict[str, float] = {}
        # Whether a lost connection has been reported.
        self._is_lost = False

    def debug(self, msg: object, *args: Any, **options: Any) -> None:
        """Pass a message on, with a warning if it reports a failure or the end of one."""
        text = str(msg)
        if text.startswith("HTTP Response:") and len(args) > 2:
            self._on_status(int(args[2]))
        elif text in ("Encountered Exception", "Encountered httpx.TimeoutException"):
            warned = self._warn("lost", "No connection to the server; trying again, for five minutes at most.")
            self._is_lost = self._is_lost or warned
        super().debug(msg, *args, **options)

    def _on_status(self, status: int) -> None:
        if status == 429:
            self._warn("busy", "The server asks for patience (rate limit, 429); waiting, then trying again.")
        elif status >= 500:
            self._warn("failing", f"The server answers {status}; trying again, for five minutes at most.")
        elif self._is_lost:
            self._is_lost = False
            _log.warning("The server answers again.")

    def _warn(self, kind: str, sentence: str) -> bool:
        now = time.monotonic()
        if now - self._last_warning.get(kind, -WARNING_INTERVAL_SECONDS) < WARNING_INTERVAL_SECONDS:
            return False
        self._last_warning[kind] = now
        _log.warning(sentence)
        return True
