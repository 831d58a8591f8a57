"""Whole runs on the fake backend: what they write, and what they do where something is there already."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from backends.facts import BackendFacts
from backends.interface import BackendError
from tests.support.tiny_runs import VALIDATED, read_jsonl, rows, tiny_config, tiny_values, write_jsonl
from text2sql.config import Config
from text2sql.config.yaml import dump_yaml, read_yaml
from text2sql.errors import UserError
from text2sql.pipeline.console_tables import introduce_devices
from text2sql.pipeline.run import run_pipeline
from text2sql.runs.directory import RunDirectory
from text2sql.runs.environment import peak_memory
from text2sql.runs.session import TransientBackendError

PROMISED = {
    "config.yaml",
    "environment.json",
    "metrics.jsonl",
    "checkpoints.jsonl",
    "predictions-base.jsonl",
    "predictions-tuned.jsonl",
    "predictions-novel-base.jsonl",
    "predictions-novel-tuned.jsonl",
    "summary.json",
    "report.html",
    "plots",
}


def test_the_peak_memory_is_the_gpus_where_there_is_one() -> None:
    assert peak_memory(BackendFacts(gpu_peak_memory_bytes=5)) == 5 < 10**6 < peak_memory(BackendFacts())


def test_a_whole_run_writes_every_promised_file_and_learns(tmp_path: Path) -> None:
    directory = run_pipeline(tiny_config(tmp_path, **VALIDATED))
    assert {entry.name for entry in directory.iterdir()} >= PROMISED
    summary = json.loads((directory / "summary.json").read_text())
    head = summary["headline"]
    assert (head["base"]["correct"], head["tuned"]["correct"], head["tuned"]["n"]) == (0, 4, 4)
    assert head["paired"]["wins"] == 4
    assert summary["data"] | {"source": ""} == {
        "source": "",
        "rows": 30,
        "train": 21,
        "validation": 5,
        "test": 4,
        "dropped": {},
        "leaks": {"tables": 4, "questions": 4},
        "split_by": "example",
    }
    assert summary["training"]["steps"] == 3
    assert summary["training"]["final_loss"] < summary["training"]["first_loss"]
    assert len(summary["novel"]) == 5
    assert list((directory / "plots").iterdir())
    tuned = read_jsonl(directory / "predictions-tuned.jsonl")
    assert all(row["verdict"]["status"] == "equivalent" and row["prompt"].endswith("SQL: ") for row in tuned)


def test_training_alone_and_the_baseline_alone_can_be_completed_later(tmp_path: Path, quick: None) -> None:
    config = tiny_config(tmp_path)
    directory = run_pipeline(config, stages=("train",))
    assert not list(directory.glob("predictions-*"))
    assert json.loads((directory / "summary.json").read_text())["headline"]["tuned"] is None
    before = (directory / "metrics.jsonl").read_bytes()
    run_pipeline(config.model_copy(update={"on_existing": "resume"}))
    assert (directory / "metrics.jsonl").read_bytes() == before
    assert json.loads((directory / "summary.json").read_text())["headline"]["tuned"]["correct"] == 4


def test_a_start_that_goes_on_says_where(tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_config(tmp_path, on_existing="resume")
    directory = run_pipeline(config)
    assert "Going on where" not in " ".join(capsys.readouterr().out.split())
    answers = directory / "predictions-tuned.jsonl"
    answers.write_bytes(b"".join(answers.read_bytes().splitlines(keepends=True)[:3]))
    run_pipeline(config)
    said = " ".join(capsys.readouterr().out.split())
    assert "earlier start came to: training at step 4, base model done, tuned model 3 of 4 answered, new" in said


def test_a_run_of_an_older_version_goes_on(tmp_path: Path, quick: None) -> None:
    config = tiny_config(tmp_path, on_existing="resume")
    directory = run_pipeline(config, stages=("train",))
    file = directory / "config.yaml"
    values, newer = (read_yaml(file.read_text()) for _ in range(2))
    del values["evaluation"]["cache"], values["local"]["method"], values["tracking"]  # it did not know these
    file.write_text(dump_yaml(values))
    run_pipeline(config)
    assert json.loads((directory / "summary.json").read_text())["headline"]["tuned"]["correct"] == 4
    file.write_text(dump_yaml(newer | {"seed": 5, "later": 1}))
    with pytest.raises(UserError, match="seed was 5, is 0; later was 1, is null"):
        run_pipeline(config)


def test_seeds_are_asked_the_same_questions_and_an_older_run_keeps_its_own(tmp_path: Path, quick: None) -> None:
    asked = []
    for seed in (0, 3):
        config = tiny_config(tmp_path, seed=seed, output_dir=str(tmp_path / f"seed-{seed}"))
        asked.append([row["id"] for row in read_jsonl(run_pipeline(config) / "predictions-tuned.jsonl")])
    assert asked[0] == asked[1]
    # Of the time when the one seed drew the test set too.
    data = {**tiny_values(tmp_path)["data"], "seed": 3}
    old = tiny_config(tmp_path, seed=3, data=data, on_existing="resume", output_dir=str(tmp_path / "old"))
    directory = run_pipeline(old, stages=("train",))
    values = read_yaml((directory / "config.yaml").read_text())
    del values["data"]["seed"]
    (directory / "config.yaml").write_text(dump_yaml(values))
    run_pipeline(old)
    with pytest.raises(UserError, match=r"data\.seed was 3, is 0"):
        run_pipeline(old.model_copy(update={"data": old.data.model_copy(update={"seed": 0})}))


def test_one_stage_of_a_finished_run_leaves_the_others_in_its_summary(tmp_path: Path, quick: None) -> None:
    config = tiny_config(tmp_path, on_existing="resume")
    file = run_pipeline(config) / "summary.json"
    before = json.loads(file.read_text())
    for stage in ("train", "baseline"):
        run_pipeline(config, stages=(stage,))
        after = json.loads(file.read_text())
        assert after["headline"] == before["headline"] and after["stages"] == before["stages"]


def test_the_report_of_training_alone_can_be_written(tmp_path: Path) -> None:
    directory = run_pipeline(tiny_config(tmp_path), stages=("train",))
    assert "<html" in (directory / "report.html").read_text()


# What is there already


def _contents(directory: Path) -> dict[str, bytes]:
    return {str(f.relative_to(directory)): f.read_bytes() for f in directory.rglob("*") if f.is_file()}


@pytest.mark.parametrize("on_existing", ["ask", "fail"])
def test_a_finished_run_is_not_touched_without_being_told(tmp_path: Path, quick: None, on_existing: Any) -> None:
    directory = run_pipeline(tiny_config(tmp_path))
    before = _contents(directory)
    with pytest.raises(UserError, match=r"finished run.*on_existing=resume, overwrite or new"):
        run_pipeline(tiny_config(tmp_path, on_existing=on_existing))
    assert _contents(directory) == before


def test_overwrite_starts_anew_and_leaves_nothing_of_the_old_run(tmp_path: Path, quick: None) -> None:
    directory = run_pipeline(tiny_config(tmp_path))
    (directory / "leftover").mkdir()
    run_pipeline(tiny_config(tmp_path, on_existing="overwrite", seed=1))
    assert not (directory / "leftover").exists()
    assert "seed: 1" in (directory / "config.yaml").read_text()
    assert len(read_jsonl(directory / "predictions-tuned.jsonl")) == 4


def test_new_takes_the_next_free_directory(tmp_path: Path, quick: None) -> None:
    config = tiny_config(tmp_path, on_existing="new")
    first = run_pipeline(config)
    before = _contents(first)
    assert [run_pipeline(config).name for _ in range(2)] == ["run-2", "run-3"]
    assert _contents(first) == before


def test_another_configuration_is_refused_by_key(tmp_path: Path, quick: None) -> None:
    directory = run_pipeline(tiny_config(tmp_path))
    before = _contents(directory)
    for on_existing in ("resume", "ask"):
        with pytest.raises(UserError, match=re.escape("training.batch_size was 8, is 4")) as refused:
            run_pipeline(tiny_config(tmp_path, on_existing=on_existing, training={"batch_size": 4}))
        # What would be refused again is not advised.
        assert "on_existing=resume" not in str(refused.value)
    assert _contents(directory) == before


def test_what_machine_it_runs_on_and_what_is_watched_may_change(tmp_path: Path, quick: None) -> None:
    directory = run_pipeline(tiny_config(tmp_path), stages=("train",))
    before = (directory / "metrics.jsonl").read_bytes()
    settings: dict[str, Any] = {
        "evaluation": {"workers": 2, "concurrency": 2},
        "local": {"sample_batch_size": 4, "micro_batch_tokens": 99},
        "training": {"checkpoint_every": 1, "log_samples": 0},
        "tracking": {"trackio_project": None},
    }
    assert run_pipeline(tiny_config(tmp_path, **settings)) == directory
    assert (directory / "metrics.jsonl").read_bytes() == before
    assert "sample_batch_size: 4" in (directory / "config.yaml").read_text()
    assert not (directory / "superseded").exists()


def test_evaluations_are_done_again_where_what_is_measured_changes(tmp_path: Path, quick: None) -> None:
    config = tiny_config(tmp_path, evaluation={"few_shot": {"k": 1}})
    directory = run_pipeline(config)
    names = [path.name for path in sorted(directory.glob("predictions-*.jsonl"))]
    files = {name: (directory / name).read_bytes() for name in names}
    metrics = (directory / "metrics.jsonl").read_bytes()
    run_pipeline(tiny_config(tmp_path, on_existing="resume", evaluation={"few_shot": {"k": 2}}))
    assert [path.name for path in (directory / "superseded").iterdir()] == ["predictions-few-shot.jsonl"]
    assert (directory / "predictions-few-shot.jsonl").read_bytes() != files["predictions-few-shot.jsonl"]
    # Bytes, to the fake backend: an answer is cut off after three.
    again = tiny_config(
        tmp_path, on_existing="resume", evaluation={"few_shot": {"k": 2}, "max_new_tokens": 3, "max_unusable_golds": 1}
    )
    run_pipeline(again)
    assert sorted(path.name for path in (directory / "superseded-2").iterdir()) == names
    assert (directory / "superseded-2" / "predictions-tuned.jsonl").read_bytes() == files["predictions-tuned.jsonl"]
    assert {row["tokens"] for row in read_jsonl(directory / "predictions-tuned.jsonl")} == {3}
    assert (directory / "metrics.jsonl").read_bytes() == metrics


def test_what_is_learnt_may_change_until_training_has_begun(tmp_path: Path, quick: None) -> None:
    directory = run_pipeline(tiny_config(tmp_path), stages=("baseline",))
    before = (directory / "predictions-base.jsonl").read_bytes()
    run_pipeline(tiny_config(tmp_path, training={"learning_rate": 0.5}))
    assert (directory / "predictions-base.jsonl").read_bytes() == before
    assert {row["learning_rate"] for row in read_jsonl(directory / "metrics.jsonl")} == {0.5}
    with pytest.raises(UserError, match=r"learning_rate was 0.5, is 0.25\. What it has learnt depends on that"):
        run_pipeline(tiny_config(tmp_path, on_existing="resume", training={"learning_rate": 0.25}))


def test_a_start_that_failed_at_once_does_not_stand_in_the_way(tmp_path: Path, quick: None) -> None:
    with pytest.raises(UserError, match=r"batch_size=99 is larger than the 26 training examples"):
        run_pipeline(tiny_config(tmp_path, training={"batch_size": 99}))
    assert not (tmp_path / "run").exists()
    with pytest.raises(BackendError, match="no such GPU"):
        run_pipeline(tiny_config(tmp_path, backend="local", base_model=str(tmp_path), local={"device": "cuda:99"}))
    run_pipeline(tiny_config(tmp_path))


def test_a_start_that_was_killed_before_its_first_file_does_not_either(tmp_path: Path, quick: None) -> None:
    (tmp_path / "run").mkdir()
    for name in (".lock", ".config.yaml.partial"):
        (tmp_path / "run" / name).touch()
    run_pipeline(tiny_config(tmp_path))


@pytest.mark.parametrize("on_existing", ["ask", "overwrite", "resume", "new"])
def test_a_directory_of_other_files_is_left_alone(tmp_path: Path, on_existing: Any) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("all of it")
    with pytest.raises(UserError, match="has files in it, but no run"):
        run_pipeline(tiny_config(tmp_path, on_existing=on_existing))
    assert [f.name for f in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_run_that_another_process_holds_is_refused(tmp_path: Path, quick: None) -> None:
    directory = run_pipeline(tiny_config(tmp_path))
    holder = RunDirectory(directory)
    holder.lock()
    for on_existing in ("resume", "overwrite"):
        with pytest.raises(UserError, match="in use by another text2sql process"):
            run_pipeline(tiny_config(tmp_path, on_existing=on_existing))
    holder.unlock()
    assert {entry.name for entry in directory.iterdir()} >= PROMISED - {"report.html", "plots"}


def test_a_bundled_run_of_over_long_examples_is_stopped(tmp_path: Path) -> None:
    data = {"limit": 24, "test_size": 10, "max_tokens": 300}  # bytes, to the fake backend
    config = Config(backend="fake", output_dir=str(tmp_path / "run"), data=data, training={"batch_size": 8})
    with pytest.raises(UserError, match=r"longer than 300 tokens.*max_dropped"):
        run_pipeline(config)


def test_training_alone_is_not_a_finished_run(tmp_path: Path) -> None:
    config = Config(**tiny_values(tmp_path))
    run_pipeline(config, stages=("train",))
    metrics = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    run_pipeline(config)  # goes on, without being asked
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == metrics
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["headline"]["paired"] and summary["stages"] == ["baseline", "evaluate", "train"]


def test_going_on_keeps_the_record_of_the_start(tmp_path: Path) -> None:
    config = Config(**tiny_values(tmp_path))
    run_pipeline(config)
    run = tmp_path / "run"
    (run / "environment.json").write_text('{"git": "of the start"}')
    summary = json.loads((run / "summary.json").read_text())
    summary["cost"]["peak_memory_bytes"] = 10**15
    (run / "summary.json").write_text(json.dumps(summary))
    run_pipeline(config.model_copy(update={"on_existing": "resume"}))
    assert json.loads((run / "environment.json").read_text()) == {"git": "of the start"}
    assert json.loads((run / "summary.json").read_text())["cost"]["peak_memory_bytes"] == 10**15


def test_a_database_that_is_not_there_is_dropped_and_counted(tmp_path: Path) -> None:
    values = tiny_values(tmp_path)
    data = write_jsonl(tmp_path / "db.jsonl", [{**row, "db": "nothere.sqlite"} for row in rows(6, spellings=5)])
    with pytest.raises(UserError, match="30 database file not found"):
        run_pipeline(Config(**{**values, "data": {"source": str(data), "test_size": 4}}))


@pytest.mark.parametrize(
    ("on_existing", "error", "said"),
    [
        ("ask", KeyboardInterrupt, "What was finished is kept; the same command goes on from there."),
        ("overwrite", KeyboardInterrupt, "the same command with on_existing=resume goes on from there."),
        ("new", TransientBackendError, "the same command with on_existing=resume goes on from there."),
        ("overwrite", UserError, "To go on, say on_existing=resume: on_existing=overwrite does not."),
        ("resume", UserError, ""),
    ],
)
def test_how_a_run_goes_on_is_said_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_existing: Any, error: type[BaseException], said: str
) -> None:
    def fail(*arguments: Any, **more: Any) -> Any:
        raise error("no more")

    monkeypatch.setattr("text2sql.pipeline.stages.run_stages", fail)
    with pytest.raises(error) as raised:
        run_pipeline(tiny_config(tmp_path, on_existing=on_existing))
    assert said in " ".join(getattr(raised.value, "__notes__", [""]))
    assert bool(said) == bool(getattr(raised.value, "__notes__", []))


@pytest.mark.parametrize(
    ("described", "device", "said"),
    [
        (
            BackendFacts(gpus=4, processes=1),
            "auto",
            "has 4 GPUs, and this run uses 1; `text2sql run CONFIG --processes 4`",
        ),
        (BackendFacts(gpus=4, processes=4), "auto", ""),
        (BackendFacts(gpus=4, processes=1), "cuda:2", ""),
        (BackendFacts(processes=1), "auto", ""),
    ],
)
def test_idle_gpus_are_said(
    described: BackendFacts, device: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    introduce_devices(described, tiny_config(tmp_path, local={"device": device}))
    assert said in (out := " ".join(capsys.readouterr().out.split())) and bool(said) == bool(out)
