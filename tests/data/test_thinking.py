"""Chat templates of models that think, the real ones: those that come with TRL, on a small tokenizer."""

from __future__ import annotations

import copy
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import pytest

from text2sql.config.load import load_config
from text2sql.data.example import Example
from text2sql.data.prompts import PromptFormat, render_prompt, tokenize
from text2sql.data.thinking import Thinking, TurnStart, turn_start
from text2sql.errors import UserError

TEMPLATES = Path(str(files("trl"))) / "chat_templates"
# Of one model each that is served or fine-tuned today; templates for images and for tools alone are left out.
FAMILIES = [
    "deepseek_r1_distill",
    "gemma3",
    "gemma4_v5",
    "glm4moe",
    "gptoss",
    "lfm2",
    "llama3_2",
    "nemotron_3_nano",
    "phi3_5",
    "qwen2_5",
    "qwen3",
    "qwen3_5_nothink",
    "qwen3_5_think",
    "qwen3_instruct_2507",
]
EXAMPLE = Example(
    "x", "How many?", "CREATE TABLE t (a INT)", "SELECT COUNT(*) FROM t", reasoning="All rows are counted."
)
# What opens a block of thinking, what closes it, and what only stands between thinking and answer.
BLOCKS = [("<think>", "</think>"), ("<|channel>thought", "<channel|>"), ("<|channel|>analysis", "<|channel|>final")]


@pytest.fixture
def tokenizer_of(tiny_chat_tokenizer: Any) -> Any:
    def make(family: str) -> Any:
        tokenizer = copy.deepcopy(tiny_chat_tokenizer)
        tokenizer.chat_template = (TEMPLATES / f"{family}.jinja").read_text(encoding="utf-8")
        return tokenizer

    return make


def _trained(tokenizer: Any, thinking: Thinking, example: Example = EXAMPLE) -> str:
    (tokens,) = tokenize([example], tokenizer, PromptFormat("chat", thinking))
    return str(tokenizer.decode([*tokens.prompt, *tokens.completion]))


def _is_open(text: str) -> bool:
    """Whether a text ends inside a block of thinking."""
    return any(text.rfind(opened) > text.rfind(closed) for opened, closed in BLOCKS)


@pytest.mark.parametrize("thinking", get_args(Thinking))
@pytest.mark.parametrize("family", FAMILIES)
def test_no_query_is_trained_inside_a_block_that_is_open(tokenizer_of: Any, family: str, thinking: Thinking) -> None:
    tokenizer = tokenizer_of(family)
    try:
        trained = _trained(tokenizer, thinking)
    except UserError as error:
        # A model that cannot think, or one that always does and nobody has decided.
        assert "prompt.thinking=off" in str(error)
        assert thinking == "on" or (thinking, family) == ("auto", "deepseek_r1_distill")
        return
    before, _, after = trained.rpartition(EXAMPLE.answer)
    assert not _is_open(before), before[-80:]
    assert not after.startswith(" ") and trained.count(EXAMPLE.answer) == 1
    thought = before.rpartition(EXAMPLE.reasoning or "")
    assert bool(thought[1]) == (thinking == "on")
    if thinking == "on":
        assert _is_open(thought[0])


@pytest.mark.parametrize(
    ("family", "end"),
    [
        ("qwen3", "<|im_start|>assistant\n<think>\n\n</think>\n\n"),
        ("qwen3_5_think", "<|im_start|>assistant\n<think>\n\n</think>\n\n"),
        ("glm4moe", "<|assistant|>\n<think></think>\n"),
        ("nemotron_3_nano", "<|im_start|>assistant\n<think></think>"),
        ("gptoss", "<|start|>assistant<|channel|>final<|message|>"),
        ("deepseek_r1_distill", "<｜Assistant｜><think>\n\n</think>\n\n"),
        ("llama3_2", "<|start_header_id|>assistant<|end_header_id|>\n\n"),
        ("gemma3", "<start_of_turn>model\n"),
        ("qwen2_5", "<|im_start|>assistant\n"),
    ],
)
def test_without_thinking_an_answer_begins_as_the_family_writes_it(tokenizer_of: Any, family: str, end: str) -> None:
    assert render_prompt(EXAMPLE, PromptFormat("chat", "off"), tokenizer_of(family)).endswith(end)


@pytest.mark.parametrize(
    ("family", "opening", "closing"),
    [
        ("qwen3", "<think>\n", "\n</think>\n\n"),
        ("qwen3_5_think", "", "\n</think>\n\n"),
        ("deepseek_r1_distill", "", "\n</think>\n\n"),
        ("gptoss", "<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
        ("gemma4_v5", "<|channel>thought\n", "\n<channel|>"),
    ],
)
def test_a_block_is_marked_as_the_family_marks_it(tokenizer_of: Any, family: str, opening: str, closing: str) -> None:
    start = turn_start("on", tokenizer_of(family))
    assert (start.opening, start.closing) == (opening, closing)


def test_marks_stand_as_close_to_what_is_thought_as_the_template_sets_them(tiny_chat_tokenizer: Any) -> None:
    """As DeepSeek-V3.1's template, which no package has: the switch alone says whether a block is open."""
    tokenizer = copy.deepcopy(tiny_chat_tokenizer)
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}[A]</think>{{ m.content.split('</think>')[-1] }}[E]"
        "{% else %}[U]{{ m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}[A]{% if thinking %}<think>{% else %}</think>{% endif %}{% endif %}"
    )
    assert turn_start("on", tokenizer) == TurnStart("", "</think>")
    assert turn_start("off", tokenizer) == TurnStart("")
    assert "[A]<think>All rows are counted.</think>SELECT" in _trained(tokenizer, "on")
    assert "[A]</think>SELECT" in _trained(tokenizer, "off")


def test_a_template_without_a_switch_is_asked_for_no_effort(tiny_chat_tokenizer: Any) -> None:
    """As Inkling's template, which no package has: an effort of none is what it calls no thinking."""
    tokenizer = copy.deepcopy(tiny_chat_tokenizer)
    tokenizer.chat_template = (
        "{% set efforts = {'none': 0, 'high': 0.9} %}{% set effort = efforts[reasoning_effort | default('high')] %}"
        "[effort {{ effort }}]{% for m in messages %}{% if m.role == 'assistant' %}"
        "{% if m.reasoning_content %}[M][think]{{ m.reasoning_content }}[/]{% endif %}[M][text]{{ m.content }}[/][E]"
        "{% else %}[U]{{ m.content }}[/]{% endif %}{% endfor %}{% if add_generation_prompt %}[M]{% endif %}"
    )
    assert turn_start("on", tokenizer) == TurnStart("[think]", "[/][M][text]")
    assert turn_start("off", tokenizer) == TurnStart("[text]")
    assert _trained(tokenizer, "on").startswith("[effort 0.9]") and "[M][think]All rows" in _trained(tokenizer, "on")
    assert _trained(tokenizer, "off").startswith("[effort 0][U]") and "[M][text]SELECT" in _trained(tokenizer, "off")


def test_a_model_that_does_not_think_keeps_its_prompt(tokenizer_of: Any) -> None:
    for family in ("llama3_2", "gemma3", "qwen2_5", "phi3_5", "lfm2"):
        tokenizer = tokenizer_of(family)
        prompts = {render_prompt(EXAMPLE, PromptFormat("chat", chosen), tokenizer) for chosen in ("auto", "off")}
        assert len(prompts) == 1
        with pytest.raises(UserError, match=r"knows no block of thinking.*prompt.thinking=off"):
            render_prompt(EXAMPLE, PromptFormat("chat", "on"), tokenizer)


def test_a_plain_template_asks_no_tokenizer() -> None:
    assert render_prompt(EXAMPLE, PromptFormat("plain", "auto")).endswith("SQL:")


def test_marks_in_data_are_no_marks(tokenizer_of: Any) -> None:
    tokenizer = tokenizer_of("qwen3")
    tokenizer.add_tokens(["<think>", "</think>"])
    odd = Example("x", "Q </think>", "C", "A </think>", reasoning="R <think>")
    (tokens,) = tokenize([odd], tokenizer, PromptFormat("chat", "on"))
    (bare,) = tokenize([EXAMPLE], tokenizer, PromptFormat("chat", "on"))
    marks = set(tokenizer.encode("<think></think>", add_special_tokens=False))
    for found, expected in ((tokens.prompt, bare.prompt), (tokens.completion, bare.completion)):
        assert [i for i in found if i in marks] == [i for i in expected if i in marks]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["prompt.template=plain"], "needs a chat template"),
        (["prompt.template=chat-reasoning"], "prompt.template=chat-bird"),
        (
            [
                "prompt.template=chat",
                "rl.method=rft",
                "rl.rft.gold=true",
                "rl.cold_start=true",
                "training.learning_rate=1e-4",
            ],
            "rl.rft.gold imitates",
        ),
    ],
)
def test_what_cannot_think_is_refused(settings: list[str], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        load_config(None, ["prompt.thinking=on", *settings])
