"""`text2sql evaluate --model` and `--adapter`: whose answers are scored where there is no run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import Outcome
from tests.support.tiny_runs import read_jsonl
from text2sql.cli.model_options import load_to_evaluate
from text2sql.config.yaml import read_yaml


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    directory = tmp_path / "my adapter"
    directory.mkdir()
    (directory / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "me/base"}))
    return directory


def test_a_model_answers_the_questions_of_a_configuration(
    text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path, quick: None
) -> None:
    assert text2sql("evaluate", tiny_file, "--model", "org/any", "evaluation.novel_questions=false").code == 0
    run = tmp_path / "runs" / "evaluate-org-any"
    assert read_yaml((run / "config.yaml").read_text())["base_model"] == "org/any"
    assert len(read_jsonl(run / "predictions-base.jsonl")) == 4


def test_an_adapter_says_what_it_belongs_to_and_the_command_line_goes_before(adapter: Path) -> None:
    config = load_to_evaluate("quickstart", ["training.batch_size=8"], adapter=str(adapter), base=None, model=None)
    assert (config.base_model, config.backend, config.evaluation.adapter) == ("me/base", "local", str(adapter))
    assert not config.evaluation.baseline and config.training.batch_size == 8
    config = load_to_evaluate("backend=fake", ["output_dir=there"], adapter=str(adapter), base="other", model=None)
    assert (config.base_model, config.backend, config.output_dir) == ("other", "fake", "there")
    config = load_to_evaluate("quickstart", ["name=mine"], adapter=str(adapter), base=None, model=None)
    assert str(config.directory) == "runs/mine"
    there = "tinker://run:train:0/sampler_weights/step"
    config = load_to_evaluate("qwen3.5-4b", [], adapter=there, base=None, model=None)
    assert (config.backend, config.evaluation.adapter) == ("tinker", there)
    assert config.trained_model == load_to_evaluate("qwen3.5-4b", [], adapter=there, base=None, model=None).base_model


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "a", "--adapter", "b"], "--model is a whole model"),
        (["--base", "a"], "--base is the base model of an --adapter"),
        (["predictions.jsonl", "--model", "a"], "goes with a configuration or a run, not with predictions"),
        (["--adapter", "empty"], "holds no adapter"),
        (["--adapter", "my adapter", "backend=tinker"], "is no tinker:// path"),
        (["--adapter", "tinker://a/sampler_weights/b", "backend=local"], "is on a server"),
        (["--adapter", "tinker://a"], "is no path; they look like tinker://RUN/sampler_weights/NAME"),
        (["run", "--adapter", "my adapter", "--base", "a"], "--adapter goes with a run's directory, and with nothing"),
    ],
)
def test_what_does_not_go_together_is_one_message(
    text2sql: Callable[..., Outcome], adapter: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    for name in ("empty", "run"):
        (tmp_path / name).mkdir()
    assert said in text2sql("evaluate", *arguments).line


def test_an_adapter_is_not_trained(text2sql: Callable[..., Outcome], tiny_file: Path, adapter: Path) -> None:
    said = text2sql("train", tiny_file, f"evaluation.adapter={adapter}").line
    assert "evaluation.adapter is evaluated, not trained" in said
