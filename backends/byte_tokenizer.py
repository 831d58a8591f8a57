"""A tokenizer without a vocabulary file: one token per byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal


class ByteTokenizer:
    """One token per byte of UTF-8, plus 256 for the end of a sequence."""

    eos_token_id = 256
    bos_token_id = None
    all_special_ids = (256,)
    chat_template = "<role>content"

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The bytes of the text."""
        return list(text.encode())

    def __call__(self, texts: list[str], *, add_special_tokens: bool = True) -> dict[str, list[list[int]]]:
        """Many texts at once."""
        return {"input_ids": [self.encode(text) for text in texts]}

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: Literal[False], add_generation_prompt: bool = False
    ) -> str:
        """Each message after its role."""
        turns = "".join(f"<{turn['role']}>{turn['content']}" for turn in conversation)
        return turns + ("<assistant>" if add_generation_prompt else "")

    def decode(
        self, tokens: Sequence[int], skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool = False
    ) -> str:
        """The text of the bytes; invalid ones are replaced."""
        return bytes(t for t in tokens if t < 256).decode(errors="replace")
