"""The thinking block before an answer: sampled separately, with its own token limit, and closed if still open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinker import types

from backends.control_tokens import control_tokens
from backends.tokenizer import Tokenizer
from text2sql.config import Config
from text2sql.data.thinking import TurnStart


@dataclass(frozen=True)
class ThinkingBlock:
    """The thinking block of a model's chat template.

    Attributes:
        tokenizer: The model's tokenizer.
        mark: Text that ends the block: the first control token of `TurnStart.closing`.
        closing: Token ids of the whole of `TurnStart.closing`, behind which the answer is sampled.
        max_tokens: Maximum number of tokens in the block.
    """

    tokenizer: Tokenizer
    mark: str
    closing: tuple[int, ...]
    max_tokens: int

    @classmethod
    def of(cls, start: TurnStart, tokenizer: Tokenizer, config: Config) -> ThinkingBlock | None:
        """The block of a turn with this start; None if the turn has no thinking block."""
        if start.closing is None:
            return None
        control = control_tokens(tokenizer)
        match = control.search(start.closing) if control else None
        ids = tokenizer([start.closing], add_special_tokens=False)["input_ids"][0]
        mark = match[0] if match else start.closing.strip()
        return cls(tokenizer, mark, tuple(ids), config.evaluation.max_thinking_tokens)

    def params(self, answer: types.SamplingParams) -> types.SamplingParams:
        """The sampling parameters of the block, given those of the answer behind it."""
        stop: list[int] | list[str] = [self.mark]
        ids = self.tokenizer.encode(self.mark, add_special_tokens=False)
        if len(ids) == 1 and self.tokenizer.eos_token_id is not None:
            # A model may also end its turn inside the block.
            stop = [*ids, self.tokenizer.eos_token_id]
        return answer.model_copy(update={"max_tokens": self.max_tokens, "stop": stop})

    def read(self, tokens: Sequence[int]) -> tuple[list[int], str]:
        """The content of a sampled block without the mark that ended it, as token ids and as text."""
        ids = list(tokens)
        if ids and ids[-1] == self.tokenizer.eos_token_id:
            ids.pop()
        text = self._text(ids)
        if (end := text.find(self.mark)) < 0:
            return ids, text
        # `closing` has the line breaks of the template.
        text = text[:end].rstrip("\n")
        while ids and not text.startswith(self._text(ids)):
            ids.pop()
        return ids, self._text(ids)

    def answer_prompt(self, prompt: Sequence[int], thought: Sequence[int]) -> list[int]:
        """The token ids that an answer is sampled behind: prompt, thought, and what closes the block."""
        return [*prompt, *thought, *self.closing]

    def _text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
