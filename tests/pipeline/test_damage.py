"""Runs whose files were damaged: what is left out, what falls back, what is refused."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from backends.fake import FakeTrainingClient
from backends.interface import BackendError
from tests.support.tiny_runs import VALIDATED, judge_by_words, read_jsonl, timeless, tiny_config
from text2sql.config import Config
from text2sql.errors import UserError
from text2sql.pipeline.run import run_pipeline


@pytest.mark.parametrize(
    ("name", "damage", "match", "way"),
    [
        ("checkpoints.jsonl", b"{", "incomplete", "delete it .* the saved checkpoints are found"),
        ("checkpoints.jsonl", b"\xff\xfe\n", "line 1", "delete it"),
        ("checkpoints.jsonl", b"{}\n", "no name, step", "delete it"),
        ("predictions-base.jsonl", b"}\n", "line 1", "delete it .* its questions alone are asked once more"),
        ("config.yaml", b"a: [\n", "line 2", "text2sql config show CONFIG > "),
    ],
)
def test_a_damaged_file_is_named_and_left_and_the_way_on_loses_least(
    tmp_path: Path, quick: None, name: str, damage: bytes, match: str, way: str
) -> None:
    config = tiny_config(tmp_path, on_existing="resume")
    directory = run_pipeline(config)
    metrics, summary = (directory / "metrics.jsonl").read_bytes(), (directory / "summary.json").read_text()
    whole = (directory / name).read_bytes()
    (directory / name).write_bytes(damage)
    with pytest.raises(UserError, match=f"(?s){re.escape(name)} is damaged.*{match}.*{way}") as raised:
        run_pipeline(config)
    assert "overwrite" not in str(raised.value)
    assert (directory / name).read_bytes() == damage
    # What the message says works, and nothing that was paid for is done again.
    (directory / name).write_bytes(whole) if name == "config.yaml" else (directory / name).unlink()
    run_pipeline(config)
    assert (directory / "metrics.jsonl").read_bytes() == metrics
    assert timeless(json.loads((directory / "summary.json").read_text())) == timeless(json.loads(summary))


@pytest.mark.parametrize(
    "name",
    ["metrics", "timings", "usage", "samples", "training_runs", "environment", "summary"],
)
def test_damaged_bookkeeping_is_left_out_with_a_note(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    config = tiny_config(tmp_path, on_existing="resume", **VALIDATED)
    directory = run_pipeline(config)
    file = next(directory.glob(f"{name}.json*"))
    answers = {path.name: path.read_bytes() for path in directory.glob("predictions-*.jsonl")}
    checkpoints = (directory / "checkpoints.jsonl").read_bytes()
    lines = file.read_bytes().splitlines(keepends=True)
    damage = b'{"half": \n' + b"".join(lines[1:]) if file.suffix == ".jsonl" else b"{}}"
    file.write_bytes(damage)
    capsys.readouterr()
    run_pipeline(config)
    said = " ".join(capsys.readouterr().out.split())
    assert f"{file} was damaged (" in said and f"the damaged file is {file.name}.damaged" in said
    assert (directory / f"{file.name}.damaged").read_bytes() == damage
    assert {path.name: path.read_bytes() for path in directory.glob("predictions-*.jsonl")} == answers
    assert (directory / "checkpoints.jsonl").read_bytes() == checkpoints
    if name == "metrics":
        assert "no record of 1 of the 3 steps" in said
    run_pipeline(config)
    assert "was damaged" not in " ".join(capsys.readouterr().out.split())


def test_emptied_metrics_are_noticed_and_no_checkpoint_is_lost(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(tmp_path, on_existing="resume")
    directory = run_pipeline(config)
    saved = sorted(path.name for path in (directory / "checkpoints").rglob("*.json"))
    (directory / "metrics.jsonl").write_bytes(b"")
    (directory / "checkpoints.jsonl").unlink()
    capsys.readouterr()
    run_pipeline(config)
    assert "no record of 4 of the 4 steps" in " ".join(capsys.readouterr().out.split())
    assert sorted(path.name for path in (directory / "checkpoints").rglob("*.json")) == saved
    assert [row["step"] for row in read_jsonl(directory / "checkpoints.jsonl")] == [4]


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        "data": {"validation_size": 5},
        "training": {"validate_every": 2, "checkpoint_every": 2, "epochs": 3},
    }
    losses = itertools.count(1)
    monkeypatch.setattr("text2sql.training.trainer.Trainer._validation_loss", lambda *_: float(next(losses)))
    stop = tiny_config(tmp_path, on_existing="resume", **settings)
    real = FakeTrainingClient.forward_backward

    def broken(self: Any, *arguments: Any, **more: Any) -> Any:
        if len(read_jsonl(tmp_path / "run" / "metrics.jsonl")) >= 7:
            raise BackendError("the machine went away")
        return real(self, *arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(FakeTrainingClient, "forward_backward", broken)
        with pytest.raises(BackendError, match="went away"):
            run_pipeline(stop)
    rows = read_jsonl(tmp_path / "run" / "checkpoints.jsonl")
    # The best and the last.
    assert [row["step"] for row in rows] == [2, 6]
    for file in (tmp_path / "run" / "checkpoints").rglob("step-000006.json"):
        file.write_text("{")
    capsys.readouterr()
    run_pipeline(stop)
    said = " ".join(capsys.readouterr().out.split())
    assert "is damaged" in said and "The one before it is used, of step 2: 4 steps are done again." in said
    steps = [row["step"] for row in read_jsonl(tmp_path / "run" / "metrics.jsonl") if "loss" in row]
    assert steps == list(range(1, 10))


def test_a_damaged_only_checkpoint_is_named(tmp_path: Path, quick: None) -> None:
    directory = run_pipeline(tiny_config(tmp_path))
    base = (directory / "predictions-base.jsonl").read_bytes()
    (directory / "predictions-tuned.jsonl").unlink()
    files = list((directory / "checkpoints").rglob("*.json"))
    for damage, match in (
        (lambda f: f.write_text("{"), "is damaged"),
        (lambda f: f.unlink(), "There is no checkpoint"),
    ):
        for file in files:
            damage(file)
        with pytest.raises(BackendError, match=match):
            run_pipeline(tiny_config(tmp_path, on_existing="resume"))
    # What the message says works: the answers of the base model stay.
    (directory / "checkpoints.jsonl").rename(tmp_path / "checkpoints.jsonl")
    (directory / "checkpoints").rename(tmp_path / "checkpoints")
    run_pipeline(tiny_config(tmp_path, on_existing="resume"))
    assert (directory / "predictions-base.jsonl").read_bytes() == base
    assert json.loads((directory / "summary.json").read_text())["headline"]["tuned"]["correct"] == 4


# Every file of a run, damaged in every way

JUNK = b'{"junk": [1, 2, {"a": null}]}\n'


def _flip(content: bytes) -> bytes:
    places = {len(content) // 3, len(content) // 2, 2 * len(content) // 3}
    return bytes(byte ^ 0xFF if place in places else byte for place, byte in enumerate(content))


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "deleted": lambda content: None,
    "emptied": lambda content: b"",
    "cut in half": lambda content: content[: len(content) // 2],
    "flipped bytes": _flip,
    "other JSON": lambda content: JUNK,
    "no object": lambda content: b"[]\n",
    "zeroed": lambda content: bytes(len(content)),
}
# Files that every start makes anew, or that hold nothing.
MADE_ANEW = (".lock", "report.html")
STATES = ("finished", "training", "answering")


def _stop_training(patch: pytest.MonkeyPatch, batches: int) -> None:
    """Let the backend fail in the training after some batches."""
    real, calls = FakeTrainingClient.forward_backward, itertools.count()

    def broken(self: Any, *arguments: Any, **more: Any) -> Any:
        if next(calls) >= batches:
            raise BackendError("the machine went away")
        return real(self, *arguments, **more)

    patch.setattr(FakeTrainingClient, "forward_backward", broken)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Config, Path, Path]]]:
    """For each state its configuration, a run in it, and what becomes of it undamaged."""
    patch = pytest.MonkeyPatch()
    judge_by_words(patch)
    patch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")
    patch.setattr("text2sql.runs.environment.git_commit", lambda: None)
    patch.setattr("os.fsync", lambda descriptor: None)
    made = {}
    for state in STATES:
        here = tmp_path_factory.mktemp(state)
        stopping = {**VALIDATED["training"], "epochs": 3, "early_stopping": {"patience": 2}}
        config = tiny_config(here, on_existing="resume", data=VALIDATED["data"], training=stopping)
        with pytest.MonkeyPatch.context() as stopped:
            if state == "training":
                _stop_training(stopped, 3)
            with suppress(BackendError):
                run_pipeline(config)
        if state == "answering":
            answers = here / "run" / "predictions-tuned.jsonl"
            answers.write_bytes(b"".join(answers.read_bytes().splitlines(keepends=True)[:3]))
            (here / "run" / "summary.json").unlink()
        expected = here / "expected"
        shutil.copytree(here / "run", expected)
        run_pipeline(config.model_copy(update={"output_dir": str(expected)}))
        made[state] = config, here / "run", expected
    yield made
    patch.undo()


def _outcome(directory: Path) -> dict[str, Any]:
    """What a run is for: its answers and verdicts, which weights they come from, and its headline."""
    answers = {path.name: path.read_bytes() for path in directory.glob("predictions-*.jsonl")}
    steps = [row["step"] for row in read_jsonl(directory / "checkpoints.jsonl")]
    return {**answers, "steps": steps, "headline": json.loads((directory / "summary.json").read_text())["headline"]}


def _damages(directory: Path) -> Iterator[tuple[Path, str]]:
    files = [path.relative_to(directory) for path in sorted(directory.rglob("*")) if path.is_file()]
    for file in files:
        if file.name not in MADE_ANEW and file.parts[0] != "plots":
            yield from ((file, how) for how in DAMAGE)


@pytest.mark.parametrize(
    "every", [pytest.param(1, marks=pytest.mark.slow, id="all"), pytest.param(5, id="every fifth")]
)
@pytest.mark.parametrize("state", STATES)
def test_whatever_is_damaged_the_same_command_ends_in_the_same_numbers_or_says_why_not(
    runs: dict[str, tuple[Config, Path, Path]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    state: str,
    every: int,
) -> None:
    config, undamaged, expected = runs[state]
    tried = 0
    for number, (file, how) in enumerate(_damages(undamaged)):
        whole = (undamaged / file).read_bytes()
        content = DAMAGE[how](whole)
        if number % every or content == whole:
            continue
        tried += 1
        directory = tmp_path / str(number)
        shutil.copytree(undamaged, directory)
        (directory / file).unlink() if content is None else (directory / file).write_bytes(content)
        again = config.model_copy(update={"output_dir": str(directory)})
        capsys.readouterr()
        try:
            run_pipeline(again)
        except (UserError, BackendError) as error:
            message = str(error)
            assert str(directory) in message or file.stem in message, (file, how, message)
            assert re.search(r"[Rr]estore", message) and "overwrite" not in message, (file, how, message)
            # It was left as it was: restored, the run comes to its end.
            (directory / file).write_bytes(whole)
            run_pipeline(again)
        said = " ".join(capsys.readouterr().out.split())
        assert _outcome(directory) == _outcome(expected), (file, how)
        measured = [timeless(_records(path / "metrics.jsonl")) for path in (directory, expected)]
        assert measured[0] == measured[1] or "no record of" in said, (file, how, said)
    assert tried > 10


def _records(path: Path) -> list[Any]:
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]


@pytest.mark.parametrize("damage", [b"", b"{", None])
def test_damaged_weights_are_made_again_from_the_training_state(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str], damage: bytes | None
) -> None:
    config = tiny_config(tmp_path, on_existing="resume")
    directory = run_pipeline(config)
    answers = (directory / "predictions-tuned.jsonl").read_bytes()
    (directory / "predictions-tuned.jsonl").unlink()
    for file in (directory / "checkpoints").rglob("sampler_weights/*.json"):
        file.unlink() if damage is None else file.write_bytes(damage)
    capsys.readouterr()
    run_pipeline(config)
    assert "made again from the training state" in " ".join(capsys.readouterr().out.split())
    assert (directory / "predictions-tuned.jsonl").read_bytes() == answers
    (row,) = read_jsonl(directory / "checkpoints.jsonl")
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["training"]["checkpoint_path"] == row["sampler_path"]
    # Once and for all: the damaged ones are gone, and the next start says nothing.
    assert len(list((directory / "checkpoints").rglob("*.json"))) == 2
    run_pipeline(config)
    assert "made again" not in " ".join(capsys.readouterr().out.split())


def test_a_last_checkpoint_with_both_parts_damaged_is_trained_again_from_the_one_before(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = itertools.count(1)
    monkeypatch.setattr("text2sql.training.trainer.Trainer._validation_loss", lambda *_: float(next(losses)))
    settings: dict[str, Any] = {"data": {"validation_size": 5}, "training": {"validate_every": 2, "epochs": 3}}
    config = tiny_config(tmp_path, on_existing="resume", **settings)
    directory = run_pipeline(config)
    expected = _outcome(directory)
    first, last = expected["steps"]
    for file in (directory / "checkpoints").rglob(f"*{last:06d}.json"):
        file.write_text("{")
    capsys.readouterr()
    run_pipeline(config)
    said = " ".join(capsys.readouterr().out.split())
    assert f"The one before it is used, of step {first}: {last - first} steps are done again." in said
    assert _outcome(directory) == expected
