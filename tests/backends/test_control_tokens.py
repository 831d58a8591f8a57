"""Data that spell control tokens, with tokenizers that declare their marks in different ways."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from tokenizers import AddedToken

from backends.control_tokens import SPELLED_AS_TEXT, control_tokens, encode_as_plain_text, with_all_control_tokens


@pytest.fixture
def tokenizer(tiny_chat_tokenizer: Any) -> Any:
    """Its marks are special, in the template alone, or neither; <b> is a word of the vocabulary."""
    tokenizer = deepcopy(tiny_chat_tokenizer)
    tokenizer.add_tokens(
        [AddedToken(text, special=False) for text in ("<think>", "<|fim_prefix|>", "<｜User｜>", "<b>")]
    )
    tokenizer.chat_template = tokenizer.chat_template.replace("<turn>assistant", "<turn>assistant<think>")
    return tokenizer


@pytest.mark.parametrize("mark", ["<turn>", "<end>", "<eos>", "<think>", "<|fim_prefix|>", "<｜User｜>"])
def test_marks_of_every_kind_are_text_in_data(tokenizer: Any, mark: str) -> None:
    control = control_tokens(tokenizer)
    assert control is not None and control.fullmatch(mark)
    token = tokenizer.convert_tokens_to_ids(mark)
    for text in (mark, f"a{mark}b", f"<{mark}turn>", mark * 3):
        assert token not in encode_as_plain_text(text, tokenizer)
        turns = [{"role": "user", "content": text}]
        chatting = with_all_control_tokens(tokenizer)
        ids = chatting.apply_chat_template(turns, add_generation_prompt=True, **SPELLED_AS_TEXT)
        bare = chatting.apply_chat_template([{"role": "user", "content": "a"}], add_generation_prompt=True)["input_ids"]
        assert ids.count(token) == bare.count(token) and text in tokenizer.decode(ids)


def test_words_of_the_vocabulary_stay_tokens(tokenizer: Any) -> None:
    word = tokenizer.convert_tokens_to_ids("<b>")
    assert word in encode_as_plain_text("<b>bold", tokenizer) and word in tokenizer.encode("<b>bold")
    assert not control_tokens(tokenizer).search("a <b>, x < y AND y > z, <>")  # type: ignore[union-attr]
