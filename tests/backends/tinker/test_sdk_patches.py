"""What the SDK waits for in silence is said: rate limits, and a server that is away for a while."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.options import TinkerOptions
from backends.tinker.remote import open_remote
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


def _prompt() -> Any:
    from tinker import types

    return types.ModelInput.from_ints([1, 2, 3])
