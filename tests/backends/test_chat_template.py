"""Chat templates that write the date: the real ones that come with TRL, and made ones."""

from __future__ import annotations

import asyncio
import copy
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from backends.chat_template import TODAY, timeless_template, turns_left_out
from backends.server.api.openai.text import Tokenizer
from text2sql.data.example import Example
from text2sql.data.prompts import PromptFormat, messages, tokenize

TEMPLATES = Path(str(files("trl"))) / "chat_templates"
ASKED = [{"role": "user", "content": "How many?"}]
WISHED = [{"role": "system", "content": "Be brief."}, *ASKED]
TURNS = "{% for m in messages %}[{{ m.role }}] {{ m.content }}<end>{% endfor %}"
DATED = "[system] Today is {{ strftime_now('%d %b %Y') }}.<end>"


def _with(template: str | None) -> Any:
    return SimpleNamespace(chat_template=template, bos_token=None)


def _written(template: str, turns: list[dict[str, str]], **arguments: Any) -> str:
    text: str = render_jinja_template([turns], chat_template=timeless_template(_with(template)), **arguments)[0][0]
    return text


def _trl(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


@pytest.mark.parametrize("turns", [ASKED, WISHED])
def test_a_dated_turn_of_the_template_s_own_is_left_out(turns: list[dict[str, str]]) -> None:
    assert _written(DATED + TURNS, turns) == _written(TURNS, turns)
    assert turns_left_out(_with(DATED + TURNS)) == "[system] Today is 26 Jul 2024.<end>"


def test_gpt_oss_begins_with_what_it_is_told() -> None:
    assert _written(_trl("gptoss"), ASKED) == "<|start|>user<|message|>How many?<|end|>"
    assert _written(_trl("gptoss"), WISHED).startswith("<|start|>developer<|message|># Instructions\n\nBe brief.")
    # What has been asked of the turn itself is not thrown away.
    assert "Reasoning: high" in _written(_trl("gptoss"), ASKED, reasoning_effort="high")


def test_a_turn_that_the_system_s_words_stand_in_stays_with_one_date() -> None:
    for turns in (ASKED, WISHED):
        assert f"Today Date: {TODAY:%d %b %Y}" in _written(_trl("llama3_2"), turns)
    assert "Be brief." in _written(_trl("llama3_2"), WISHED)
    assert turns_left_out(_with(_trl("llama3_2"))) == ""


def test_a_turn_without_a_date_stays() -> None:
    template = "[system] Think hard.<end>" + TURNS + "{{ strftime_now('%Y') }}"
    assert _written(template, ASKED) == "[system] Think hard.<end>[user] How many?<end>2024"
    # A beginning of the text that is no turn.
    assert _written("{{ strftime_now('%Y') }}: " + TURNS, ASKED) == "2024: [user] How many?<end>"


@pytest.mark.parametrize("template", [None, TURNS, "[system] Fixed.<end>" + TURNS])
def test_a_template_that_asks_for_no_date_is_as_it_was(template: str | None) -> None:
    assert timeless_template(_with(template)) == template and turns_left_out(_with(template)) == ""


def test_a_template_that_refuses_a_system_is_given_the_date_alone() -> None:
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + DATED + TURNS
    assert _written(strict, ASKED) == "[system] Today is 26 Jul 2024.<end>[user] How many?<end>"


@pytest.mark.parametrize("family", ["gptoss", "llama3_2", "qwen2_5"])
def test_a_chat_with_the_server_begins_as_training_does(tiny_chat_tokenizer: Any, family: str) -> None:
    tokenizer = copy.deepcopy(tiny_chat_tokenizer)
    tokenizer.chat_template = _trl(family)
    example, form = Example("x", "How many?", "CREATE TABLE t (a INT)", "SELECT 1"), PromptFormat("chat-system")
    (trained,) = tokenize([example], tokenizer, form)
    asked = asyncio.run(Tokenizer(tokenizer).encode_chat(messages(example, form)[:-1], 10_000))
    # gpt-oss's channel, which the model names itself in a chat, is the end of our prompt.
    assert trained.prompt.tolist()[: len(asked)] == asked
    assert len(asked) == len(trained.prompt) or family == "gptoss"
