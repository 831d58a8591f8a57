"""The cache of tokens: the same tokens with it, without it, and after damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from text2sql.data import cache, prompts
from text2sql.data.cache import tokenize_cached
from text2sql.data.example import Example
from text2sql.data.prompts import Tokens
from text2sql.data.sources.bundled import load_bundled

EXAMPLES = load_bundled()[:40]


@pytest.fixture(autouse=True)
def _cache_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXT2SQL_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "CACHE_FROM", 10)


def _equal(a: list[Tokens], b: list[Tokens]) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(x.prompt, y.prompt)
        and np.array_equal(x.completion, y.completion)
        and x.prompt.dtype == y.prompt.dtype
        for x, y in zip(a, b, strict=True)
    )


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def test_the_cache_gives_the_same_tokens(tmp_path: Path, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = prompts.tokenize(EXAMPLES, tiny_tokenizer, prompts.PromptFormat("plain"))
    assert _equal(tokenize_cached(EXAMPLES, tiny_tokenizer, prompts.PromptFormat("plain")), expected)
    assert len(_files(tmp_path)) == 1
    monkeypatch.setattr(prompts, "tokenize", lambda *arguments: pytest.fail("it was not read from the cache"))
    assert _equal(tokenize_cached(EXAMPLES, tiny_tokenizer, prompts.PromptFormat("plain")), expected)


def test_other_texts_templates_and_tokenizers_have_other_files(tmp_path: Path, tiny_tokenizer: Any) -> None:
    other = type(tiny_tokenizer)(tokenizer_object=tiny_tokenizer.backend_tokenizer, eos_token="<eos>")
    other.add_tokens(["SELECT"])
    tokenize_cached(EXAMPLES, tiny_tokenizer, prompts.PromptFormat("plain"))
    tokenize_cached(EXAMPLES, tiny_tokenizer, prompts.PromptFormat("exercise"))
    tokenize_cached(EXAMPLES[::-1], tiny_tokenizer, prompts.PromptFormat("plain"))
    tokenize_cached(EXAMPLES, other, prompts.PromptFormat("plain"))
    assert len(_files(tmp_path)) == 4


def test_texts_that_only_join_to_the_same_are_not_the_same(tmp_path: Path, tiny_tokenizer: Any) -> None:
    one, two = Example("", "q", "c", "a", evidence="x"), Example("", "xq", "c", "a", evidence="")
    filler = EXAMPLES[:10]
    tokenize_cached([Example("", "q", "c", "a"), two, *filler], tiny_tokenizer, prompts.PromptFormat("plain"))
    tokenize_cached([one, Example("", "q", "c", "a"), *filler], tiny_tokenizer, prompts.PromptFormat("plain"))
    assert len(_files(tmp_path)) == 2


@pytest.mark.parametrize("keep", [0, 10, 0.5, -1])
def test_a_damaged_file_is_replaced(tmp_path: Path, tiny_tokenizer: Any, keep: float) -> None:
    expected = tokenize_cached(EXAMPLES, tiny_tokenizer, prompts.PromptFormat("plain"))
    (file,) = _files(tmp_path)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * keep) if keep == 0.5 else int(keep)])
    assert _equal(tokenize_cached(EXAMPLES, tiny_tokenizer, prompts.PromptFormat("plain")), expected)
    assert file.read_bytes() == whole


def test_a_file_of_other_contents_is_replaced(tmp_path: Path, tiny_tokenizer: Any) -> None:
    expected = tokenize_cached(EXAMPLES, tiny_tokenizer, prompts.PromptFormat("plain"))
    (file,) = _files(tmp_path)
    np.savez(file, nothing=np.zeros(3))
    assert _equal(tokenize_cached(EXAMPLES, tiny_tokenizer, prompts.PromptFormat("plain")), expected)


def test_without_a_place_to_write_it_is_done_without(
    tmp_path: Path, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TEXT2SQL_CACHE", str(tmp_path / "file"))
    expected = prompts.tokenize(EXAMPLES, tiny_tokenizer, prompts.PromptFormat("plain"))
    assert _equal(tokenize_cached(EXAMPLES, tiny_tokenizer, prompts.PromptFormat("plain")), expected)


def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **arrays: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert len(tokenize_cached(EXAMPLES, tiny_tokenizer, prompts.PromptFormat("plain"))) == 40
    assert not _files(tmp_path)


def test_small_sets_are_not_worth_a_file(tmp_path: Path, tiny_tokenizer: Any) -> None:
    tokenize_cached(EXAMPLES[:9], tiny_tokenizer, prompts.PromptFormat("plain"))
    assert not _files(tmp_path)
