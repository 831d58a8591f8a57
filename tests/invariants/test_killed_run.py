"""A run that is killed and started again ends in the numbers of one that was not: real processes, SIGKILL."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import forked
from text2sql.data.sources.bundled import load_bundled

TIME_FIELDS = {"seconds", "tokens_per_second", "time"}


@pytest.fixture(scope="module")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "examples.jsonl"
    rows = [{"question": e.question, "context": e.context, "answer": e.answer} for e in load_bundled()[:90]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command(directory: Path, data: Path, model: str) -> list[str]:
    settings = {
        "name": "killed",
        "output_dir": directory,
        "base_model": model,
        "data.source": data,
        "data.test_size": 24,
        "data.validation_size": 8,
        "training.batch_size": 6,
        "training.epochs": 2,
        "training.learning_rate": 0.01,
        "training.schedule": "cosine",
        "training.checkpoint_every": 4,
        "training.validate_every": 5,
        "training.validation_questions": 4,
        "evaluation.max_new_tokens": 12,
        "evaluation.max_unusable_golds": 1,
        "evaluation.concurrency": 8,
        "evaluation.workers": 1,
        "local.device": "cpu",
        # A kill may come after the last result, when the run counts as finished.
        "on_existing": "resume",
    }
    return ["run", *(f"{key}={value}" for key, value in settings.items())]


def finish(arguments: list[str], log: Path) -> None:
    process = forked.start(arguments, log)
    process.join(300)
    assert process.exitcode == 0, log.read_text()


def rows(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [{k: v for k, v in json.loads(line).items() if k not in TIME_FIELDS} for line in lines]


def kill_when(arguments: list[str], log: Path, path: Path, count: int) -> None:
    """Start the run and kill the whole process group as soon as a file has `count` lines."""
    process = forked.start(arguments, log)
    deadline = time.monotonic() + 240
    while process.is_alive() and time.monotonic() < deadline:
        if path.exists() and path.read_text().count("\n") >= count:
            forked.kill(process)
        time.sleep(0.01)
    assert process.exitcode == -signal.SIGKILL, f"the run ended before it could be killed: {log.read_text()}"


def test_kill_minus_nine_everywhere(tmp_path: Path, data_file: Path, tiny_model: str) -> None:
    undisturbed, killed, log = tmp_path / "undisturbed", tmp_path / "killed", tmp_path / "log"
    finish(command(undisturbed, data_file, tiny_model), log)
    arguments = command(killed, data_file, tiny_model)
    for file, count in (
        ("predictions-base.jsonl", 8),
        # Between two checkpoints.
        ("metrics.jsonl", 6),
        ("metrics.jsonl", 16),
        ("predictions-tuned.jsonl", 16),
    ):
        kill_when(arguments, log, killed / file, count)
    finish(arguments, log)
    for name in ("metrics.jsonl", "predictions-base.jsonl", "predictions-tuned.jsonl", "predictions-novel-tuned.jsonl"):
        assert rows(killed / name) == rows(undisturbed / name), name
    summaries = [json.loads((path / "summary.json").read_text()) for path in (killed, undisturbed)]
    assert summaries[0]["headline"] == summaries[1]["headline"]
    # 58 examples in batches of 6, twice; a validation every 5.
    assert len(rows(killed / "metrics.jsonl")) == 20 + 4
    assert len(list((killed / "checkpoints").glob("*/weights/step-*"))) >= 1


KILLS = 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_kill_minus_nine_at_random_moments(tmp_path: Path, data_file: Path, tiny_model: str, seed: int) -> None:
    """Runs that are killed at random moments until five kills have hit; every one of them ends in the same numbers."""
    undisturbed, log = tmp_path / "undisturbed", tmp_path / "log"
    began = time.monotonic()
    finish(command(undisturbed, data_file, tiny_model), log)
    whole = time.monotonic() - began
    moments, kills, trial = random.Random(seed), 0, 0
    while kills < KILLS:
        trial += 1
        directory = tmp_path / f"killed-{trial}"
        arguments = command(directory, data_file, tiny_model)
        finished = False
        while not finished:
            patience = moments.uniform(0.2, 0.9) * whole if kills < KILLS else None
            finished = not kill_after(arguments, log, patience)
            kills += not finished
        for name in ("metrics.jsonl", "predictions-base.jsonl", "predictions-tuned.jsonl"):
            assert rows(directory / name) == rows(undisturbed / name), (trial, name)
        recorded = rows(directory / "checkpoints.jsonl")
        kept = {path.name for path in (directory / "checkpoints").glob("*/*/step-*")}
        # No orphans.
        assert kept == {row["name"] for row in recorded}, trial
        # Nothing half written.
        assert not list((directory / "checkpoints").glob("*/*/.*")), trial
        assert (directory / "report.html").is_file(), trial
    print(f"{kills} kills in {trial} runs, each of {whole:.0f} s undisturbed")


def kill_after(arguments: list[str], log: Path, seconds: float | None) -> bool:
    """Start the run and kill its process group after a while, or never; False if it has finished by then."""
    process = forked.start(arguments, log)
    process.join(seconds)
    if process.is_alive():
        forked.kill(process)
        return True
    assert process.exitcode == 0, log.read_text()
    return False
