"""What is wrong with a hosted backend is said at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.interface import BackendError
from tests.conftest import REPOSITORY
from text2sql.config import Config
from text2sql.runs.session import open_service


def refusal(config: Config) -> str:
    with pytest.raises(BackendError) as refused, open_service(config):
        pass
    return str(refused.value)


def test_a_model_that_is_not_offered(remote_config: Callable[..., Config]) -> None:
    message = refusal(remote_config(tinker={"base_model": "tinny"}))
    assert 'does not offer "tinny". Nearest: tiny.' in message and "tinker.base_model" in message


def test_a_model_that_was_withdrawn(remote_config: Callable[..., Config]) -> None:
    message = refusal(remote_config(tinker={"base_model": "meta-llama/Llama-3.2-1B"}))
    assert 'no longer offers "meta-llama/Llama-3.2-1B"' in message and "base_model may stay" in message


def test_a_wrong_key(
    remote_config: Callable[..., Config], start_server: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = start_server(keys=("tml-the-right-one",))
    monkeypatch.setenv("TINKER_API_KEY", "tml-the-wrong-one")
    message = refusal(remote_config(tinker={"base_url": guarded.url}))
    assert "refuses this TINKER_API_KEY" in message and "tml-the-wrong-one" not in message


def test_no_key_and_nobody_there(remote_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cannot be reached" in refusal(remote_config(tinker={"base_url": "http://127.0.0.1:9"}))
    monkeypatch.delenv("TINKER_API_KEY")
    monkeypatch.setenv("HOME", "/nonexistent")
    assert "needs an API key" in refusal(remote_config())


def test_it_is_refused_before_the_sdk_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By whichever command: `text2sql models --remote` has no configuration to be looked at before."""
    monkeypatch.delenv("TINKER_API_KEY")
    monkeypatch.setenv("HOME", "/nonexistent")
    code = (
        "import sys\nfrom text2sql.cli import main\nsys.argv = ['text2sql', 'models', '--remote']\n"
        "try: main()\nexcept SystemExit as end: print(end.code, sorted({'tinker', 'torch'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert "needs an API key" in done.stderr and done.stdout.split() == ["2", "[]"]


def test_a_tokenizer_that_is_not_there(remote_config: Callable[..., Config], tmp_path: Path) -> None:
    config = remote_config(tinker={"tokenizer": str(tmp_path)})
    with (
        pytest.raises(BackendError, match=r"tinker\.tokenizer: no tokenizer of .tiny. was found"),
        open_service(config) as service,
    ):
        service.create_sampling_client(base_model="tiny").result().get_tokenizer()


def test_a_directory_of_two_parts_is_no_hub_id(
    remote_config: Callable[..., Config], tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK would make "a/b" of "/a/b"."""
    from transformers import AutoTokenizer

    asked: list[str] = []
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda place, **options: asked.append(place))
    with open_service(remote_config(tinker={"tokenizer": "/models/tiny"})) as service:
        service.create_sampling_client(base_model="tiny").result().get_tokenizer()
    assert asked == ["/models/tiny"]
