"""Between texts and tokens: a tokenizer that threads can share, and the text of tokens that come one by one."""

from __future__ import annotations

import asyncio
import copy
import threading
from typing import Any

from jinja2 import TemplateError

from backends.chat_template import timeless_template
from backends.control_tokens import SPELLED_AS_TEXT, control_tokens, with_all_control_tokens
from backends.server.errors import ApiError


class Tokenizer:
    """Copies of a base model's tokenizer, since the device's thread uses the original; a lock guards each.

    Texts are encoded, which may take long, on other threads than the event loop's.
    """

    def __init__(self, original: Any) -> None:
        self._encoder = with_all_control_tokens(copy.deepcopy(original))
        self._control = control_tokens(original)
        if (timeless := timeless_template(original)) != getattr(original, "chat_template", None):
            # A model that was trained on one day is asked on another.
            self._encoder.chat_template = timeless
        self._decoder = copy.deepcopy(original)
        self._encoding, self._decoding = threading.Lock(), threading.Lock()
        # Characters of the longest token.
        self._longest = max(map(len, original.get_vocab()), default=1)

    async def encode(self, texts: list[str], most: int, *, special: bool = True) -> list[list[int]]:
        """The token ids of each text.

        Args:
            texts: The texts.
            most: How many tokens the model takes.
            special: Whether the tokenizer adds what it puts around every text.

        Raises:
            ApiError: A text is so long that it must have more tokens than that.
        """
        for text in texts:
            self._check_length(text, most)

        def run() -> list[list[int]]:
            with self._encoding:
                return [self._encoder.encode(text, add_special_tokens=special) for text in texts]

        return await asyncio.to_thread(run)

    def _check_length(self, text: str, most: int) -> None:
        if len(text) > most * self._longest:
            raise ApiError(
                400,
                f"The prompt has {len(text)} characters; the model takes {most} tokens, which are "
                f"{most * self._longest} characters at most.",
            )

    async def encode_chat(self, messages: list[dict[str, str]], most: int) -> list[int]:
        """The prompt of a conversation, by the model's chat template.

        Control tokens are the template's alone: one that a message spells is encoded as text.

        Args:
            messages: The turns.
            most: How many tokens the model takes.

        Raises:
            ApiError: The template refuses the conversation, which the message says, it is too long for `most`, or the
                tokenizer cannot read a control token that it spells as text.
        """
        if not getattr(self._encoder, "chat_template", None):
            raise ApiError(400, "The model has no chat template; use /v1/completions.")
        if "developer" not in self._encoder.chat_template:
            # OpenAI's newer name of the same turn, which few templates know.
            messages = [{**m, "role": "system"} if m["role"] == "developer" else m for m in messages]
        # A prompt has no fewer characters than its messages.
        for message in messages:
            self._check_length(message["content"], most)

        spelled = sum(len(self._control.findall(message["content"])) for message in messages) if self._control else 0
        if spelled > most:
            raise ApiError(400, f"The messages spell {spelled} control tokens; as text they are beyond {most} tokens.")

        def write(**options: Any) -> Any:
            with self._encoding:
                return self._encoder.apply_chat_template(messages, add_generation_prompt=True, **options)

        try:
            if not spelled:
                text: str = await asyncio.to_thread(write, tokenize=False)
                return (await self.encode([text], most, special=False))[0]
            ids: list[int] = await asyncio.to_thread(write, **SPELLED_AS_TEXT)
            return ids
        except TemplateError as error:
            raise ApiError(400, f"The model's chat template refuses this conversation: {error}.") from error
        except ValueError as error:
            if not spelled:
                raise
            raise ApiError(
                400, f"A message spells a control token, which the model's tokenizer cannot read as text: {error}."
            ) from error

    def decode(self, tokens: list[int]) -> str:
        """The text of tokens, without those that stand for no text."""
        with self._decoding:
            text: str = self._decoder.decode(tokens, skip_special_tokens=True)
        return text

    def piece(self, token: int) -> str:
        """One token by itself, whatever it stands for."""
        with self._decoding:
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
