"""How the turn of a model that thinks begins: `prompt.thinking` in terms of the model's own chat template.

Families differ in all of it: whether there is a switch, whether the prompt opens the block or the model does, how the
block is marked, what stands in front of an answer without one. So nothing is known here by name: a question is written
by the template, with an answer, with thinking before it, with the switch on and off, and the texts are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backends.tokenizer import Tokenizer
from text2sql.data.chats import Message, mark_turns
from text2sql.errors import UserError

Thinking = Literal["auto", "off", "on"]
ANSWER, THOUGHT = "ANSWER", "THOUGHT"
_ASKED: list[Message] = [{"role": "user", "content": "QUESTION"}]
_ANSWERED: list[Message] = [*_ASKED, {"role": "assistant", "content": ANSWER}]
# Templates read what was thought from one of these.
_FIELDS = ("reasoning_content", "reasoning", "thinking")
_THOUGHT_OF: list[Message] = [*_ASKED, {"role": "assistant", "content": ANSWER, **dict.fromkeys(_FIELDS, THOUGHT)}]
# Marks of a block where a template writes none for an answer: it leaves out what was thought before.
_BLOCKS = (("<think>\n", "\n</think>\n\n"), ("<|channel>thought\n", "\n<channel|>"))


@dataclass(frozen=True, slots=True)
class TurnStart:
    """How the assistant's turn goes on behind the chat template's own beginning of it.

    Attributes:
        opening: Text up to the answer, or up to what is thought.
        closing: Text between what is thought and the answer; None where nothing is thought.
    """

    opening: str = ""
    closing: str | None = None


def turn_start(thinking: Thinking, tokenizer: Tokenizer) -> TurnStart:
    """The beginning of an answer, so that no query ever stands inside a block of thinking that is still open.

    Args:
        thinking: `prompt.thinking`.
        tokenizer: The model's, with a chat template.

    Raises:
        UserError: The template knows no thinking and is to; or it always thinks and nobody has decided.
    """
    thinks = thinking == "on"
    asked = mark_turns(_ASKED, tokenizer, thinks=thinks)
    begun = mark_turns(_ASKED, tokenizer, thinks=thinks, add_generation_prompt=True)
    if not begun.startswith(asked):
        begun = asked
    answered = mark_turns(_ANSWERED, tokenizer, thinks=thinks).rpartition(ANSWER)[0]
    thought_of = mark_turns(_THOUGHT_OF, tokenizer, thinks=thinks).rpartition(ANSWER)[0]
    if thinks:
        return _with_thinking(begun, thought_of, tokenizer)
    if thinking == "auto" and _open_block(begun) is not None:
        raise UserError(
            "prompt.thinking=auto: the chat template of this model opens a block of thinking in every answer and has "
            "no switch against it, so that the query would be learnt as a part of what is thought. Say "
            "prompt.thinking=off, which closes the block in front of the answer, or prompt.thinking=on, which lets "
            "the model think within evaluation.max_thinking_tokens."
        )
    if (closing := _open_block(begun)) is not None:
        return TurnStart(closing.lstrip("\n") if begun.endswith("\n\n") else closing)
    knows = thought_of != answered or begun != mark_turns(_ASKED, tokenizer, thinks=True, add_generation_prompt=True)
    # Of any other template the prompt ends as the template ends it.
    return TurnStart(answered.removeprefix(begun) if knows and answered.startswith(begun) else "")


def _with_thinking(begun: str, thought_of: str, tokenizer: Tokenizer) -> TurnStart:
    opening, found, closing = thought_of.rpartition(THOUGHT)
    if found and opening.startswith(begun):
        return TurnStart(opening.removeprefix(begun), closing)
    if (closed := _open_block(begun)) is not None:
        return TurnStart("", closing if found else closed)
    for opened, closed in _BLOCKS:
        if opened.strip() in str(tokenizer.chat_template):
            return TurnStart(opened, closed)
    raise UserError(
        "prompt.thinking=on: the chat template of this model knows no block of thinking. Say prompt.thinking=off, or "
        "choose a model that thinks."
    )


def _open_block(begun: str) -> str | None:
    """What closes the block that a beginning leaves open; None if it leaves none open.

    A template that sets no line break behind the mark that opens a block, such as DeepSeek-V3.1's, sets none around
    the one that closes it.
    """
    for opened, closed in _BLOCKS:
        if begun.rfind(opened.strip()) > begun.rfind(closed.strip()):
            return closed.strip() if begun.endswith(opened.strip()) else closed
    return None
