"""How an example becomes text and tokens: one place, for training and for sampling alike.

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
from backends.interface import BackendError
from backends.tokenizer import PretrainedTokenizer, Tokenizer
from text2sql.config import Config
from text2sql.config.templates import TEMPLATES, Chat, Plain
from text2sql.data import chats
from text2sql.data.chats import Message, mark_turns
from text2sql.data.control_tokens import are_spelt, control_tokens, count_appended, encode_plainly
from text2sql.data.example import Example
from text2sql.data.thinking import Thinking, TurnStart, turn_start
from text2sql.engines.dialect import DISPLAY_NAMES
from text2sql.errors import UserError

# Raise it when a template changes; it is saved with every run.
VERSION = 2
# Stands for an answer where the marks around it are looked for.
PROBE = "ANSWER"

# For each question, the solved examples that stand before it.
FewShotPrefixes = Sequence[Sequence[Example]]


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """How examples become text, for training and for sampling alike.

    Attributes:
        template: A key of `TEMPLATES`.
        thinking: Whether a model that can think before its answer does; of chat templates alone.
    """

    template: str
    thinking: Thinking = "auto"

    @classmethod
    def of(cls, config: Config) -> PromptFormat:
        """The format of a run."""
        return cls(config.prompt.template, config.prompt.thinking)

    @property
    def thinks(self) -> bool:
        """Whether the model thinks first."""
        return self.thinking == "on"

    def turn_start(self, tokenizer: Tokenizer | None) -> TurnStart:
        """How an answer begins behind the chat template's own beginning of it; nothing of a plain template."""
        return turn_start(self.thinking, with_chat_template(tokenizer, self)) if is_chat(self) else TurnStart()


@dataclass(frozen=True, slots=True)
class Tokens:
    """An example as token ids, int32 ``[P]`` and ``[C]``."""

    prompt: np.ndarray
    completion: np.ndarray

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def find_tokenizer(base_model: str, *, on_disk: bool = False) -> tuple[PretrainedTokenizer | None, str]:
    """A model's tokenizer, or None and why it cannot be had; `on_disk` does not ask the Hub."""
    try:
        return base_models.load_tokenizer(base_models.locate(base_model), on_disk=on_disk), ""
    except (OSError, ValueError, BackendError) as error:
        return None, str(error).splitlines()[0]


def find_tokenizer_of(config: Config, *, on_disk: bool = False) -> tuple[PretrainedTokenizer | None, str, str]:
    """The tokenizer that a run reads, and of which model; that of `base_model`, where only it can be had.

    Returns:
        The tokenizer, or None; the name of the model that it is of, which is what is missing where there is none; and
        why the run's own cannot be had, empty where it can.
    """
    name = config.backend_options.tokenizer_name(config.base_model)
    own, reason = find_tokenizer(name, on_disk=on_disk)
    if own is None and name != config.base_model:
        other, _ = find_tokenizer(config.base_model, on_disk=on_disk)
        return other, name if other is None else config.base_model, reason
    return own, name, reason


def load_tokenizer(base_model: str) -> PretrainedTokenizer:
    """A model's tokenizer.

    Raises:
        UserError: The model has none that can be read.
        BackendError: There is no such model, or the Hub cannot be reached.
    """
    try:
        return base_models.load_tokenizer(base_models.locate(base_model))
    except (OSError, ValueError) as error:
        raise UserError(
            f'base_model: the tokenizer of "{base_model}" cannot be loaded ({str(error).splitlines()[0]}).'
        ) from error


def is_chat(form: PromptFormat) -> bool:
    """Whether the text is the tokenizer's chat template, which writes special tokens itself."""
    return isinstance(TEMPLATES[form.template], Chat)


def with_chat_template(tokenizer: Tokenizer | None, form: PromptFormat) -> Tokenizer:
    """The tokenizer, which must have a chat template (UserError if it has none)."""
    if tokenizer is None or not tokenizer.chat_template:
        plain = ", ".join(name for name, chosen in TEMPLATES.items() if isinstance(chosen, Plain))
        raise UserError(
            f"prompt.template={form.template} needs an instruct model: the tokenizer of this base model has no chat "
            "template, so nothing says how it marks turns. Choose a plain template "
            f"({plain}) or the model's instruct version."
        )
    return tokenizer


def render_prompt(
    example: Example, form: PromptFormat, tokenizer: Tokenizer | None = None, few_shot: Sequence[Example] = ()
) -> str:
    """The text that the model is given; a chat template needs the model's tokenizer.

    Args:
        example: What to ask.
        form: How it becomes text.
        tokenizer: The model's; a plain template does without.
        few_shot: Solved examples to put in front.

    Raises:
        UserError: The tokenizer has no chat template where one is needed, or none that goes with `prompt.thinking`.
    """
    start = form.turn_start(tokenizer)
    return _render(example, form, tokenizer, few_shot, start)


def _render(
    example: Example, form: PromptFormat, tokenizer: Tokenizer | None, few_shot: Sequence[Example], start: TurnStart
) -> str:
    chosen = TEMPLATES[form.template]
    if isinstance(chosen, Plain):
        solved = [_fill(chosen.prompt, e) + _fill(chosen.completion, e) for e in few_shot]
        return "".join([*(text.rstrip() + "\n\n" for text in solved), _fill(chosen.prompt, example)])
    turns = messages(example, form, few_shot)[:-1]
    tokenizer = with_chat_template(tokenizer, form)
    return mark_turns(turns, tokenizer, thinks=form.thinks, add_generation_prompt=True) + start.opening


def render_completion(example: Example, form: PromptFormat) -> str:
    """The text that the model is to write, without the end of its turn in a chat."""
    chosen = TEMPLATES[form.template]
    return _fill(chosen.completion if isinstance(chosen, Plain) else chosen.assistant, example)


def messages(example: Example, form: PromptFormat, few_shot: Sequence[Example] = ()) -> list[Message]:
    """An example as turns of a conversation, the answer last; a plain template is a user's turn and an answer."""
    chosen = TEMPLATES[form.template]
    if isinstance(chosen, Plain):
        chosen = Chat("", chosen.prompt, chosen.completion)
    turns = [{"role": "system", "content": _fill(chosen.system, example)}] if chosen.system else []
    for solved in (*few_shot, example):
        turns.append({"role": "user", "content": _fill(chosen.user, solved).strip()})
        turns.append({"role": "assistant", "content": _fill(chosen.assistant, solved).strip()})
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
    """The ids that end an answer in a chat: up to the first special token after it, or the end of the sequence.

    Where another special token follows at once, as in Inkling's and Cohere's chats, the turn has ended with the last of
    them. A template without a mark for the end, such as GLM's, ends a turn by the mark that begins the next one. A
    plain template has none: its completions end in text.
    """
    if not is_chat(form):
        return []
    tokenizer = with_chat_template(tokenizer, form)
    turns = [{"role": "user", "content": "QUESTION"}, {"role": "assistant", "content": PROBE}]
    rest = mark_turns(turns, tokenizer, thinks=form.thinks).rpartition(PROBE)[2]
    ids = tokenizer([rest], add_special_tokens=False)["input_ids"][0] if rest else []
    special = set(tokenizer.all_special_ids)
    end = next((place for place, token in enumerate(ids) if token in special), None)
    if end is not None:
        return [*ids[:end], *takewhile(special.__contains__, ids[end:])]
    following = mark_turns([*turns, turns[0]], tokenizer, thinks=form.thinks).rpartition(PROBE)[2]
    (begun,) = tokenizer([following], add_special_tokens=False)["input_ids"]
    if begun[: len(ids)] == ids and len(begun) > len(ids):
        mark = begun[len(ids)]
        if mark in special and mark != tokenizer.bos_token_id:
            return [*ids, mark]
    return [*ids, *([] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id])]


def tokenize(
    examples: Sequence[Example], tokenizer: Tokenizer, form: PromptFormat, few_shot: FewShotPrefixes | None = None
) -> list[Tokens]:
    """Token ids of examples.

    Args:
        examples: What to tokenise.
        tokenizer: The model's.
        form: How they become text.
        few_shot: For each example, solved ones to put in front.

    Returns:
        One `Tokens` each; the prompt begins with the tokenizer's BOS exactly once if the tokenizer adds one, and has no
        end token behind it. A control token that an example spells is text.

    Raises:
        UserError: The tokenizer puts its BOS in front more than once, or has no chat template where one is needed, or
            none that goes with `prompt.thinking`.
    """
    if not examples:
        return []
    chat = is_chat(form)
    start = form.turn_start(tokenizer)
    prefixes = few_shot or [()] * len(examples)
    texts = [_render(e, form, tokenizer, prefix, start) for e, prefix in zip(examples, prefixes, strict=True)]
    # A chat template writes the BOS itself.
    prompts = _encode_all(texts, tokenizer, marks=not chat)
    thoughts = [_thought(e, start) for e in examples]
    answers = [render_completion(e, form) for e in examples]
    completions = _encode_all(list(map("".join, zip(thoughts, answers, strict=True))), tokenizer, marks=False)
    control = control_tokens(tokenizer)
    for place, (example, prefix) in enumerate(zip(examples, prefixes, strict=True)):
        if are_spelt(control, [example, *prefix]):
            prompts[place] = _encode_prompt(example, form, tokenizer, prefix, start)
            thought = encode_plainly(example.reasoning or "", tokenizer) + _marks(start.closing, tokenizer)
            answer = encode_plainly(answers[place], tokenizer)
            completions[place] = answer if start.closing is None else [*thought, *answer]
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
    """Ids of many texts, as a call of the tokenizer gives them; `marks` puts the tokenizer's own around each.

    A call asks the tokenizer's core for the place of every token in its text too, which takes a third of the time.
    """
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None or not _leaves_to_core(type(tokenizer)):
        return tokenizer(texts, add_special_tokens=marks)["input_ids"]
    if core.truncation or core.padding or core.encode_special_tokens:
        # What an earlier call has set, or the tokenizer's file.
        return tokenizer(texts, add_special_tokens=marks)["input_ids"]
    return [encoding.ids for encoding in core.encode_batch_fast(texts, add_special_tokens=marks)]


def _leaves_to_core(kind: Any) -> bool:
    """Whether a class of tokenizers adds nothing of its own to what its core does with a text."""
    from transformers import PreTrainedTokenizerFast as Plain

    return all(getattr(kind, name, None) is getattr(Plain, name) for name in ("__call__", "_encode_plus"))


def _thought(example: Example, start: TurnStart) -> str:
    """What stands in front of the answer in a completion."""
    return "" if start.closing is None else f"{example.reasoning or ''}{start.closing}"


def _marks(text: str | None, tokenizer: Tokenizer) -> list[int]:
    """Ids of a text that may hold control tokens."""
    return list(tokenizer([text], add_special_tokens=False)["input_ids"][0]) if text else []


def _encode_prompt(
    example: Example, form: PromptFormat, tokenizer: Tokenizer, few_shot: Sequence[Example], start: TurnStart
) -> list[int]:
    """Ids of a prompt in which data spell control tokens."""
    if not is_chat(form):
        return encode_plainly(_render(example, form, tokenizer, few_shot, start), tokenizer, marks=True)
    turns = messages(example, form, few_shot)[:-1]
    options = {"tokenize": True, "return_dict": False, "add_generation_prompt": True, "sanitize_control_tokens": True}
    try:
        ids = chats.apply(turns, with_chat_template(tokenizer, form), thinks=form.thinks, **options)
        return [*ids, *_marks(start.opening, tokenizer)]
    except ValueError as error:
        raise UserError(
            f"data: {example.id} spells a control token of the model, which its tokenizer cannot read as text "
            f"({error}). Leave such rows out."
        ) from error
