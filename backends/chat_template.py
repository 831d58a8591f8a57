"""Makes chat templates independent of the date, so that prompts are the same in training and later.

Some templates write today's date into the prompt; they get a fixed date instead. gpt-oss's writes it into a turn of the
template's own in front of the conversation; that turn is left out, as the Tinker cookbook recommends for these models
(its renderer ``gpt_oss_no_sysprompt``). No model names are needed here: such a turn is found by rendering
conversations.
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from functools import lru_cache
from itertools import takewhile
from typing import Any, TypeGuard

# The fixed date; Llama 3.2's template falls back to it.
TODAY = date(2024, 7, 26)
_DATE_CODES = ("%-d", "%d", "%b", "%B", "%m", "%Y", "%y", "%a", "%A", "%j", "%H", "%M", "%S")
_USER, _SYSTEM = {"role": "user", "content": "QUESTION"}, {"role": "system", "content": "WISHES"}


def timeless_template(tokenizer: Any) -> str | None:
    """A tokenizer's chat template with a fixed date; None if it has no template.

    A template without a date is returned unchanged.
    """
    template = getattr(tokenizer, "chat_template", None)
    if not _has_date(template):
        return template
    dated = _with_date(TODAY, template)
    if not (own := turns_left_out(tokenizer)):
        return dated
    # JSON strings are valid in Jinja. If arguments of the template change those turns, nothing is left out.
    return (
        f"{{%- set conversation -%}}{dated}{{%- endset -%}}{{%- set own = {json.dumps(own, ensure_ascii=False)} -%}}"
        f"{{{{- conversation[{len(own)}:] if conversation.startswith(own) else conversation -}}}}"
    )


def turns_left_out(tokenizer: Any) -> str:
    """The turns with a date that a chat template writes in front of every conversation; empty for most templates."""
    template = getattr(tokenizer, "chat_template", None)
    if not _has_date(template):
        return ""
    return _dated_turns(template, str(getattr(tokenizer, "bos_token", None) or ""))


def _has_date(template: object) -> TypeGuard[str]:
    return isinstance(template, str) and "strftime_now" in template


@lru_cache(maxsize=32)
def _dated_turns(template: str, bos: str) -> str:
    today, tomorrow = (_own_turns(_with_date(day, template), bos) for day in (TODAY, TODAY + timedelta(1)))
    return today if today != tomorrow else ""


def _with_date(day: date, template: str) -> str:
    """A chat template with a fixed date."""
    # transformers accepts no replacement of its function, so the template defines a macro.
    replacements = "".join(f".replace('{code}', '{day.strftime(code)}')" for code in _DATE_CODES)
    return f"{{%- macro strftime_now(form) -%}}{{{{ form{replacements} }}}}{{%- endmacro %}}{{{{ '' }}}}{template}"


def _own_turns(template: str, bos: str) -> str:
    """The complete turns that a template writes in front of every conversation; empty if there are none.

    They are the same with and without a system message, so that a turn with the system message is not among them, and
    they end as a user's turn ends.
    """
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        without_system, with_system = (
            render_jinja_template([turns], chat_template=template, bos_token=bos)[0][0]
            for turns in ([_USER], [_SYSTEM, _USER])
        )
    except TemplateError:
        return ""
    end = without_system.rpartition(_USER["content"])[2]
    same = takewhile(lambda pair: pair[0] == pair[1], zip(without_system, with_system, strict=False))
    common = "".join(character for character, _ in same)
    return common[: common.rfind(end) + len(end)] if end and end in common else ""
