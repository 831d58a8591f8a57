"""Training that begins with another run's weights: the numbers, what is refused, what is recorded, a kill between."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tinker import types

from backends import open_backend
from tests.support.tiny_runs import judge_by_words, read_jsonl, rows, tiny_config, write_jsonl
from text2sql.config import Config
from text2sql.data.dataset import load_dataset, tokenize_split
from text2sql.data.datum import make_batch
from text2sql.errors import UserError
from text2sql.export import ExportOptions, export_run
from text2sql.pipeline.run import run_pipeline
from text2sql.runs.directory import RunDirectory
from text2sql.runs.records import StepMetrics
from text2sql.training.batches import epoch_order
from text2sql.training.supervised import SubmittedBatch, SupervisedSteps

FULL = {"method": "full", "device": "cpu"}
Made = Callable[..., Path]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    judge_by_words(monkeypatch)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Made:
    """Trains a first run, once for each section `local`; returns its directory."""
    made: dict[str, Path] = {}

    def train(local: dict[str, Any] | None = None) -> Path:
        key = json.dumps(local)
        if key not in made:
            directory = tmp_path_factory.mktemp("first")
            config = second(directory, tiny_model, None, name="first", local=local or {})
            made[key] = run_pipeline(config, stages=("train",))
        return made[key]

    return train


def second(directory: Path, model: str, start: Path | str | None, **sections: Any) -> Config:
    """A run on its own rows that begins with the weights of `start`."""
    data = directory / "other.jsonl"
    if not data.exists():
        write_jsonl(data, rows(8, spellings=3))
    local = {"device": "cpu"} | sections.pop("local", {})
    training = {"learning_rate": 2e-2, "checkpoint_every": 2, "start_from": start and str(start), "batch_size": 5}
    evaluation = {"novel_questions": False, "max_new_tokens": 6, "max_unusable_golds": 1}
    return tiny_config(
        directory,
        **{
            "backend": "local",
            "base_model": model,
            "data": {"source": str(data)},
            **sections,
            "lora": {} if local.get("method") == "full" else {"rank": 4} | sections.get("lora", {}),
            "local": local,
            "training": training | sections.get("training", {}),
            "evaluation": evaluation | sections.get("evaluation", {}),
        },
    )


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_jsonl(run / "metrics.jsonl")]


def by_hand(config: Config, run: Path, directory: Path) -> list[float]:
    """The losses of the same steps with `load_state` on a new client, its checkpoint where the first run left it."""
    (checkpoint,) = RunDirectory(run).checkpoints()
    shutil.copytree(run / "checkpoints", directory)
    service = open_backend("local", config.local, checkpoints=directory)
    try:
        client = service.create_lora_training_client(
            config.base_model, rank=config.lora.rank, seed=config.seed
        ).result()
        client.load_state(checkpoint.state_path).result()
        _, tokens, _ = tokenize_split(load_dataset(config), client.get_tokenizer(), config, None)
        order, size = epoch_order(config.seed, 0, len(tokens)), config.training.batch_size
        found = []
        for place in range(0, len(order), size):
            batch = make_batch([tokens[i] for i in order[place : place + size]])
            found.append(client.forward_backward(batch, "cross_entropy").result().metrics["loss:sum"])
            rate = float(config.training.learning_rate)
            client.optim_step(types.AdamParams(learning_rate=rate, beta2=0.95, eps=1e-12)).result()
        return found
    finally:
        service.close()


@pytest.mark.parametrize(
    ("local", "new"),
    [({}, {}), ({}, {"lora_dropout": 0.3}), (FULL, FULL)],
    ids=["adapter", "adapter, dropout of the second alone", "every weight"],
)
def test_the_steps_are_those_of_load_state_by_hand(
    local: dict[str, Any], new: dict[str, Any], first: Made, tiny_model: str, tmp_path: Path
) -> None:
    config = second(tmp_path, tiny_model, first(local), seed=3, local=new)
    run = run_pipeline(config, stages=("train",))
    assert losses(run) == by_hand(config, first(local), tmp_path / "by-hand")
    fresh = second(tmp_path, tiny_model, None, seed=3, local=new, name="fresh", output_dir=str(tmp_path / "fresh"))
    assert losses(run)[0] < losses(run_pipeline(fresh, stages=("train",)))[0]
    kept = {path.parent.parent.name for path in (run / "checkpoints").glob("*/*/*")}
    (client,) = read_jsonl(run / "training_runs.jsonl")
    assert kept == {client["training_run"].replace(":", "-")}  # nothing is left of what was taken over


def test_the_baseline_is_the_untuned_model_and_everything_says_where_training_began(
    first: Made, tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = first()
    config = second(tmp_path, tiny_model, directory)
    run = run_pipeline(config)
    said = " ".join(capsys.readouterr().out.split())
    assert "Training begins with the weights of first, step 4." in said
    plain = second(tmp_path, tiny_model, None, output_dir=str(tmp_path / "plain"))
    base = [row["raw"] for row in read_jsonl(run_pipeline(plain, stages=("baseline",)) / "predictions-base.jsonl")]
    assert [row["raw"] for row in read_jsonl(run / "predictions-base.jsonl")] == base
    summary = json.loads((run / "summary.json").read_text())
    (checkpoint,) = RunDirectory(directory).checkpoints()
    data = str(directory.parent / "other.jsonl")
    assert summary["training"]["start_from"] == {
        "run": "first",
        "directory": str(directory),
        "checkpoint": checkpoint.state_path,
        "step": checkpoint.step,
        "data": [data],
    }
    assert any("untuned" in note and "first, step 4" in note for note in summary["notes"])
    weights = summary["training"]["weights"]
    assert weights["adapted_modules"] and 0 < weights["trained_percent"] < 100
    trained = f"{weights['trained_parameters']:,} parameters ({weights['trained_percent']:.3g} % of all), in "
    page = (run / "report.html").read_text()
    assert f"Trained: {trained}" in said and trained in page
    assert "Begun with the weights of" in page and "untuned" in page
    card = (export_run(run, ExportOptions()) / "README.md").read_text()
    assert f"Training began with the weights of `first, step 4`, trained before on {data}" in card
    assert card.count(f"- Data {data}: unknown") == 1

    third = run_pipeline(second(tmp_path, tiny_model, run, output_dir=str(tmp_path / "third")), stages=("train",))
    chain = json.loads((third / "summary.json").read_text())["training"]["start_from"]
    assert chain["data"] == [data, str(tmp_path / "other.jsonl")]


def test_a_run_that_was_killed_goes_on_from_its_own_checkpoint_without_the_first_run(
    first: Made, tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(shutil.copytree(first(), tmp_path / "source"))
    straight = run_pipeline(second(tmp_path, tiny_model, source), stages=("train",))
    collect = SupervisedSteps.collect

    def killed(steps: SupervisedSteps, submitted: SubmittedBatch, since: float) -> StepMetrics:
        if submitted.step == 2:
            raise KeyboardInterrupt
        return collect(steps, submitted, since)

    config = second(tmp_path, tiny_model, source, output_dir=str(tmp_path / "killed"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SupervisedSteps, "collect", killed)
        run_pipeline(config, stages=("train",))
    shutil.rmtree(source)
    resumed = run_pipeline(config, stages=("train",))
    assert losses(resumed) == losses(straight) and len(losses(straight)) == 4
    begun = json.loads((resumed / "summary.json").read_text())["training"]["start_from"]
    assert begun["run"] == "first" and begun["directory"] == str(source)
    assert [("start_from" in row) for row in read_jsonl(resumed / "training_runs.jsonl")] == [True, False]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"lora": {"rank": 8}}, r"lora\.rank is 4 in .* and 8 in this run"),
        ({"lora": {"train_unembed": False}}, r"lora\.train_unembed is true in .* and false in this run"),
        ({"local": {"lora_alpha": 16}}, r"local\.lora_alpha is 32\.0 in .* and 16\.0 in this run"),
        ({"local": FULL}, r'local\.method is "lora" in .* and "full" in this run.*export .* --format merged'),
        ({"base_model": "smollm2-135m-instruct"}, r'base_model is ".*" in .* and "smollm2-135m-instruct" in this run'),
        ({"backend": "tinker", "tinker": {"base_model": "tiny"}}, r"backend=local, and this run has tinker"),
        ({"backend": "fake"}, r"the fake backend has no weights"),
    ],
)
def test_weights_that_do_not_fit_are_refused_with_both_values(
    changed: dict[str, Any], words: str, first: Made, tiny_model: str, tmp_path: Path
) -> None:
    sections = {"base_model": tiny_model, **changed}
    config = second(tmp_path, sections.pop("base_model"), first(), **sections)
    with pytest.raises(UserError, match=rf"training\.start_from: .*{words}"):
        run_pipeline(config, stages=("train",))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "sections", "words"),
    [
        ("nowhere", {}, "There is no run in nowhere"),
        ("tinker://a:train:0/weights/b", {}, "with backend=local give the directory of a run"),
        ("tinker://a", {"backend": "tinker"}, "tinker://RUN/weights/NAME"),
        ("tinker://a:train:0/sampler_weights/b", {"backend": "tinker"}, "sampled from, not trained"),
    ],
)
def test_what_is_no_run_and_no_checkpoint_is_refused(
    given: str, sections: dict[str, Any], words: str, tiny_model: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        run_pipeline(second(tmp_path, tiny_model, given, **sections), stages=("train",))


def test_an_unfinished_run_is_refused(first: Made, tiny_model: str, tmp_path: Path) -> None:
    source = Path(shutil.copytree(first(), tmp_path / "source"))
    (source / "summary.json").unlink()
    with pytest.raises(UserError, match="has not finished"):
        run_pipeline(second(tmp_path, tiny_model, source), stages=("train",))


def test_a_wrong_start_does_not_cost_the_run_that_was_to_be_overwritten(
    first: Made, tiny_model: str, tmp_path: Path
) -> None:
    old = Path(shutil.copytree(first(), tmp_path / "run"))
    before = sorted(path.name for path in old.rglob("*"))
    with pytest.raises(UserError, match="There is no run"):
        run_pipeline(second(tmp_path, tiny_model, tmp_path / "typo", on_existing="overwrite"))
    with pytest.raises(ValueError, match="is this run's own directory"):
        second(tmp_path, tiny_model, old, on_existing="overwrite")
    assert sorted(path.name for path in old.rglob("*")) == before
