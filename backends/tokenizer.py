"""What this project asks of a tokenizer, as types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol


class Tokenizer(Protocol):
    """What is asked of a base model's tokenizer; a Hugging Face `PreTrainedTokenizerBase` has it and more."""

    @property
    def bos_token_id(self) -> int | None:
        """The token that begins a sequence; None where there is none."""
        ...

    @property
    def eos_token_id(self) -> int | None:
        """The token that ends a sequence; None where there is none."""
        ...

    @property
    def all_special_ids(self) -> Sequence[int]:
        """The tokens that stand for no text."""
        ...

    @property
    def chat_template(self) -> str | None:
        """Jinja text that marks the turns of a conversation; None of a model that has no chats."""
        ...

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The token ids of a text, with what the tokenizer puts around a sequence unless told otherwise."""
        ...

    def __call__(self, text: list[str], /, *, add_special_tokens: bool = True) -> Mapping[str, list[list[int]]]:
        """``input_ids``: the ids of many texts at once."""
        ...

    def decode(
        self, tokens: Sequence[int], /, *, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool = False
    ) -> str:
        """The text of token ids."""
        ...

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: Literal[False], add_generation_prompt: bool = False
    ) -> str:
        """The text of a conversation; `add_generation_prompt` begins the assistant's next turn."""
        ...


class PretrainedTokenizer(Tokenizer, Protocol):
    """A tokenizer that was read from a model's files."""

    @property
    def chat_template(self) -> str | None:
        """See `Tokenizer`; here another can be set."""
        ...

    @chat_template.setter
    def chat_template(self, template: str | None) -> None: ...

    @property
    def bos_token(self) -> str | None:
        """Text of the token that begins a sequence; None where there is none."""
        ...

    def save_pretrained(self, directory: Path, /) -> object:
        """Write the files that transformers reads it from."""
        ...


def vocabulary(tokenizer: object) -> dict[str, int]:
    """The tokens and their ids, the added ones too; empty of a tokenizer that has no list of them."""
    listed = getattr(tokenizer, "get_vocab", None)
    return dict(listed()) if callable(listed) else {}
