"""A disk cache of chat endpoints' answers, so that none is asked for, or paid for, twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

from backends.paths import written_aside
from text2sql.chat_client.completion import Completion, Messages
from text2sql.config import EndpointConfig


class AnswerCache:
    """A directory with one JSON file for each answer.

    A file that cannot be read counts as missing, and an answer that cannot be written is used all the same.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @staticmethod
    def key(config: EndpointConfig, messages: Messages, attempt: int) -> str:
        """A digest of everything that an answer depends on.

        Args:
            config: The endpoint, the model, and how it samples.
            messages: The conversation.
            attempt: The index of the attempt, where the same conversation is asked several times.
        """
        content = [config.base_url, config.model, config.temperature, config.max_tokens, config.extra, attempt]
        text = json.dumps([*content, [dict(message) for message in messages]], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def get(self, key: str) -> Completion | None:
        """The answer under a key, marked as cached; None if there is no readable one."""
        try:
            return replace(Completion(**json.loads(self._file(key).read_text(encoding="utf-8"))), cached=True)
        except (OSError, ValueError, TypeError):
            return None

    def put(self, key: str, answer: Completion) -> None:
        """Stores an answer."""
        with contextlib.suppress(OSError), written_aside(self._file(key)) as aside:
            aside.write_text(json.dumps(asdict(answer)), encoding="utf-8")

    def _file(self, key: str) -> Path:
        return self._directory / key[:2] / f"{key}.json"
