"""The changes to the SDK: that they work, and that the SDK still needs each of them."""

from __future__ import annotations

import ast
import importlib.util
import logging
import threading
import time
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import tinker

from backends.options import TinkerOptions
from backends.planning.lineup import lineup
from backends.tinker.opening import open_remote
from backends.tinker.preflight import tokenizer_source
from backends.tinker.sdk_patches import PAUSE_SECONDS
from tests.support.running import Running
from text2sql.config import Config
from text2sql.pipeline.run import run_pipeline


def test_a_rate_limit_is_shown_and_the_run_goes_on(
    remote_config: Callable[..., Config], start_server: Callable[..., Running], capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = start_server(limits={"queued_requests": 1})
    config = remote_config(tinker={"base_url": narrow.url}, data={"test_size": 4}, evaluation={"concurrency": 4})
    begun, release = threading.Event(), threading.Event()
    narrow.state.scheduler.add_task(lambda: (begun.set(), release.wait(30)))
    threading.Timer(1.5, release.set).start()
    directory = run_pipeline(config, stages=("baseline",))
    said = capsys.readouterr()
    assert said.err.count("rate limit, 429") == 1 and "429" not in said.out
    assert len((directory / "predictions-base.jsonl").read_text().splitlines()) == 4


def test_a_server_that_is_away_for_a_while(
    tiny_model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Running(tmp_path / "data", {"tiny": tiny_model})
    port = int(first.url.rpartition(":")[2])
    monkeypatch.setattr(logging.getLogger("tinker"), "propagate", True)
    service = open_remote(TinkerOptions(base_url=first.url))
    sampler = service.create_sampling_client(base_model="tiny").result()
    scored = sampler.compute_logprobs(_prompt()).result()
    first.stop()
    waiting = sampler.compute_logprobs(_prompt())
    time.sleep(1)
    second = Running(tmp_path / "data", {"tiny": tiny_model}, port=port)
    assert waiting.result(60) == scored
    service.close("success").result()
    second.stop()
    said = [record.getMessage() for record in caplog.records if record.name == "tinker.server"]
    assert list(dict.fromkeys(said)) == [
        "No connection to the server; trying again, for five minutes at most.",
        "The server answers again.",
    ]


# Each of these fails when the installed SDK no longer needs the patch: remove the patch.


def test_the_sdk_still_reports_a_pause_after_a_quarter_of_an_hour() -> None:
    logger = _unpatched("tinker.lib.queue_state_logger")
    if not hasattr(logger, "PAUSE_GRACE_PERIOD"):
        pytest.skip("this SDK reports a pause at once")
    assert logger.PAUSE_GRACE_PERIOD > PAUSE_SECONDS


def test_the_sdk_still_has_no_place_for_a_tokenizer_and_makes_a_hub_id_of_a_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers.models.auto.tokenization_auto import AutoTokenizer

    asked: list[str] = []
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda place, **options: asked.append(place))
    _unpatched("tinker.lib.public_interfaces.sampling_client")._load_tokenizer_from_model_info("/models/tiny")
    assert asked != ["/models/tiny"]
    assert not any("tokenizer" in name for name in signature(tinker.ServiceClient.create_sampling_client).parameters)


@pytest.mark.parametrize("model", sorted(model.name for model in lineup().models))
def test_the_preflight_looks_for_tokenizers_where_the_sdk_does(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.auto.tokenization_auto import AutoTokenizer

    asked: list[str] = []
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda place, **options: asked.append(place))
    load = _unpatched("tinker.lib.public_interfaces.sampling_client")._load_tokenizer_from_model_info
    if (place := tokenizer_source(model, None)) is None:
        with pytest.raises((RuntimeError, ImportError)):
            load(model)
    else:
        load(model)
        assert asked == [place]


def test_the_sdk_still_writes_trouble_with_the_server_at_debug() -> None:
    source = ast.parse(Path(_unpatched("tinker._base_client").__file__).read_text())
    levels = {
        node.args[0].value: node.func.attr
        for node in ast.walk(source)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    texts = ('HTTP Response: %s %s "%i %s" %s', "Encountered Exception", "Encountered httpx.TimeoutException")
    assert {levels[text] for text in texts} == {"debug"}


def _unpatched(name: str) -> Any:
    """A second copy of a module of the SDK, as it was installed."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _prompt() -> Any:
    from tinker import types

    return types.ModelInput.from_ints([1, 2, 3])
