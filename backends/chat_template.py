"""A tokenizer's chat template on every day the same: what is trained today is asked in the same words tomorrow.

Some templates write the date into the prompt. They are given one date, whatever the day is. gpt-oss's writes it into
a turn of its own in front of the conversation, which nobody's words are in; that turn is left out, as the Tinker
cookbook recommends for these models (its renderer ``gpt_oss_no_sysprompt``). No model is known by name here: which
turn that is, is read from what the template makes of conversations.
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from functools import lru_cache
from itertools import takewhile
from typing import Any, TypeGuard

# The day for chat templates that ask for the date. It is the day that Llama 3.2's template falls back to.
TODAY = date(2024, 7, 26)
_DATE_CODES = ("%-d", "%d", "%b", "%B", "%m", "%Y", "%y", "%a", "%A", "%j", "%H", "%M", "%S")
_USER, _SYSTEM = {"role": "user", "content": "QUESTION"}, {"role": "system", "content": "WISHES"}


def timeless_template(tokenizer: Any) -> str | None:
    """A tokenizer's chat template, in which no day is another than any other; None where it has none.

    A template that does not ask for the date comes back as it is.
    """
    template = getattr(tokenizer, "chat_template", None)
    if not _asks_for_the_date(template):
        return template
    dated = _on(TODAY, template)
    if not (own := turns_left_out(tokenizer)):
        return dated
    # A string of JSON is one of Jinja. Where arguments of the template change what it writes, nothing is left out.
    return (
        f"{{%- set conversation -%}}{dated}{{%- endset -%}}{{%- set own = {json.dumps(own, ensure_ascii=False)} -%}}"
        f"{{{{- conversation[{len(own)}:] if conversation.startswith(own) else conversation -}}}}"
    )


def turns_left_out(tokenizer: Any) -> str:
    """The dated turns of its own that a tokenizer's chat template begins every conversation with; mostly none."""
    template = getattr(tokenizer, "chat_template", None)
    if not _asks_for_the_date(template):
        return ""
    return _dated_turns(template, str(getattr(tokenizer, "bos_token", None) or ""))


def _asks_for_the_date(template: object) -> TypeGuard[str]:
    return isinstance(template, str) and "strftime_now" in template


@lru_cache(maxsize=32)
def _dated_turns(template: str, bos: str) -> str:
    today, tomorrow = (_own_turns(_on(day, template), bos) for day in (TODAY, TODAY + timedelta(1)))
    return today if today != tomorrow else ""


def _on(day: date, template: str) -> str:
    """A chat template to which it is that day."""
    # transformers takes no function from outside, so the template brings one.
    written = "".join(f".replace('{code}', '{day.strftime(code)}')" for code in _DATE_CODES)
    return f"{{%- macro strftime_now(form) -%}}{{{{ form{written} }}}}{{%- endmacro %}}{{{{ '' }}}}{template}"


def _own_turns(template: str, bos: str) -> str:
    """The turns that a template puts in front of every conversation, whole; empty if there are none.

    They are the same whether the conversation has a system's turn or not: a turn that the system's words stand in is
    none of them. They end as the user's turn ends.
    """
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        asked, wished = (
            render_jinja_template([turns], chat_template=template, bos_token=bos)[0][0]
            for turns in ([_USER], [_SYSTEM, _USER])
        )
    except TemplateError:
        return ""
    end = asked.rpartition(_USER["content"])[2]
    same = takewhile(lambda pair: pair[0] == pair[1], zip(asked, wished, strict=False))
    common = "".join(character for character, _ in same)
    return common[: common.rfind(end) + len(end)] if end and end in common else ""
