"""Checkpoints between saved and recorded: a kill there loses nothing and leaves nothing behind."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_runs import read_jsonl, tiny_config
from text2sql.pipeline.run import run_pipeline
from text2sql.runs.directory import RunDirectory
from text2sql.training import checkpoint_recovery


class Killed(BaseException):
    """As sudden as SIGKILL: nothing catches it."""


def stop_at(monkeypatch: pytest.MonkeyPatch, target: Any, method: str, count: int) -> None:
    real, calls = getattr(target, method), []

    def stopping(*arguments: Any, **more: Any) -> Any:
        calls.append(arguments)
        if len(calls) == count:
            raise Killed
        return real(*arguments, **more)

    monkeypatch.setattr(target, method, stopping)


def saved(directory: Path) -> set[str]:
    files = [(f.parts[-3].replace("-train-", ":train:"), f.parts[-2], f.stem) for f in directory.rglob("*.json")]
    return {"tinker://" + "/".join(parts) for parts in files}


@pytest.fixture
def straight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")
    config = tiny_config(tmp_path, output_dir=str(tmp_path / "straight"))
    run_pipeline(config, ("train",))
    return numbers(tmp_path / "straight")


def numbers(directory: Path) -> list[Any]:
    return [(row["step"], row.get("loss")) for row in read_jsonl(directory / "metrics.jsonl")]


@pytest.mark.parametrize(
    ("place", "recorded", "starts"),
    [("saved, not recorded", 2, 1), ("recorded, old ones not deleted", 4, 1), ("half saved", 2, 2)],
)
def test_a_kill_around_the_last_checkpoint(
    tmp_path: Path, straight: Any, monkeypatch: pytest.MonkeyPatch, place: str, recorded: int, starts: int
) -> None:
    """A whole checkpoint is used although nobody recorded it, so no second client is made; half of one is not."""
    config = tiny_config(tmp_path, on_existing="resume")
    with monkeypatch.context() as patch:
        if place == "saved, not recorded":
            stop_at(
                patch, RunDirectory, "replace_rows", 4
            )  # two at the start, then the first and the second checkpoint
        elif place == "recorded, old ones not deleted":
            stop_at(patch, checkpoint_recovery, "delete", 1)
        else:
            from backends.fake import FakeTrainingClient

            stop_at(patch, FakeTrainingClient, "save_weights_for_sampler", 2)
        with pytest.raises(Killed):
            run_pipeline(config, ("train",))
    assert read_jsonl(tmp_path / "run" / "checkpoints.jsonl")[-1]["step"] == recorded
    run_pipeline(config, ("train",))
    assert numbers(tmp_path / "run") == straight
    rows = read_jsonl(tmp_path / "run" / "checkpoints.jsonl")
    assert [row["step"] for row in rows] == [4]
    assert saved(tmp_path / "run" / "checkpoints") == {rows[0]["state_path"], rows[0]["sampler_path"]}
    assert len(read_jsonl(tmp_path / "run" / "training_runs.jsonl")) == starts


def test_the_whole_checkpoints() -> None:
    from tinker import types

    def checkpoint(run: str, segment: str, step: int) -> types.Checkpoint:
        path = f"tinker://{run}/{segment}/{checkpoint_recovery.checkpoint_name(step)}"
        kind: Any = "training" if segment == "weights" else "sampler"
        name, time = path.partition(f"{run}/")[2], datetime(2026, 1, 1)
        return types.Checkpoint(checkpoint_id=name, checkpoint_type=kind, time=time, tinker_path=path)

    found = [checkpoint("a:train:0", "weights", 4), checkpoint("b:train:0", "sampler_weights", 4)]  # not of one client
    assert checkpoint_recovery.whole_checkpoints(found) == {}
    found += [checkpoint("a:train:0", "weights", 2), checkpoint("a:train:0", "sampler_weights", 2)]
    # Of a name that the loop does not give.
    other = "tinker://a:train:0/weights/last"
    found.append(found[0].model_copy(update={"tinker_path": other}))
    (row,) = checkpoint_recovery.whole_checkpoints(found).values()
    assert (row.step, row.state_path) == (2, "tinker://a:train:0/weights/step-000002")
