"""Several seeds and settings: which runs these are, what a failure costs, and what the table says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.interface import BackendError
from tests.support.synthetic import make_run, predictions, write_rows
from tests.support.tiny_runs import judge_by_words, tiny_values
from text2sql.config import Config, load_config
from text2sql.config.yaml import dump_yaml
from text2sql.errors import UserError
from text2sql.pipeline.run import run_pipeline
from text2sql.sweep.plan import PlannedRun, plan_sweep
from text2sql.sweep.run import run_sweep
from text2sql.sweep.table import gather


@pytest.fixture
def tiny_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A configuration of a run that takes no time, judged by its words."""
    judge_by_words(monkeypatch)
    monkeypatch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")
    path = tmp_path / "tiny.yaml"
    path.write_text(dump_yaml(tiny_values(tmp_path)))
    return str(path)


def test_every_combination_is_a_run_and_the_test_set_is_one(tiny_file: str, tmp_path: Path) -> None:
    runs = plan_sweep(tiny_file, ["training.batch_size=4,8", "seed=0,1,2", "training.epochs=2"])
    assert [run.label for run in runs][:2] == ["training.batch_size=4 seed=0", "training.batch_size=4 seed=1"]
    assert len(runs) == 6 and {run.config.training.epochs for run in runs} == {2}
    assert {run.config.seed for run in runs} == {0, 1, 2} and {run.config.data.seed for run in runs} == {0}
    places = {run.config.directory for run in runs}
    assert len(places) == 6 and {place.parent for place in places} == {tmp_path / "run-sweep"}
    assert not any("=" in str(place) for place in places)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=1"], "No key has several values"),
        (["seed=1,1"], "given a value twice"),
        (["seed=0,1", "seed=2,3"], "seed is varied twice"),
        (["name=a,b"], "names its runs itself"),
        (["sed=0,1"], 'Did you mean "seed"'),
        (["seed=0,x"], "seed"),
        (["evaluation.stop=[a,b]"], "No key has several values"),
    ],
)
def test_what_is_no_sweep_is_refused_in_words(tiny_file: str, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan_sweep(tiny_file, overrides)


@given(st.lists(st.sampled_from(["1", "[1, 2]", "{a: 1, b: 2}", "'a,b'", "1e-3", "x y"]), min_size=2, unique=True))
def test_commas_in_brackets_and_quotes_belong_to_the_value(values: list[str]) -> None:
    from text2sql.sweep.plan import _split_values

    assert _split_values(",".join(values)) == values


def test_a_sweep_runs_resumes_and_says_what_came_of_it(
    tiny_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails_on_seed_1(config: Config) -> Path:
        if config.seed == 1:
            raise BackendError("the device caught fire")
        return run_pipeline(config)

    monkeypatch.setattr("text2sql.sweep.run.run_pipeline", fails_on_seed_1)
    runs = plan_sweep(tiny_file, ["seed=0,1,2"])
    with pytest.raises(UserError, match=r"1 of 3 runs failed: seed=1: .*caught fire.*same command"):
        run_sweep(runs)
    monkeypatch.setattr("text2sql.sweep.run.run_pipeline", run_pipeline)
    capsys.readouterr()
    table = run_sweep(plan_sweep(tiny_file, ["seed=0,1,2"]))
    out = capsys.readouterr().out
    assert out.count("Finished already") == 2 and "100.0%" in out
    (result,) = json.loads(table.read_text())
    assert result["seeds"] == ["0", "1", "2"] and result["mean"] == 1.0 and result["deviation"] == 0.0
    assert result["against_base"]["difference"] == 1.0 and result["against_base"]["seeds"] == 3


def test_what_stops_the_first_run_at_once_stops_the_sweep(tiny_file: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="test_size"):
        run_sweep(plan_sweep(tiny_file, ["seed=0,1", "data.test_size=500"]))
    assert not (tmp_path / "run-sweep" / "seed-1").exists()


def _planned(directory: Path, setting: str, seed: int, right: list[bool]) -> PlannedRun:
    place = directory / f"{setting}-{seed}"
    make_run(place, n=len(right), steps=12)
    write_rows(place / "predictions-tuned.jsonl", predictions("tuned", right))
    config = load_config(None, [f"output_dir={place}", f"seed={seed}"])
    return PlannedRun({"lora.rank": setting, "seed": str(seed)}, config)


def test_settings_are_compared_on_the_seeds_that_both_have(tmp_path: Path) -> None:
    half, most = [True, False] * 20, [True, True, True, False] * 10
    runs = [_planned(tmp_path, "4", seed, half) for seed in (0, 1)]
    runs += [_planned(tmp_path, "8", seed, most) for seed in (1, 2)]
    first, second = gather(runs)
    assert (first.setting, first.mean, first.against_first) == ("lora.rank=4", 0.5, None)
    assert second.mean == 0.75 and second.against_first is not None
    assert second.against_first.seeds == 1 and second.against_first.difference == 0.25
    assert second.against_base is not None and second.against_base.seeds == 2
