"""Between texts and tokens: a tokenizer that threads can share, and the text of tokens that come one by one."""

from __future__ import annotations

import asyncio
import copy
import threading
from typing import Any

from jinja2 import TemplateError

from backends.server.errors import ApiError


class Tokenizer:
    """Copies of a base model's tokenizer: the device's thread uses the original, and one object is for one thread.

    Long texts are encoded on other threads, one at a time; decoding is short, and stays on the event loop's.
    """

    def __init__(self, original: Any) -> None:
        self._encoder = copy.deepcopy(original)
        self._decoder = copy.deepcopy(original)
        self._encoding = threading.Lock()

    async def encode(self, texts: list[str]) -> list[list[int]]:
        """The token ids of each text."""

        def run() -> list[list[int]]:
            with self._encoding:
                return [self._encoder.encode(text) for text in texts]

        return await asyncio.to_thread(run)

    async def encode_chat(self, messages: list[dict[str, str]]) -> list[int]:
        """The prompt of a conversation, by the model's chat template (ApiError with what the template refuses)."""
        if not getattr(self._encoder, "chat_template", None):
            raise ApiError(400, "The model has no chat template; use /v1/completions.")

        def run() -> list[int]:
            with self._encoding:
                encoded = self._encoder.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
            return list(encoded["input_ids"])

        try:
            return await asyncio.to_thread(run)
        except TemplateError as error:
            raise ApiError(400, f"The model's chat template refuses this conversation: {error}.") from error

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens, without those that stand for no text."""
        text: str = self._decoder.decode(tokens, skip_special_tokens=True)
        return text

    def piece(self, token: int) -> str:
        """One token by itself, whatever it stands for."""
        text: str = self._decoder.decode([token])
        return text


class IncrementalText:
    """The text of tokens that come one by one; the end of an incomplete character is not part of it yet."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._text = ""
        # tokens[from:known] are decoded again with the next token, whose text depends on them.
        self._from = self._known = 0

    def read(self, token: int) -> str:
        """The text so far."""
        self._tokens.append(token)
        before = self._tokenizer.decode(self._tokens[self._from : self._known])
        after = self._tokenizer.decode(self._tokens[self._from :])
        if len(after) > len(before) and not after.endswith("\N{REPLACEMENT CHARACTER}"):
            self._text += after[len(before) :]
            self._from, self._known = self._known, len(self._tokens)
        return self._text
