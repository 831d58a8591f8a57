"""What this project changes in the Tinker SDK while it runs: one function a change, each with its reason.

Every function asks whether the SDK has what it would change, and does nothing if not. `test_sdk_patches` fails when the
SDK no longer needs one of them.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from backends.base_models import PACKAGED, load_tokenizer, locate
from backends.interface import BackendError
from backends.tinker.preflight import no_tokenizer

# A queue that stands still for this long is reported.
PAUSE_SECONDS = 30
# Between two notices of one kind.
NOTICE_SECONDS = 30.0

# The SDK's warnings are shown; the notices are among them.
_log = logging.getLogger("tinker.server")


def apply_patches(tokenizer: str | None) -> None:
    """Apply all patches; a second time they are renewed.

    Args:
        tokenizer: Hub id or directory of the tokenizer of every sampling client; None: by the model's name.
    """
    report_pauses_soon()
    find_tokenizers(tokenizer)
    show_notices()


def report_pauses_soon() -> None:
    """Report a queue that stands still after `PAUSE_SECONDS`: the SDK waits a quarter of an hour, in silence."""
    from tinker.lib import queue_state_logger

    # Before 0.38 the SDK waits for nothing, and has no such name.
    if hasattr(queue_state_logger, "PAUSE_GRACE_PERIOD"):
        queue_state_logger.PAUSE_GRACE_PERIOD = PAUSE_SECONDS


def find_tokenizers(given: str | None) -> None:
    """Tell the SDK where the tokenizers of sampling clients are that the Hub does not have under the model's name.

    A training client learns from the server where its tokenizer is. A sampling client looks for the model's name on the
    Hub, and the SDK has no setting for another place; of a directory such as /models/llama it makes a Hub id.

    Args:
        given: Hub id or directory of the tokenizer; None: packaged models by their directory, others by their name.
    """
    from tinker.lib.public_interfaces import sampling_client

    current = sampling_client._load_tokenizer_from_model_info
    original = getattr(current, "of_the_sdk", current)

    def load(model_name: str, *rest: Any) -> Any:
        place = given or (locate(model_name) if model_name in PACKAGED else None)
        try:
            return original(model_name, *rest) if place is None else load_tokenizer(place)
        except (OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise BackendError(no_tokenizer(model_name, place or "the Hub", reason)) from error

    load.of_the_sdk = original  # type: ignore[attr-defined]
    sampling_client._load_tokenizer_from_model_info = load  # type: ignore[assignment]


def show_notices() -> None:
    """Log rate limits and lost connections as warnings: the SDK waits and retries, and writes them at DEBUG."""
    from tinker import _base_client

    logger = _base_client.log
    _base_client.log = _Notices(logger.logger if isinstance(logger, _Notices) else logger)  # type: ignore[assignment]


class _Notices(logging.LoggerAdapter[logging.Logger]):
    """Stands in for the logger of the SDK's HTTP client, whose debug messages are of every answer and every failure.

    The logger itself stays at its level: at DEBUG the SDK would write out every request.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger, {})
        self._last: dict[str, float] = {}
        # Whether it has been reported that the server is away.
        self._away = False

    def debug(self, msg: object, *args: Any, **options: Any) -> None:
        """Pass a message on, with a warning if it is of trouble or of its end."""
        text = str(msg)
        if text.startswith("HTTP Response:") and len(args) > 2:
            self._on_status(int(args[2]))
        elif text in ("Encountered Exception", "Encountered httpx.TimeoutException"):
            warned = self._warn("lost", "No connection to the server; trying again, for five minutes at most.")
            self._away = self._away or warned
        super().debug(msg, *args, **options)

    def _on_status(self, status: int) -> None:
        if status == 429:
            self._warn("busy", "The server asks for patience (rate limit, 429); waiting, then trying again.")
        elif status >= 500:
            self._warn("failing", f"The server answers {status}; trying again, for five minutes at most.")
        elif self._away:
            self._away = False
            _log.warning("The server answers again.")

    def _warn(self, kind: str, sentence: str) -> bool:
        now = time.monotonic()
        if now - self._last.get(kind, -NOTICE_SECONDS) < NOTICE_SECONDS:
            return False
        self._last[kind] = now
        _log.warning(sentence)
        return True
