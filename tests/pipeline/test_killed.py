"""Runs that were killed at any write, and run again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.fake import FakeSamplingClient
from tests.support.tiny_runs import VALIDATED, judge_by_words, read_jsonl, timeless, tiny_config
from text2sql.config import Config
from text2sql.pipeline.run import run_pipeline
from text2sql.runs.directory import RunDirectory


def _same_run(directory: Path, other: Path) -> None:
    """All results are equal, times and random checkpoint paths apart."""
    for path in sorted(other.glob("predictions-*.jsonl")):
        assert (directory / path.name).read_bytes() == path.read_bytes()
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert timeless(read_jsonl(directory / name)) == timeless(read_jsonl(other / name))
    steps = [[row["step"] for row in read_jsonl(d / "checkpoints.jsonl")] for d in (directory, other)]
    assert steps[0] == steps[1]
    summaries = [timeless(json.loads((d / "summary.json").read_text())) for d in (directory, other)]
    assert summaries[0] == summaries[1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Config, Path]]:
    """A configuration with every stage in it, and the directory of its run."""
    patch = pytest.MonkeyPatch()
    judge_by_words(patch)
    patch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")
    patch.setattr("text2sql.runs.environment.git_commit", lambda: None)
    patch.setattr("os.fsync", lambda descriptor: None)
    settings = {**VALIDATED["training"], "epochs": 3, "early_stopping": {"patience": 3}}
    config = tiny_config(tmp_path_factory.mktemp("data"), data=VALIDATED["data"], training=settings)
    yield config, run_pipeline(config)
    patch.undo()


def test_a_truncated_predictions_file_continues_to_the_same_bytes(
    undisturbed: tuple[Config, Path], tmp_path: Path
) -> None:
    config, expected = undisturbed
    whole = (expected / "predictions-tuned.jsonl").read_bytes()
    config = config.model_copy(update={"output_dir": str(tmp_path / "run"), "on_existing": "resume"})
    directory = run_pipeline(config)
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        (directory / "predictions-tuned.jsonl").write_bytes(whole[:length])
        with (directory / "timings.jsonl").open("ab") as file:  # a line that a kill left incomplete
            file.write(b'{"stage": "tun')
        run_pipeline(config)
        _same_run(directory, expected)


def test_only_what_is_missing_is_sampled_again(
    undisturbed: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, expected = undisturbed
    config = config.model_copy(update={"output_dir": str(tmp_path / "run"), "on_existing": "resume"})
    directory = run_pipeline(config)
    lines = (directory / "predictions-base.jsonl").read_bytes().splitlines(keepends=True)
    (directory / "predictions-base.jsonl").write_bytes(b"".join(lines[:-1]))
    asked = []
    original = FakeSamplingClient.sample

    def counted(self: Any, *arguments: Any) -> Any:
        asked.append(arguments)
        return original(self, *arguments)

    monkeypatch.setattr(FakeSamplingClient, "sample", counted)
    run_pipeline(config)
    assert len(asked) == 1  # groups of 3: the first is kept whole, the second has one question
    _same_run(directory, expected)


class _Kill(BaseException):
    """Stands for a kill: nothing catches it."""


@contextmanager
def _killed_at(write: int, how: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Die at the n-th write of the run: before it, or in the middle of it."""
    count = 0

    def deadly(original: Callable[..., None], torn: Callable[..., None]) -> Callable[..., None]:
        def method(self: RunDirectory, name: str, value: Any) -> None:
            nonlocal count
            count += 1
            if count == write:
                if how == "torn":
                    torn(self, name, value)
                raise _Kill
            original(self, name, value)

        return method

    def torn_append(self: RunDirectory, name: str, value: Any) -> None:
        with self.file(name).open("a") as file:
            file.write(json.dumps(value[0].to_json())[:-5])

    def torn_write(self: RunDirectory, name: str, text: str) -> None:
        self.file(f".{name}.partial").write_text(text[: len(text) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "append", deadly(RunDirectory.append, torn_append))
        patch.setattr(RunDirectory, "write", deadly(RunDirectory.write, torn_write))
        yield


@pytest.mark.parametrize(
    ("how", "first", "stride"),
    [
        ("before", 1, 4),
        ("torn", 3, 4),
        pytest.param("before", 1, 1, marks=pytest.mark.slow),
        pytest.param("torn", 1, 1, marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_write_and_run_again_the_numbers_are_the_same(
    undisturbed: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, first: int, stride: int
) -> None:
    config, expected = undisturbed
    kills = 0
    for write in range(first, 1000, stride):
        again = config.model_copy(update={"output_dir": str(tmp_path / f"run-{write}")})
        try:
            with _killed_at(write, how, monkeypatch):
                run_pipeline(again)
        except _Kill:
            kills += 1
        else:
            break  # it has fewer writes: that run went through
        finished = again.model_copy(update={"on_existing": "resume"})  # after the summary, `ask` would ask
        _same_run(run_pipeline(finished), expected)
    assert kills > 30 // stride
