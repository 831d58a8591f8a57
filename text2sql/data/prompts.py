r"""How an example becomes text and tokens: one place, for training and for sampling alike.

The prompt and the completion are tokenised separately and their ids concatenated, so the ids that training puts before
the completion are exactly the ids that sampling starts from.

Templates:
    exercise: The course's, to the character: ``Table schema:\n{context}\nQuestion: {question}\nSQL: `` and then
        `` {answer}\n\n``. Prompt and completion meet in two spaces. A byte-level BPE vocabulary has a token for
        `` SELECT`` but reads the prompt's trailing space as a token of its own, which ordinary text seldom has before
        a word; the text that is trained is the text that is sampled, so this costs a token and nothing else.
    plain: The same without the trailing space: one token less, and nothing unusual. The difference is small: to the
        untrained SmolLM2-135M-Instruct, the completions of 60 bundled test examples cost 32.3 nats each after this
        prompt and 32.9 after the other. What a model was trained on is what to ask it with.

Both end a completion with a blank line, at which sampling stops; its tokens carry weight 1 like the rest of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from text2sql.data.examples import Example
from text2sql.errors import UserError

VERSION = 1  # raise it when a template changes; it is saved with every run


@dataclass(frozen=True, slots=True)
class Template:
    """Text of a prompt and of a completion, with the example's fields in braces."""

    prompt: str
    completion: str


TEMPLATES = {
    "exercise": Template("Table schema:\n{context}\nQuestion: {question}\nSQL: ", " {answer}\n\n"),
    "plain": Template("Table schema:\n{context}\nQuestion: {question}\nSQL:", " {answer}\n\n"),
}


@dataclass(frozen=True, slots=True)
class Tokens:
    """An example as token ids, int32 ``[P]`` and ``[C]``."""

    prompt: np.ndarray
    completion: np.ndarray

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def render_prompt(example: Example, template: str) -> str:
    """The text that the model is given."""
    question = f"{example.question} ({example.evidence})" if example.evidence else example.question
    return TEMPLATES[template].prompt.format(context=example.context, question=question)


def render_completion(example: Example, template: str) -> str:
    """The text that the model is to write."""
    return TEMPLATES[template].completion.format(answer=example.answer)


def tokenize(examples: Sequence[Example], tokenizer: Any, template: str) -> list[Tokens]:
    """Token ids of examples.

    Args:
        examples: What to tokenise.
        tokenizer: A Hugging Face tokenizer.
        template: A key of `TEMPLATES`.

    Returns:
        One `Tokens` each; the prompt begins with the tokenizer's BOS exactly once if the tokenizer adds one.

    Raises:
        UserError: The tokenizer puts its BOS in front more than once.
    """
    if not examples:
        return []
    prompts = tokenizer([render_prompt(e, template) for e in examples], add_special_tokens=True)["input_ids"]
    completions = tokenizer([render_completion(e, template) for e in examples], add_special_tokens=False)["input_ids"]
    bos = tokenizer.bos_token_id
    if bos is not None and any(list(ids[:2]) == [bos, bos] for ids in prompts):
        raise UserError("The tokenizer puts two BOS tokens in front of a prompt; its post-processor is misconfigured.")
    return [
        Tokens(np.asarray(prompt, dtype=np.int32), np.asarray(completion, dtype=np.int32))
        for prompt, completion in zip(prompts, completions, strict=True)
    ]
