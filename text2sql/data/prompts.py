"""Turns an example into text and tokens, in the same way for training and for sampling.

The prompt and the completion are tokenised separately and their ids concatenated, so the ids that training puts before
the completion are exactly the ids that sampling starts from. The texts are in `text2sql.config.templates`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np

from backends import base_models
from backends.control_tokens import SPELLED_AS_TEXT, control_tokens, encode_as_plain_text, with_all_control_tokens
from backends.interface import BackendError
from backends.tokenizer import PretrainedTokenizer, Tokenizer
from text2sql.config import Config
from text2sql.config.templates import TEMPLATES, Chat, Plain
from text2sql.data import chats
from text2sql.data.chats import Message, render_turns
from text2sql.data.control_tokens import count_appended, spell_control_token
from text2sql.data.example import Example
from text2sql.data.thinking import Thinking, TurnStart, turn_start
from text2sql.engines.dialect import DISPLAY_NAMES
from text2sql.errors import UserError

# Increase it when a template changes; it is saved with every run.
VERSION = 2
# A placeholder answer, to find the tokens of the chat template after it.
PROBE = "ANSWER"

# For each question, the solved examples in front of it.
FewShotPrefixes = Sequence[Sequence[Example]]


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """The format of prompts and completions.

    Attributes:
        template: A key of `TEMPLATES`.
        thinking: Whether the model thinks before its answer; for chat templates only.
    """

    template: str
    thinking: Thinking = "auto"

    @classmethod
    def of(cls, config: Config) -> PromptFormat:
        """The format of a run."""
        return cls(config.prompt.template, config.prompt.thinking)

    @property
    def thinks(self) -> bool:
        """Whether the model thinks before its answer."""
        return self.thinking == "on"

    def turn_start(self, tokenizer: Tokenizer | None) -> TurnStart:
        """The start of an answer after the chat template's own start of the turn; empty for a plain template."""
        return turn_start(self.thinking, with_chat_template(tokenizer, self)) if is_chat(self) else TurnStart()


@dataclass(frozen=True, slots=True)
class Tokens:
    """An example as token ids, both int32.

    Attributes:
        prompt: ``[P]``.
        completion: ``[C]``, including the end of the turn.
    """

    prompt: np.ndarray
    completion: np.ndarray

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def find_tokenizer(base_model: str, *, on_disk: bool = False) -> tuple[PretrainedTokenizer | None, str]:
    """A model's tokenizer, or None and the reason why it cannot be loaded; `on_disk` does not ask the Hub."""
    try:
        return base_models.load_tokenizer(base_models.locate(base_model), on_disk=on_disk), ""
    except (OSError, ValueError, BackendError) as error:
        return None, str(error).splitlines()[0]


def find_tokenizer_of(config: Config, *, on_disk: bool = False) -> tuple[PretrainedTokenizer | None, str, str]:
    """The tokenizer of a run; that of `base_model` if the backend's own choice cannot be loaded.

    Returns:
        The tokenizer, or None; the name of its model (or of the model whose tokenizer is missing); and the reason why
        the run's own cannot be loaded, empty if it can.
    """
    name = config.backend_options.tokenizer_name(config.base_model)
    tokenizer, reason = find_tokenizer(name, on_disk=on_disk)
    if tokenizer is None and name != config.base_model:
        other, _ = find_tokenizer(config.base_model, on_disk=on_disk)
        return other, name if other is None else config.base_model, reason
    return tokenizer, name, reason


def load_tokenizer(base_model: str) -> PretrainedTokenizer:
    """Loads a model's tokenizer.

    Raises:
        UserError: The model has no readable tokenizer.
        BackendError: There is no such model, or the Hub cannot be reached.
    """
    try:
        return base_models.load_tokenizer(base_models.locate(base_model))
    except (OSError, ValueError) as error:
        raise UserError(
            f'base_model: the tokenizer of "{base_model}" cannot be loaded ({str(error).splitlines()[0]}).'
        ) from error


def is_chat(form: PromptFormat) -> bool:
    """Whether the text is rendered by the tokenizer's chat template, which writes special tokens itself."""
    return isinstance(TEMPLATES[form.template], Chat)


def with_chat_template(tokenizer: Tokenizer | None, form: PromptFormat) -> Tokenizer:
    """The tokenizer itself (UserError if it has no chat template)."""
    if tokenizer is None or not tokenizer.chat_template:
        plain = ", ".join(name for name, template in TEMPLATES.items() if isinstance(template, Plain))
        raise UserError(
            f"prompt.template={form.template} needs an instruct model: the tokenizer of this base model has no chat "
            "template, so nothing says how it marks turns. Choose a plain template "
            f"({plain}) or the model's instruct version."
        )
    return tokenizer


def render_prompt(
    example: Example, form: PromptFormat, tokenizer: Tokenizer | None = None, few_shot: Sequence[Example] = ()
) -> str:
    """The text of a prompt; a chat template needs the model's tokenizer.

    Args:
        example: The question and its schema.
        form: The prompt format.
        tokenizer: The model's tokenizer; a plain template needs none.
        few_shot: Solved examples to put in front.

    Raises:
        UserError: The tokenizer has no chat template where one is needed, or one that does not fit `prompt.thinking`.
    """
    start = form.turn_start(tokenizer)
    return _render(example, form, tokenizer, few_shot, start)


def _render(
    example: Example, form: PromptFormat, tokenizer: Tokenizer | None, few_shot: Sequence[Example], start: TurnStart
) -> str:
    template = TEMPLATES[form.template]
    if isinstance(template, Plain):
        solved = [_fill(template.prompt, e) + _fill(template.completion, e) for e in few_shot]
        return "".join([*(text.rstrip() + "\n\n" for text in solved), _fill(template.prompt, example)])
    turns = messages(example, form, few_shot)[:-1]
    tokenizer = with_chat_template(tokenizer, form)
    return render_turns(turns, tokenizer, thinks=form.thinks, add_generation_prompt=True) + start.opening


def render_completion(example: Example, form: PromptFormat) -> str:
    """The text of a completion, without the end of the turn in a chat."""
    template = TEMPLATES[form.template]
    return _fill(template.completion if isinstance(template, Plain) else template.assistant, example)


def messages(example: Example, form: PromptFormat, few_shot: Sequence[Example] = ()) -> list[Message]:
    """An example as turns of a conversation, the answer last; a plain template becomes two turns."""
    template = TEMPLATES[form.template]
    if isinstance(template, Plain):
        template = Chat("", template.prompt, template.completion)
    turns = [{"role": "system", "content": _fill(template.system, example)}] if template.system else []
    for solved in (*few_shot, example):
        turns.append({"role": "user", "content": _fill(template.user, solved).strip()})
        turns.append({"role": "assistant", "content": _fill(template.assistant, solved).strip()})
    return turns


def _fill(text: str, example: Example) -> str:
    question = example.question
    if example.evidence and "{evidence}" not in text:
        question = f"{question} ({example.evidence})"
    fields = {
        "context": example.context if example.shown is None else example.shown,
        "question": question,
        "evidence": example.evidence or "none",
        "dialect": DISPLAY_NAMES[example.dialect],
        "answer": example.answer,
        "reasoning": example.reasoning or f"```sql\n{example.answer}\n```",
    }
    return text.format(**fields)


def end_of_turn(form: PromptFormat, tokenizer: Tokenizer) -> list[int]:
    """The ids that end an answer in a chat: up to the first special token after it, or the EOS token.

    If further special tokens follow at once, as in Inkling's and Cohere's chats, the turn ends with the last of them. A
    template without an end token, such as GLM's, ends a turn by the token that starts the next one. A plain template
    has none: its completions end in text.
    """
    if not is_chat(form):
        return []
    tokenizer = with_chat_template(tokenizer, form)
    turns = [{"role": "user", "content": "QUESTION"}, {"role": "assistant", "content": PROBE}]
    rest = render_turns(turns, tokenizer, thinks=form.thinks).rpartition(PROBE)[2]
    ids = tokenizer([rest], add_special_tokens=False)["input_ids"][0] if rest else []
    special = set(tokenizer.all_special_ids)
    end = next((index for index, token_id in enumerate(ids) if token_id in special), None)
    if end is not None:
        return [*ids[:end], *takewhile(special.__contains__, ids[end:])]
    following = render_turns([*turns, turns[0]], tokenizer, thinks=form.thinks).rpartition(PROBE)[2]
    (continued,) = tokenizer([following], add_special_tokens=False)["input_ids"]
    if continued[: len(ids)] == ids and len(continued) > len(ids):
        token = continued[len(ids)]
        if token in special and token != tokenizer.bos_token_id:
            return [*ids, token]
    return [*ids, *([] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id])]


def tokenize(
    examples: Sequence[Example], tokenizer: Tokenizer, form: PromptFormat, few_shot: FewShotPrefixes | None = None
) -> list[Tokens]:
    """Tokenises examples.

    Args:
        examples: The examples.
        tokenizer: The model's tokenizer.
        form: The prompt format.
        few_shot: For each example, the solved ones to put in front.

    Returns:
        One `Tokens` for each; the prompt starts with the tokenizer's BOS exactly once if the tokenizer adds one, and
        has no end token. A control token that an example spells is encoded as text.

    Raises:
        UserError: The tokenizer adds its BOS more than once, or has no chat template where one is needed, or one that
            does not fit `prompt.thinking`.
    """
    if not examples:
        return []
    chat = is_chat(form)
    start = form.turn_start(tokenizer)
    prefixes = few_shot or [()] * len(examples)
    texts = [_render(e, form, tokenizer, prefix, start) for e, prefix in zip(examples, prefixes, strict=True)]
    # A chat template writes the BOS itself.
    prompts = _encode_all(texts, tokenizer, marks=not chat)
    thoughts = [_reasoning_text(e, start) for e in examples]
    answers = [render_completion(e, form) for e in examples]
    completions = _encode_all(list(map("".join, zip(thoughts, answers, strict=True))), tokenizer, marks=False)
    control = control_tokens(tokenizer)
    for index, (example, prefix) in enumerate(zip(examples, prefixes, strict=True)):
        if spell_control_token(control, [example, *prefix]):
            prompts[index] = _encode_prompt(example, form, tokenizer, prefix, start)
            thought = encode_as_plain_text(example.reasoning or "", tokenizer) + _encode_with_control_tokens(
                start.closing, tokenizer
            )
            answer = encode_as_plain_text(answers[index], tokenizer)
            completions[index] = answer if start.closing is None else [*thought, *answer]
    if not chat and (appended := count_appended(tokenizer)):
        prompts = [ids[:-appended] for ids in prompts]
    bos = tokenizer.bos_token_id
    if bos is not None and any(list(ids[:2]) == [bos, bos] for ids in prompts):
        raise UserError("The tokenizer puts two BOS tokens in front of a prompt; its post-processor is misconfigured.")
    end = end_of_turn(form, tokenizer)
    return [
        Tokens(np.asarray(prompt, dtype=np.int32), np.asarray([*completion, *end], dtype=np.int32))
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def _encode_all(texts: list[str], tokenizer: Tokenizer, *, marks: bool) -> list[list[int]]:
    """Ids of many texts, as a call of the tokenizer returns them; `marks` adds the tokenizer's own tokens around each.

    A call would also compute the offsets of all tokens, which takes a third of the time.
    """
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None or not _uses_core_directly(type(tokenizer)):
        return tokenizer(texts, add_special_tokens=marks)["input_ids"]
    if core.truncation or core.padding or core.encode_special_tokens:
        # Settings of an earlier call or of the tokenizer's file.
        return tokenizer(texts, add_special_tokens=marks)["input_ids"]
    return [encoding.ids for encoding in core.encode_batch_fast(texts, add_special_tokens=marks)]


def _uses_core_directly(kind: Any) -> bool:
    """Whether a tokenizer class adds nothing to the encoding of its Rust core."""
    from transformers import PreTrainedTokenizerFast as Plain

    return all(getattr(kind, name, None) is getattr(Plain, name) for name in ("__call__", "_encode_plus"))


def _reasoning_text(example: Example, start: TurnStart) -> str:
    """The reasoning in front of the answer in a completion."""
    return "" if start.closing is None else f"{example.reasoning or ''}{start.closing}"


def _encode_with_control_tokens(text: str | None, tokenizer: Tokenizer) -> list[int]:
    """Encodes a text with its control tokens."""
    return list(tokenizer([text], add_special_tokens=False)["input_ids"][0]) if text else []


def _encode_prompt(
    example: Example, form: PromptFormat, tokenizer: Tokenizer, few_shot: Sequence[Example], start: TurnStart
) -> list[int]:
    """Encodes a prompt in which data spell control tokens as text."""
    if not is_chat(form):
        return encode_as_plain_text(_render(example, form, tokenizer, few_shot, start), tokenizer, marks=True)
    turns = messages(example, form, few_shot)[:-1]
    chatting = with_all_control_tokens(with_chat_template(tokenizer, form))
    try:
        ids = chats.apply_chat_template(
            turns, chatting, thinks=form.thinks, add_generation_prompt=True, **SPELLED_AS_TEXT
        )
        return [*ids, *_encode_with_control_tokens(start.opening, tokenizer)]
    except ValueError as error:
        raise UserError(
            f"data: {example.id} spells a control token of the model, which its tokenizer cannot read as text "
            f"({error}). Leave such rows out."
        ) from error
