"""Our chat prompts and the Tinker cookbook's renderers of the models that are served: the same tokens.

The chat templates are the real ones, on a small tokenizer with the family's marks: those that come with TRL, and others
from `$TEXT2SQL_TEMPLATES`, a directory with a file ``OWNER--NAME.jinja`` for each model, which the Hub has as
``chat_template.jinja``. Carried out by `scripts/check_cookbook.sh`, in an environment that has the cookbook.
"""

from __future__ import annotations

import copy
import itertools
import os
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from backends.planning.lineup import lineup
from text2sql.data.example import Example
from text2sql.data.prompts import PromptFormat, messages, tokenize
from text2sql.data.thinking import Thinking, turn_start

pytest.importorskip("tinker_cookbook", reason="no extra installs tinker_cookbook; see scripts/check_cookbook.sh")

TEMPLATES = Path(str(files("trl"))) / "chat_templates"
EXAMPLE = Example(
    "x",
    "How many?",
    "CREATE TABLE t (a INT)",
    "SELECT COUNT(*) FROM t",
    evidence="Rows are orders.",
    reasoning="All rows are counted.",
)
# Marks that the templates do not spell, and those that are words of the tokenizer without being special.
FURTHER = ["<|return|>", "<|call|>", "<|message|>", "<|channel|>", "<|end|>", "<|observation|>", "<|endoftext|>"]
# How families write their marks.
MARKS = r"<\|\w+\|>|<｜[\w▁]+｜>|\[gMASK\]|<sop>"
WORDS = ["<think>", "</think>"]
# How Qwen's tokenizers cut text, Nemotron's and gpt-oss's nearly so: line breaks are pieces of their own, or end one of
# punctuation. It matters where a renderer puts together what it has encoded in parts.
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# OpenAI's cut of texts for the words of o200k, which is Inkling's.
O200K = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)


@dataclass(frozen=True)
class Family:
    """A chat template, and the renderers of the models that have it.

    Attributes:
        template: Its file among TRL's, or a Hub id.
        on: The renderer for a model that thinks; None where there is none.
        off: The one for a model that does not; None where there is none.
        end: What ends a sequence.
        start: What begins one, where the template writes it.
    """

    template: str
    on: str | None
    off: str | None
    end: str = "<|im_end|>"
    start: str | None = None

    @property
    def text(self) -> str:
        """The template's text; skips the test where it is not to be had."""
        if "/" not in self.template:
            return (TEMPLATES / f"{self.template}.jinja").read_text(encoding="utf-8")
        file = Path(os.environ.get("TEXT2SQL_TEMPLATES", ""), f"{self.template.replace('/', '--')}.jinja")
        if not file.is_file():
            pytest.skip(f"no {file.name} in $TEXT2SQL_TEMPLATES: no package has this chat template")
        return file.read_text(encoding="utf-8")


FAMILIES = [
    Family("qwen3", "qwen3", "qwen3_disable_thinking"),
    Family("qwen3_instruct_2507", None, "qwen3_instruct"),
    Family("qwen3_5_think", "qwen3_5", "qwen3_5_disable_thinking"),
    Family("qwen3_6", "qwen3_5", "qwen3_5_disable_thinking"),
    Family("qwen3_8", "qwen3_8_xhigh_reasoning", "qwen3_8_disable_thinking"),
    Family("nemotron_3_nano", "nemotron3", "nemotron3_disable_thinking"),
    Family("nemotron_3_super", "nemotron3", "nemotron3_disable_thinking"),
    Family("nemotron_3_ultra", "nemotron3_ultra", "nemotron3_ultra_disable_thinking"),
    Family("nemotron_3_5_lightning", "nemotron3_ultra", "nemotron3_ultra_disable_thinking"),
    Family(
        "deepseek-ai/DeepSeek-V3.1",
        "deepseekv3_thinking",
        "deepseekv3",
        "<｜end▁of▁sentence｜>",
        "<｜begin▁of▁sentence｜>",
    ),
    Family("moonshotai/Kimi-K2.6", "kimi_k26", "kimi_k26_disable_thinking"),
    Family("zai-org/GLM-5.3", "glm5_3_max_reasoning", None, end="<|endoftext|>"),
    Family("gptoss", "gpt_oss_no_sysprompt", "gpt_oss_no_sysprompt", end="<|return|>"),
    Family("thinkingmachines/Inkling", "tml_v0", "tml_v0", "<|content_model_end_sampling|>"),
]
# Families of which the beginning of the block, or the name of the channel, is the end of our prompt and the model's to
# write behind the renderer's; Inkling's model writes the mark of its turn as well.
OPENED_BY_THE_MODEL = {
    ("qwen3", "on"): "",
    **dict.fromkeys(itertools.product(["gptoss"], ["off", "on"]), ""),
    **dict.fromkeys(itertools.product(["thinkingmachines/Inkling"], ["off", "on"]), "<|message_model|>"),
}
# Served, and not compared here: base models have no chat template, and of the other its text is not known to us.
NOT_COMPARED = {"role_colon", "deepseekv4_1"}
CASES = [
    (family, thinking)
    for family in FAMILIES
    for thinking in ("off", "on")
    if (family.off if thinking == "off" else family.on) is not None
]


@pytest.fixture
def tokenizer_of(tiny_chat_tokenizer: Any) -> Any:
    def make(family: Family) -> Any:
        from tokenizers import Regex
        from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
        from transformers import PreTrainedTokenizerFast

        text = family.text
        if family.on == "tml_v0":
            return _of_inkling(text)
        marks = sorted({*re.findall(MARKS, text), *FURTHER})
        core = type(tiny_chat_tokenizer.backend_tokenizer).from_str(tiny_chat_tokenizer.backend_tokenizer.to_str())
        core.pre_tokenizer = Sequence([Split(Regex(PIECES), "isolated"), ByteLevel(False, use_regex=False)])
        tokenizer: Any = PreTrainedTokenizerFast(
            tokenizer_object=core, bos_token=family.start, eos_token=family.end, extra_special_tokens=marks
        )
        tokenizer.add_tokens(WORDS)
        tokenizer.chat_template = text
        return tokenizer

    return make


@cache
def _of_inkling(text: str) -> Any:
    """Inkling's own tokenizer for transformers, from the words in the library that has its renderer."""
    from tml_renderers import tokenizers
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    theirs = tokenizers.O200kBaseChatTokenizer()
    words = str(files("tml_renderers") / "data" / "o200k_base.tiktoken")
    core = TikTokenConverter(words, pattern=O200K).converted()
    ids = range(core.get_vocab_size(), 10**6)
    core.add_special_tokens([f"<|{theirs.decode_special(i)}|>" for i in ids if theirs.is_special_token(i)])
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|content_model_end_sampling|>")
    tokenizer.add_special_tokens(
        {"extra_special_tokens": [t.content for t in core.get_added_tokens_decoder().values()]}
    )
    tokenizer.chat_template = text
    return tokenizer


def _theirs(name: str, tokenizer: Any, form: PromptFormat) -> tuple[list[int], list[int]]:
    """The prompt, and the whole conversation, as the cookbook renders them."""
    from tinker_cookbook import renderers, tokenizer_utils

    own = tokenizer_utils.get_tokenizer("thinkingmachines/Inkling") if name == "tml_v0" else copy.deepcopy(tokenizer)
    renderer: Any = renderers.get_renderer(name, own)
    # One renderer, which is told how much is thought: nine tenths, unless it is nothing.
    effort = {"effort": 0.0} if name == "tml_v0" and not form.thinks else {}
    *turns, answer = messages(EXAMPLE, form)
    content: Any = answer["content"]
    if form.thinks:
        content = [{"type": "thinking", "thinking": EXAMPLE.reasoning}, {"type": "text", "text": content}]
    whole, _ = renderer.build_supervised_example([*turns, {"role": "assistant", "content": content}], **effort)
    return renderer.build_generation_prompt(turns, **effort).to_ints(), whole.to_ints()


def _ours(tokenizer: Any, form: PromptFormat) -> tuple[list[int], list[int]]:
    (tokens,) = tokenize([EXAMPLE], tokenizer, form)
    return tokens.prompt.tolist(), [*tokens.prompt.tolist(), *tokens.completion.tolist()]


@pytest.mark.parametrize("template", ["chat", "chat-bird", "chat-system"])
@pytest.mark.parametrize(("family", "thinking"), CASES, ids=lambda value: getattr(value, "template", value))
def test_the_tokens_are_those_of_the_renderer(
    tokenizer_of: Any, family: Family, thinking: Thinking, template: str
) -> None:
    tokenizer, form = tokenizer_of(family), PromptFormat(template, thinking)
    name = family.on if thinking == "on" else family.off
    assert name is not None
    prompt, whole = _ours(tokenizer, form)
    their_prompt, their_whole = _theirs(name, tokenizer, form)
    assert whole == their_whole
    if (mark := OPENED_BY_THE_MODEL.get((family.template, thinking))) is not None:
        opening = mark + turn_start(thinking, tokenizer).opening
        their_prompt += tokenizer.encode(opening, add_special_tokens=False)
    assert prompt == their_prompt


def test_every_renderer_of_the_line_up_is_compared_or_named() -> None:
    compared = {name for family in FAMILIES for name in (family.on, family.off)}
    recommended = {model.renderer for model in lineup().models}
    assert recommended <= compared | NOT_COMPARED
    assert recommended >= NOT_COMPARED


def test_the_line_up_names_the_renderer_that_the_cookbook_recommends() -> None:
    from tinker_cookbook.model_info import get_recommended_renderer_name

    for model in lineup().models:
        assert model.renderer == get_recommended_renderer_name(model.name), model.name
