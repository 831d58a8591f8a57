"""The start of a thinking model's turn: `prompt.thinking` in terms of the model's own chat template.

Model families differ in whether there is a switch, whether the prompt or the model opens the thinking block, how the
block is marked, and what precedes an answer without one. So no family is known by name: the template renders a question
alone, with an answer, with thinking before it, and with the switch on and off, and the texts are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backends.tokenizer import Tokenizer
from text2sql.data.chats import Message, render_turns
from text2sql.errors import UserError

Thinking = Literal["auto", "off", "on"]
# Placeholders in rendered turns.
ANSWER = "ANSWER"
THOUGHT = "THOUGHT"
_QUESTION_TURNS: list[Message] = [{"role": "user", "content": "QUESTION"}]
_ANSWER_TURNS: list[Message] = [*_QUESTION_TURNS, {"role": "assistant", "content": ANSWER}]
# Templates read the thinking text from one of these fields.
_THINKING_FIELDS = ("reasoning_content", "reasoning", "thinking")
_THINKING_TURNS: list[Message] = [
    *_QUESTION_TURNS,
    {"role": "assistant", "content": ANSWER, **dict.fromkeys(_THINKING_FIELDS, THOUGHT)},
]
# Marks of thinking blocks, for templates that leave out the thinking of earlier answers.
_BLOCKS = (("<think>\n", "\n</think>\n\n"), ("<|channel>thought\n", "\n<channel|>"))


@dataclass(frozen=True, slots=True)
class TurnStart:
    """How the assistant's turn goes on after the chat template's own start of it.

    Attributes:
        opening: The text up to the answer, or up to the thinking.
        closing: The text between thinking and answer; None if the model does not think.
    """

    opening: str = ""
    closing: str | None = None


def turn_start(thinking: Thinking, tokenizer: Tokenizer) -> TurnStart:
    """The start of an answer, such that no query is ever within an open thinking block.

    Args:
        thinking: `prompt.thinking`.
        tokenizer: The model's tokenizer, which has a chat template.

    Raises:
        UserError: The template knows no thinking but should, or it always thinks and `thinking` is auto.
    """
    thinks = thinking == "on"
    question_text = render_turns(_QUESTION_TURNS, tokenizer, thinks=thinks)
    prompt_text = render_turns(_QUESTION_TURNS, tokenizer, thinks=thinks, add_generation_prompt=True)
    if not prompt_text.startswith(question_text):
        prompt_text = question_text
    before_answer = render_turns(_ANSWER_TURNS, tokenizer, thinks=thinks).rpartition(ANSWER)[0]
    before_answer_thinking = render_turns(_THINKING_TURNS, tokenizer, thinks=thinks).rpartition(ANSWER)[0]
    if thinks:
        return _with_thinking(prompt_text, before_answer_thinking, tokenizer)
    if thinking == "auto" and _open_block(prompt_text) is not None:
        raise UserError(
            "prompt.thinking=auto: the chat template of this model opens a block of thinking in every answer and has "
            "no switch against it, so that the query would be learnt as a part of what is thought. Say "
            "prompt.thinking=off, which closes the block in front of the answer, or prompt.thinking=on, which lets "
            "the model think within evaluation.max_thinking_tokens."
        )
    if (closing := _open_block(prompt_text)) is not None:
        return TurnStart(closing.lstrip("\n") if prompt_text.endswith("\n\n") else closing)
    knows_thinking = before_answer_thinking != before_answer or prompt_text != render_turns(
        _QUESTION_TURNS, tokenizer, thinks=True, add_generation_prompt=True
    )
    # The prompt of any other template ends where the template ends it.
    return TurnStart(
        before_answer.removeprefix(prompt_text) if knows_thinking and before_answer.startswith(prompt_text) else ""
    )


def _with_thinking(prompt_text: str, before_answer_thinking: str, tokenizer: Tokenizer) -> TurnStart:
    opening, found, closing = before_answer_thinking.rpartition(THOUGHT)
    if found and opening.startswith(prompt_text):
        return TurnStart(opening.removeprefix(prompt_text), closing)
    if (closing_mark := _open_block(prompt_text)) is not None:
        return TurnStart("", closing if found else closing_mark)
    for opening_mark, closing_mark in _BLOCKS:
        if opening_mark.strip() in str(tokenizer.chat_template):
            return TurnStart(opening_mark, closing_mark)
    raise UserError(
        "prompt.thinking=on: the chat template of this model knows no block of thinking. Say prompt.thinking=off, or "
        "choose a model that thinks."
    )


def _open_block(prompt_text: str) -> str | None:
    """The text that closes the thinking block that a prompt leaves open; None if no block is open.

    A template without a line break after the opening mark, such as DeepSeek-V3.1's, has none around the closing mark.
    """
    for opening_mark, closing_mark in _BLOCKS:
        if prompt_text.rfind(opening_mark.strip()) > prompt_text.rfind(closing_mark.strip()):
            return closing_mark.strip() if prompt_text.endswith(opening_mark.strip()) else closing_mark
    return None
