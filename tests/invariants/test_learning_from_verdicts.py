"""A run that learns from verdicts: in this process and through the SDK, and killed at random moments, the same."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support import forked
from tests.support.rl_runs import judge_here
from tests.support.running import KEY, Running
from tests.support.tiny_runs import read_jsonl, rows, write_jsonl
from text2sql.config import Config, dump_config
from text2sql.pipeline.run import run_pipeline

TIMES = {"seconds", "tokens_per_second", "sampling_seconds", "judging_seconds", "training_seconds", "dollars"}
# A model of random weights writes no SQL: what it can learn is to be brief.
REWARD = {"function": "tests.support.rl_runs:brevity", "databases": 1}


def values(directory: Path, model: str, **sections: Any) -> dict[str, Any]:
    data = directory / "rows.jsonl"
    if not data.exists():
        write_jsonl(data, rows(12))
    found: dict[str, Any] = {
        "name": "verdicts",
        "base_model": model,
        "lora": {"rank": 4},
        "data": {"source": str(data), "test_size": 2},
        "training": {"learning_rate": 1e-2, "checkpoint_every": 2},
        "rl": {"method": "policy_gradient", "steps": 3, "questions": 3, "group": 4, "kl_coef": 0.05, "reward": REWARD},
        "evaluation": {"workers": 1, "databases": 1, "max_new_tokens": 8, "novel_questions": False, "baseline": False}
        # Eight tokens are too few for any of the answers.
        | {"max_unusable_golds": 1.0},
        "local": {"device": "cpu"},
    }
    for key, value in sections.items():
        found[key] = {**found.get(key, {}), **value} if isinstance(value, dict) else value
    if found["rl"].get("steps", 1) is None:
        del found["rl"]["steps"]
    return found


# To whatever is paid by length, what is shorter than about twenty characters is right.
SHORT = {"reward": {**REWARD, "equivalent": 0.05}}
RFT = {"method": "rft", "steps": None, "kl_coef": None, "rft": {"rounds": 1.5}, **SHORT}
DPO = {"method": "dpo", "kl_coef": None, **SHORT}
DISTILL = {"method": "distill", "kl_coef": None}
AHEAD = {"max_steps_off_policy": 1}
SUPERVISED: dict[str, Any] = {"method": None}


def start(directory: Path, model: str, **sections: Any) -> Path:
    """A short supervised run to begin with."""
    training = {"learning_rate": 1e-2, "batch_size": 5, "checkpoint_every": 2}
    config = values(directory, model, name="start", rl=SUPERVISED, **sections)
    return run_pipeline(Config.model_validate(config | {"training": training}), stages=("train",))


def steps(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in read_jsonl(run / "metrics.jsonl")]


def journal(run: Path) -> list[dict[str, Any]]:
    """In the order of steps; in the file, what was sampled ahead stands where it was there."""
    return sorted(read_jsonl(run / "rollouts.jsonl"), key=lambda row: (row["step"], "paid" in row, row["place"]))


def adapter(run: Path) -> dict[str, torch.Tensor]:
    """Of the last checkpoint."""
    last = read_jsonl(run / "checkpoints.jsonl")[-1]["name"]
    (file,) = (run / "checkpoints").glob(f"*/sampler_weights/{last}/adapter_model.safetensors")
    return load_file(file)


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return sorted(one) == sorted(other) and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("verdicts"), {"tiny": tiny_model})
    yield running
    running.stop()


@pytest.mark.parametrize(
    ("questions", "rl"),
    [
        (1, {}),
        (3, {}),
        # Its loss is computed on this side of the wire.
        (1, DPO),
        pytest.param(1, RFT, marks=pytest.mark.slow),
        pytest.param(1, DISTILL, marks=pytest.mark.slow),
        pytest.param(1, AHEAD, marks=pytest.mark.slow),
    ],
    ids=["one", "three", "dpo", "rft", "distill", "ahead"],
)
def test_either_place(
    server: Running,
    tiny_model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    questions: int,
    rl: dict[str, Any],
) -> None:
    """In this process, and through the real SDK against the server: the same rewards, losses and adapter."""
    judge_here(monkeypatch)
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    places: dict[str, dict[str, Any]] = {
        # The server returns the log-probabilities of every target, and so computes them.
        "local": {"local": {"device": "cpu", "unscored_logprobs": True}},
        "tinker": {"tinker": {"base_model": "tiny", "base_url": server.url, "tokenizer": tiny_model}},
    }
    runs = {}
    for backend, options in places.items():
        where = {"backend": backend, **options}
        begun = start(tmp_path, tiny_model, output_dir=str(tmp_path / f"start-{backend}"), **where)
        training = {"start_from": str(begun)}
        output = str(tmp_path / backend)
        taught = {"distill": {"teacher": options.get("tinker", {}).get("base_model", tiny_model)}}
        asked = {**rl, "questions": questions} | (taught if rl is DISTILL else {})
        config = Config.model_validate(
            values(tmp_path, tiny_model, output_dir=output, training=training, rl=asked, **where)
        )
        runs[backend] = run_pipeline(config, stages=("train",))
    here, there = runs["local"], runs["tinker"]
    # One question a step is one request in either place, and exact. Several arrive at the server one by one: a batch
    # may hold others than here, and products of other sizes round otherwise; tokens, verdicts and rewards are equal.
    exact = questions == 1
    assert_close(journal(here), journal(there), 0 if exact else 1e-5)
    assert_close(steps(here), steps(there), 0 if exact else 1e-3)
    assert any(row["grad_norm"] for row in steps(here))
    if not rl:
        assert len(steps(here)) == 3
        assert all(row["dropped"] == 0 and row["grad_norm"] > 0 for row in steps(here))
        assert abs(steps(here)[0]["kl_sample_train"]) < 1e-5 < abs(steps(here)[2]["kl_start"])
    downloaded = load_file(there / "adapter" / "adapter_model.safetensors")
    trained = adapter(here)
    for key, weights in trained.items():
        assert (downloaded[key] - weights).norm() <= (0 if exact else 1e-2) * weights.norm(), key


def assert_close(one: Any, other: Any, tolerance: float) -> None:
    """Equal, but for numbers that are not whole: those to a relative and absolute tolerance."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_close(one[key], other[key], tolerance)
    elif isinstance(one, list):
        assert len(one) == len(other)
        for ours, theirs in zip(one, other, strict=True):
            assert_close(ours, theirs, tolerance)
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=tolerance, abs=tolerance)
    else:
        assert one == other


# Kills


@pytest.fixture
def straight(
    request: pytest.FixtureRequest, tmp_path: Path, tiny_model: str
) -> tuple[Path, Callable[[str], list[str]], float]:
    """A run to the end in a process of its own, the command of another like it, and the seconds that it took."""
    begun = start(tmp_path, tiny_model, output_dir=str(tmp_path / "start"))

    def command(name: str) -> list[str]:
        training = {"start_from": str(begun)}
        asked = {"steps": 5} | getattr(request, "param", {})
        if asked.get("method") == "distill":
            asked["distill"] = {"teacher": tiny_model}
        output = str(tmp_path / name)
        found = values(tmp_path, tiny_model, output_dir=output, training=training, on_existing="resume", rl=asked)
        file = tmp_path / f"{name}.yaml"
        file.write_text(dump_config(Config.model_validate(found)))
        return ["train", str(file)]

    began = time.monotonic()
    process = forked.start(command("straight"), tmp_path / "log")
    process.join(300)
    assert process.exitcode == 0, (tmp_path / "log").read_text()
    return tmp_path / "straight", command, time.monotonic() - began


def assert_same(killed: Path, whole: Path) -> None:
    assert steps(killed) == steps(whole)
    assert equal(adapter(killed), adapter(whole))
    journals = [journal(run) for run in (killed, whole)]
    # No group is sampled, and so paid for, twice; and none is judged twice.
    keys = [("answers" in row, row["step"], row["place"]) for row in journals[0]]
    assert len(keys) == len(set(keys)) and journals[0] == journals[1]
    kept = {path.name for path in (killed / "checkpoints").glob("*/*/step-*")}
    assert kept == {row["name"] for row in read_jsonl(killed / "checkpoints.jsonl")}


def test_kill_minus_nine_where_it_matters(straight: tuple[Path, Callable[[str], list[str]], float]) -> None:
    """After the answers are sampled, after they are paid, and between a step and its checkpoint."""
    whole, command, _ = straight
    killed, arguments, log = whole.with_name("killed"), command("killed"), whole.with_name("log")
    for file, count in (("rollouts.jsonl", 3), ("rollouts.jsonl", 12), ("metrics.jsonl", 3)):
        process = forked.start(arguments, log)
        deadline = time.monotonic() + 240
        while process.is_alive() and time.monotonic() < deadline:
            if (killed / file).exists() and (killed / file).read_text().count("\n") >= count:
                forked.kill(process)
            time.sleep(0.002)
        assert process.exitcode == -signal.SIGKILL, f"it ended before it could be killed: {log.read_text()}"
    process = forked.start(arguments, log)
    process.join(300)
    assert process.exitcode == 0, log.read_text()
    assert_same(killed, whole)


KILLS = 20


@pytest.mark.slow
@pytest.mark.parametrize("straight", [{}, AHEAD, RFT, DPO, DISTILL], indirect=True)
def test_kill_minus_nine_at_random_moments(straight: tuple[Path, Callable[[str], list[str]], float]) -> None:
    """Runs that are killed at random moments until twenty kills have hit; each ends in the same adapter."""
    whole, command, seconds = straight
    moments, kills, trial = random.Random(0), 0, 0
    while kills < KILLS:
        trial += 1
        arguments, finished = command(f"killed-{trial}"), False
        while not finished:
            process = forked.start(arguments, whole.with_name("log"))
            process.join(moments.uniform(0.1, 0.9) * seconds if kills < KILLS else 300)
            finished = not process.is_alive()
            if not finished:
                forked.kill(process)
                kills += 1
        assert process.exitcode == 0, whole.with_name("log").read_text()
        assert_same(whole.with_name(f"killed-{trial}"), whole)
    print(json.dumps({"kills": kills, "runs": trial}))
