"""A run that learns from verdicts begins with another run's model, keeps it, and is compared with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from backends.interface import BackendError
from tests.support.rl_runs import judge_here
from tests.support.tiny_runs import judge_by_words, read_jsonl, rows, write_jsonl
from text2sql.config import Config
from text2sql.errors import UserError
from text2sql.export import ExportOptions, export_run
from text2sql.pipeline.run import run_pipeline
from text2sql.runs.directory import RunDirectory
from text2sql.runs.records import InitialWeightsRecord


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    judge_here(monkeypatch)
    judge_by_words(monkeypatch)


def values(directory: Path, model: str, **sections: Any) -> dict[str, Any]:
    data = directory / "rows.jsonl"
    if not data.exists():
        write_jsonl(data, rows(14))
    found: dict[str, Any] = {
        "name": "verdicts",
        "output_dir": str(directory / "verdicts"),
        "base_model": model,
        "lora": {"rank": 4},
        "data": {"source": str(data), "test_size": 4},
        "training": {"learning_rate": 1e-2, "checkpoint_every": 2},
        "rl": {"method": "policy_gradient", "steps": 2, "questions": 3, "group": 2, "holdout": 0.4, "kl_coef": 0.0},
        "evaluation": {"max_new_tokens": 8, "novel_questions": False, "max_unusable_golds": 1.0},
        "local": {"device": "cpu"},
    }
    for key, value in sections.items():
        found[key] = {**found.get(key, {}), **value} if isinstance(value, dict) else value
    return found


def supervised(directory: Path, model: str, **sections: Any) -> Path:
    found = values(directory, model, name="first", output_dir=str(directory / "first"), **sections)
    training = {"learning_rate": 1e-2, "batch_size": 3, "checkpoint_every": 2}
    rl = {"holdout": found["rl"]["holdout"]}
    return run_pipeline(Config.model_validate(found | {"training": training, "rl": rl}), stages=("train",))


def test_the_start_is_kept_evaluated_and_compared(
    tmp_path: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = supervised(tmp_path, tiny_model)
    config = Config.model_validate(values(tmp_path, tiny_model, training={"start_from": str(first)}))
    # The model that it begins with may be gone after the first step.
    run = run_pipeline(config, stages=("train",))
    shutil.rmtree(first)
    run = run_pipeline(config)
    summary = json.loads((run / "summary.json").read_text())
    head, training = summary["headline"], summary["training"]
    assert set(summary["evaluations"]) == {"base", "start", "tuned"}
    assert head["start"]["n"] == head["paired_start"]["n"] == 4
    (kept,) = (run / "checkpoints").glob("*/sampler_weights/start")
    start = read_jsonl(run / "training_runs.jsonl")[0]["start_from"]
    assert start["sampler_path"].endswith("/sampler_weights/start") and kept.is_dir()
    assert training["verdicts"]["answers"] == 12 and summary["data"]["held_back"] == 6
    out = capsys.readouterr().out
    assert "kept aside (rl.holdout)" in out and "Difference from the start" in out
    page = (run / "report.html").read_text()
    assert "Start model" in page and "Right answers" in page
    card = (export_run(run, ExportOptions()) / "README.md").read_text()
    assert "Learnt from verdicts (policy_gradient): 2 steps of 3 questions with 2 sampled answers each" in card


def test_questions_that_the_start_was_trained_on_are_said_with_their_number(
    tmp_path: Path, tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = {"rl": {"holdout": 0.0}}
    first = supervised(tmp_path, tiny_model, **everything)
    config = values(tmp_path, tiny_model, training={"start_from": str(first)}, **everything)
    run = run_pipeline(Config.model_validate(config), stages=("train",))
    assert "was trained on 10 of the 10 questions" in capsys.readouterr().out
    summary = json.loads((run / "summary.json").read_text())
    assert summary["training"]["verdicts"]["taught"] == 10
    assert any("trained on 10 of the questions" in note for note in summary["notes"])


def test_a_start_whose_run_is_gone_is_not_taken_for_unseen(tmp_path: Path) -> None:
    from text2sql.rl.reference import count_seen_in_training

    gone = InitialWeightsRecord(
        run="x", directory=str(tmp_path / "gone"), checkpoint="tinker://x/weights/y", step=1, data=None
    )
    assert count_seen_in_training(gone, []) is None
    assert count_seen_in_training(InitialWeightsRecord(checkpoint="tinker://x/weights/y"), []) is None


def test_weights_of_another_adapter_are_refused(tmp_path: Path, tiny_model: str) -> None:
    first = supervised(tmp_path, tiny_model)
    config = values(tmp_path, tiny_model, training={"start_from": str(first)}, lora={"rank": 8})
    with pytest.raises(UserError, match=r"lora\.rank is 4 in .* and 8 in this run"):
        run_pipeline(Config.model_validate(config), stages=("train",))
    assert not RunDirectory(tmp_path / "verdicts").rollouts()


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ({"template": "plain"}, r'prompt\.template is "exercise" in .* and "plain" in this run'),
        ({"schema_text": {"sample_rows": 2}}, r"prompt\.schema_text is \{.*\} in .* Set prompt\.schema_text as it is"),
    ],
)
def test_a_start_that_was_asked_otherwise_is_refused(
    tmp_path: Path, tiny_model: str, prompt: dict[str, Any], words: str
) -> None:
    first = supervised(tmp_path, tiny_model)
    config = Config.model_validate(values(tmp_path, tiny_model, training={"start_from": str(first)}, prompt=prompt))
    with pytest.raises(UserError, match=words):
        run_pipeline(config, stages=("train",))
    assert not RunDirectory(tmp_path / "verdicts").rollouts()


def test_a_start_without_its_weights_is_refused(tmp_path: Path, tiny_model: str) -> None:
    first = supervised(tmp_path, tiny_model)
    shutil.rmtree(first / "checkpoints")
    config = Config.model_validate(values(tmp_path, tiny_model, training={"start_from": str(first)}))
    with pytest.raises(BackendError, match=r"no checkpoint"):
        run_pipeline(config, stages=("train",))
    assert not RunDirectory(tmp_path / "verdicts").rollouts()
