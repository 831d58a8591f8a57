"""How an example becomes text and tokens: one place, for training and for sampling alike.

The prompt and the completion are tokenised separately and their ids concatenated, so the ids that training puts before
the completion are exactly the ids that sampling starts from. The texts are in `text2sql.config.templates`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backends import base_models
from backends.interface import BackendError
from backends.tokenizer import PretrainedTokenizer, Tokenizer
from text2sql.config.templates import TEMPLATES, Chat, Plain
from text2sql.data.control_tokens import are_spelt, control_tokens, count_appended, dated, encode_plainly
from text2sql.data.example import Example
from text2sql.errors import UserError

# Raise it when a template changes; it is saved with every run.
VERSION = 2
# Stands for an answer where the marks around it are looked for.
PROBE = "ANSWER"

Message = dict[str, str]
# For each question, the solved examples that stand before it.
FewShotPrefixes = Sequence[Sequence[Example]]


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


def is_chat(template: str) -> bool:
    """Whether a template's text is the tokenizer's chat template, which writes special tokens itself."""
    return isinstance(TEMPLATES[template], Chat)


def with_chat_template(tokenizer: Tokenizer | None, template: str) -> Tokenizer:
    """The tokenizer, which must have a chat template (UserError if it has none)."""
    if tokenizer is None or not tokenizer.chat_template:
        plain = ", ".join(name for name, chosen in TEMPLATES.items() if isinstance(chosen, Plain))
        raise UserError(
            f"prompt.template={template} needs an instruct model: the tokenizer of this base model has no chat "
            "template, so nothing says how it marks turns. Choose a plain template "
            f"({plain}) or the model's instruct version."
        )
    return tokenizer


def render_prompt(
    example: Example, template: str, tokenizer: Tokenizer | None = None, few_shot: Sequence[Example] = ()
) -> str:
    """The text that the model is given; a chat template needs the model's tokenizer.

    Args:
        example: What to ask.
        template: A key of `TEMPLATES`.
        tokenizer: The model's; a plain template does without.
        few_shot: Solved examples to put in front.
    """
    chosen = TEMPLATES[template]
    if isinstance(chosen, Plain):
        solved = [_fill(chosen.prompt, e) + _fill(chosen.completion, e) for e in few_shot]
        return "".join([*(text.rstrip() + "\n\n" for text in solved), _fill(chosen.prompt, example)])
    turns = messages(example, template, few_shot)[:-1]
    return _marked(turns, with_chat_template(tokenizer, template), add_generation_prompt=True)


def render_completion(example: Example, template: str) -> str:
    """The text that the model is to write, without the end of its turn in a chat."""
    chosen = TEMPLATES[template]
    return _fill(chosen.completion if isinstance(chosen, Plain) else chosen.assistant, example)


def messages(example: Example, template: str, few_shot: Sequence[Example] = ()) -> list[Message]:
    """An example as turns of a conversation, the answer last; a plain template is a user's turn and an answer."""
    chosen = TEMPLATES[template]
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
        "answer": example.answer,
        "reasoning": example.reasoning or f"```sql\n{example.answer}\n```",
    }
    return text.format(**fields)


def _marked(turns: Sequence[Message], tokenizer: Tokenizer, *, add_generation_prompt: bool = False) -> str:
    """Turns with the marks of the tokenizer's chat template."""
    return str(_chat(turns, tokenizer, tokenize=False, add_generation_prompt=add_generation_prompt))


def _chat(turns: Sequence[Message], tokenizer: Tokenizer, **options: Any) -> Any:
    """What a tokenizer makes of turns; the user's turn begins with a system that its chat template refuses."""
    from jinja2 import TemplateError

    template = tokenizer.chat_template
    given = {"chat_template": dated(template)} if isinstance(template, str) and dated(template) != template else {}
    make: Any = tokenizer.apply_chat_template
    try:
        return make(list(turns), **given, **options)
    except TemplateError as error:
        if turns[0]["role"] != "system":
            raise UserError(f"prompt.template: the tokenizer's chat template refuses the turns: {error}.") from error
    first = {"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
    return _chat([first, *turns[2:]], tokenizer, **options)


def end_of_turn(template: str, tokenizer: Tokenizer) -> list[int]:
    """The ids that end an answer in a chat: up to the first special token after it, or the end of the sequence.

    A plain template has none: its completions end in text.
    """
    if isinstance(TEMPLATES[template], Plain):
        return []
    tokenizer = with_chat_template(tokenizer, template)
    turns = [{"role": "user", "content": "QUESTION"}, {"role": "assistant", "content": PROBE}]
    rest = _marked(turns, tokenizer).rpartition(PROBE)[2]
    ids = tokenizer([rest], add_special_tokens=False)["input_ids"][0] if rest else []
    special = set(tokenizer.all_special_ids)
    end = next((place for place, token in enumerate(ids) if token in special), None)
    if end is not None:
        return list(ids[: end + 1])
    return [*ids, *([] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id])]


def tokenize(
    examples: Sequence[Example], tokenizer: Tokenizer, template: str, few_shot: FewShotPrefixes | None = None
) -> list[Tokens]:
    """Token ids of examples.

    Args:
        examples: What to tokenise.
        tokenizer: The model's.
        template: A key of `TEMPLATES`.
        few_shot: For each example, solved ones to put in front.

    Returns:
        One `Tokens` each; the prompt begins with the tokenizer's BOS exactly once if the tokenizer adds one, and has no
        end token behind it. A control token that an example spells is text.

    Raises:
        UserError: The tokenizer puts its BOS in front more than once, or has no chat template where one is needed.
    """
    if not examples:
        return []
    chat = is_chat(template)
    prefixes = few_shot or [()] * len(examples)
    texts = [render_prompt(e, template, tokenizer, prefix) for e, prefix in zip(examples, prefixes, strict=True)]
    # A chat template writes the BOS itself.
    prompts = tokenizer(texts, add_special_tokens=not chat)["input_ids"]
    completions = tokenizer([render_completion(e, template) for e in examples], add_special_tokens=False)["input_ids"]
    control = control_tokens(tokenizer)
    for place, (example, prefix) in enumerate(zip(examples, prefixes, strict=True)):
        if are_spelt(control, [example, *prefix]):
            prompts[place] = _encode_prompt(example, template, tokenizer, prefix)
            completions[place] = encode_plainly(render_completion(example, template), tokenizer)
    if not chat and (appended := count_appended(tokenizer)):
        prompts = [ids[:-appended] for ids in prompts]
    bos = tokenizer.bos_token_id
    if bos is not None and any(list(ids[:2]) == [bos, bos] for ids in prompts):
        raise UserError("The tokenizer puts two BOS tokens in front of a prompt; its post-processor is misconfigured.")
    end = end_of_turn(template, tokenizer)
    return [
        Tokens(np.asarray(prompt, dtype=np.int32), np.asarray([*completion, *end], dtype=np.int32))
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def _encode_prompt(example: Example, template: str, tokenizer: Tokenizer, few_shot: Sequence[Example]) -> list[int]:
    """Ids of a prompt in which data spell control tokens."""
    if not is_chat(template):
        return encode_plainly(render_prompt(example, template, tokenizer, few_shot), tokenizer, marks=True)
    turns = messages(example, template, few_shot)[:-1]
    options = {"tokenize": True, "return_dict": False, "add_generation_prompt": True, "sanitize_control_tokens": True}
    try:
        return list(_chat(turns, with_chat_template(tokenizer, template), **options))
    except ValueError as error:
        raise UserError(
            f"data: {example.id} spells a control token of the model, which its tokenizer cannot read as text "
            f"({error}). Leave such rows out."
        ) from error
