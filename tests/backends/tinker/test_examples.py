"""The loops of `examples/`, as they stand there, against our server and in this process."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable

import pytest

from tests.backends.server.conftest import Running
from tests.backends.tinker.conftest import plain_sdk
from tests.conftest import REPOSITORY
from tests.support.rl_runs import judge_here


@pytest.fixture
def example(
    server: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., list[str]]:
    """Runs an example with arguments; returns the lines that it prints."""

    def run(name: str, *arguments: str) -> list[str]:
        monkeypatch.setenv("TINKER_BASE_URL", server.url)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(REPOSITORY / "examples" / name), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.filterwarnings("ignore:Using .* of the future:FutureWarning")
@plain_sdk
def test_the_supervised_loop_learns_in_either_place(example: Callable[..., list[str]], tiny_model: str) -> None:
    there = example("tinker_supervised.py", "tiny", "", "2")
    here = example("tinker_supervised.py", tiny_model, "local", "2")
    losses = [[float(line.rpartition(" ")[2]) for line in lines if line.startswith("step")] for lines in (there, here)]
    # The adapters are drawn, and change nothing before the first step.
    assert losses[0][0] == losses[1][0] and all(last < first for first, last in losses)
    assert re.fullmatch(r"state to train on: tinker://\S+/weights/supervised", there[-1])


@plain_sdk
def test_the_loop_from_verdicts_goes_on_from_a_state(
    example: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_here(monkeypatch)
    state = example("tinker_supervised.py", "tiny", "", "1")[-1].rpartition(" ")[2]
    *steps, last = example("tinker_rl.py", "tiny", "", state, "1")
    assert re.fullmatch(r"step 1: reward -?[\d.]+", steps[-1])
    assert re.fullmatch(r"weights to sample from: tinker://\S+/sampler_weights/verdicts", last)
