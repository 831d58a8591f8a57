"""The packaged model's copy in the cache: a damaged one is noticed and made anew, and two may make it at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from backends import base_models

NAME = next(iter(base_models.PACKAGED))


@pytest.fixture
def conversions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_tiny_model: Callable[..., Path]) -> list[Path]:
    """Where the model was converted to; a tiny one stands for what the package has."""
    made: list[Path] = []
    tiny = make_tiny_model()

    def convert(gguf: Path, directory: Path) -> None:
        made.append(directory)
        for name in ("config.json", "model.safetensors"):
            (directory / name).write_bytes((tiny / name).read_bytes())

    class Tokenizer:
        def save_pretrained(self, directory: Path) -> None:
            (directory / "tokenizer.json").write_bytes((tiny / "tokenizer.json").read_bytes())

    monkeypatch.setenv("TEXT2SQL_CACHE", str(tmp_path))
    monkeypatch.setattr(base_models, "_gguf_file", lambda name: tmp_path / "packaged.gguf")
    monkeypatch.setattr(base_models, "_convert_weights", convert)
    monkeypatch.setattr(base_models, "convert_tokenizer", lambda gguf: Tokenizer())
    return made


def test_it_is_converted_once(conversions: list[Path]) -> None:
    assert base_models.locate(NAME) == base_models.locate(NAME)
    assert len(conversions) == 1


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_file_that_is_gone_is_made_again(conversions: list[Path], name: str) -> None:
    target = Path(base_models.locate(NAME))
    (target / name).unlink()
    assert (Path(base_models.locate(NAME)) / name).is_file() and len(conversions) == 2


@pytest.mark.parametrize("keep", [0, 5, 9, 200, -1])
def test_weights_that_are_cut_off_are_made_again(conversions: list[Path], keep: int) -> None:
    file = Path(base_models.locate(NAME)) / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:keep])
    base_models.locate(NAME)
    assert file.read_bytes() == whole and len(conversions) == 2


def test_two_may_convert_it_at_once(conversions: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower one finds the other's copy in its place, and takes that."""
    real = base_models._convert_weights

    def slow(gguf: Path, directory: Path) -> None:
        real(gguf, directory)
        if len(conversions) == 1:
            base_models.locate(NAME)

    monkeypatch.setattr(base_models, "_convert_weights", slow)
    target = Path(base_models.locate(NAME))
    assert len(conversions) == 2 and json.loads((target / "config.json").read_text())
    assert sorted(path.name for path in target.parent.iterdir()) == [target.name]


def test_the_head_of_weights_says_how_many_bytes_follow(tmp_path: Path, conversions: list[Path]) -> None:
    """Another writer's padding behind the head, and a description of the file, are part of it."""
    target = Path(base_models.locate(NAME))
    weights = load_file(target / "model.safetensors")
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    assert base_models.locate(NAME) and len(conversions) == 1
