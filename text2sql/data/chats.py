"""Renders turns of a conversation by a model's own chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backends.chat_template import timeless_template
from backends.tokenizer import Tokenizer
from text2sql.errors import UserError

Message = dict[str, str]
# The template arguments that switch thinking on or off: of Qwen, GLM, Nemotron and SmolLM; of DeepSeek, Granite, Kimi.
SWITCHES = ("enable_thinking", "thinking")
# The template argument for the amount of thinking, in Inkling for example, which has no switch.
EFFORT = "reasoning_effort"
# Its value for no thinking, if the template's text contains it.
NO_EFFORT = "none"


def render_turns(
    turns: Sequence[Message], tokenizer: Tokenizer, *, thinks: bool = False, add_generation_prompt: bool = False
) -> str:
    """The text of turns by the tokenizer's chat template.

    Args:
        turns: The role and the content of each turn.
        tokenizer: The model's tokenizer, which has a chat template.
        thinks: The value of the template's switch of thinking, if it has one.
        add_generation_prompt: Begin the assistant's next turn.

    Raises:
        UserError: The template refuses the turns.
    """
    return str(
        apply_chat_template(
            turns, tokenizer, thinks=thinks, tokenize=False, add_generation_prompt=add_generation_prompt
        )
    )


def apply_chat_template(turns: Sequence[Message], tokenizer: Tokenizer, *, thinks: bool, **options: Any) -> Any:
    """Applies the chat template; a system turn that it refuses is prepended to the user's turn."""
    from jinja2 import TemplateError

    template = tokenizer.chat_template
    arguments: dict[str, Any] = thinking_switches(template, thinks=thinks)
    if (timeless := timeless_template(tokenizer)) != template:
        arguments["chat_template"] = timeless
    render: Any = tokenizer.apply_chat_template
    try:
        return render(list(turns), **arguments, **options)
    except TemplateError as error:
        if turns[0]["role"] != "system":
            raise UserError(f"prompt.template: the tokenizer's chat template refuses the turns: {error}.") from error
    first = {"role": "user", "content": f"{turns[0]['content']}\n\n{turns[1]['content']}"}
    return apply_chat_template([first, *turns[2:]], tokenizer, thinks=thinks, **options)


def thinking_switches(template: object, *, thinks: bool) -> dict[str, bool | str]:
    """The arguments that make a chat template switch thinking on or off; empty if it has none."""
    if not isinstance(template, str):
        return {}
    arguments: dict[str, bool | str] = {name: thinks for name in SWITCHES if name in template}
    if not thinks and EFFORT in template and any(f"{quote}{NO_EFFORT}{quote}" in template for quote in "'\""):
        arguments[EFFORT] = NO_EFFORT
    return arguments
