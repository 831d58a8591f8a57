"""Turns of a conversation as a model's own chat template writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backends.chat_template import timeless_template
from backends.tokenizer import Tokenizer
from text2sql.errors import UserError

Message = dict[str, str]
# What templates call the switch of thinking: Qwen, GLM, Nemotron and SmolLM; DeepSeek, Granite and Kimi.
SWITCHES = ("enable_thinking", "thinking")
# What some call how much is thought, among them Inkling, which has no switch: a template that knows an effort of none
# spells it.
EFFORT, NO_EFFORT = "reasoning_effort", "none"


def mark_turns(
    turns: Sequence[Message], tokenizer: Tokenizer, *, thinks: bool = False, add_generation_prompt: bool = False
) -> str:
    """Turns with the marks of the tokenizer's chat template.

    Args:
        turns: Role and content of each.
        tokenizer: The model's, with a chat template.
        thinks: What the template's switch of thinking is set to, if it has one.
        add_generation_prompt: Begin the assistant's next turn.

    Raises:
        UserError: The template refuses the turns.
    """
    return str(apply(turns, tokenizer, thinks=thinks, tokenize=False, add_generation_prompt=add_generation_prompt))


def apply(turns: Sequence[Message], tokenizer: Tokenizer, *, thinks: bool, **options: Any) -> Any:
    """What a tokenizer makes of turns; the user's turn begins with a system that its chat template refuses."""
    from jinja2 import TemplateError

    template = tokenizer.chat_template
    given: dict[str, Any] = switches(template, thinks=thinks)
    if (timeless := timeless_template(tokenizer)) != template:
        given["chat_template"] = timeless
    make: Any = tokenizer.apply_chat_template
    try:
        return make(list(turns), **given, **options)
    except TemplateError as error:
        if turns[0]["role"] != "system":
            raise UserError(f"prompt.template: the tokenizer's chat template refuses the turns: {error}.") from error
    first = {"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
    return apply([first, *turns[2:]], tokenizer, thinks=thinks, **options)


def switches(template: object, *, thinks: bool) -> dict[str, bool | str]:
    """The arguments by which a chat template has its model think or not; empty where it knows none."""
    if not isinstance(template, str):
        return {}
    given: dict[str, bool | str] = {name: thinks for name in SWITCHES if name in template}
    if not thinks and EFFORT in template and any(f"{mark}{NO_EFFORT}{mark}" in template for mark in "'\""):
        given[EFFORT] = NO_EFFORT
    return given
