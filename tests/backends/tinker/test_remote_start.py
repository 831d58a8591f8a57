"""Training on a server that begins with weights that the server has: of a run, or by their path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_runs import judge_by_words, read_jsonl
from text2sql.config import Config
from text2sql.errors import UserError
from text2sql.pipeline.run import run_pipeline


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    judge_by_words(monkeypatch)
    monkeypatch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")
    monkeypatch.setattr("text2sql.pipeline.adapter_download.download_at_the_end", lambda run: None)


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_jsonl(run / "metrics.jsonl")]


def test_a_remote_run_begins_as_a_local_one_does(remote_config: Callable[..., Config], tmp_path: Path) -> None:
    def train(name: str, start: str | Path | None, **sections: Any) -> Path:
        begin = {"training": {"start_from": start and str(start)}}
        config = remote_config(name=name, output_dir=str(tmp_path / name), **begin, **sections)
        return run_pipeline(config, stages=("train",))

    first, first_here = train("first", None), train("first-here", None, backend="local")
    (checkpoint,) = read_jsonl(first / "checkpoints.jsonl")
    by_run, by_path = train("by-run", first), train("by-path", checkpoint["state_path"])
    here = train("here", first_here, backend="local")
    assert losses(by_run) == losses(by_path) == pytest.approx(losses(here), rel=1e-6)
    assert losses(by_run)[0] < losses(first)[0]
    starts = [read_jsonl(run / "training_runs.jsonl")[0]["start_from"] for run in (by_run, by_path)]
    assert starts[0]["run"] == "first" and starts[0]["checkpoint"] == checkpoint["state_path"]
    assert starts[1] == {"checkpoint": checkpoint["state_path"]}

    with pytest.raises(UserError, match=r"lora\.rank is 4 in tinker://.* and 8 in this run, .*Set lora\.rank=4\."):
        train("other-rank", checkpoint["state_path"], lora={"rank": 8})
    with pytest.raises(UserError, match=r"tinker://gone:train:0/weights/x cannot be had from the server"):
        train("gone", "tinker://gone:train:0/weights/x")
