"""Runs that learn from verdicts, with the fake backend: what is learnt, written, resumed, and said."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from tinker import types

from backends.capabilities import BACKENDS
from backends.fake import FakeSamplingClient, FakeTrainingClient
from tests.support.rl_runs import fake_config, judge_here, training_alone
from tests.support.tiny_runs import read_jsonl
from text2sql.config import Config
from text2sql.errors import UserError
from text2sql.pipeline.run import run_pipeline
from text2sql.report.page import write_report
from text2sql.rl.verdict_steps import VerdictSteps
from text2sql.runs.budget import BudgetReached, TokenBudget, TokenCount
from text2sql.runs.directory import RunDirectory
from text2sql.runs.rollouts import GradedGroup, RlStepMetrics, SampledGroup

TIMES = {"seconds", "tokens_per_second", "sampling_seconds", "judging_seconds", "training_seconds"}


@pytest.fixture(autouse=True)
def verdicts_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    judge_here(monkeypatch)
    training_alone(monkeypatch)


def steps(run: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in read_jsonl(run / "metrics.jsonl")]


def test_what_is_paid_best_is_learnt(tmp_path: Path) -> None:
    """From 12 questions, of which 4 are tests: after enough steps the greedy answer to each trained one is right."""
    config = fake_config(tmp_path, rl={"steps": 8, "questions": 8, "group": 12})
    run = RunDirectory(run_pipeline(config, stages=("train",)))
    rows = [row for row in run.metrics() if isinstance(row, RlStepMetrics)]
    assert [row.step for row in rows] == [*range(1, 9)]
    assert rows[-1].equivalent > rows[0].equivalent and rows[-1].pass_at_group == 1
    sampled = [row for row in run.rollouts() if isinstance(row, SampledGroup)]
    graded = [row for row in run.rollouts() if isinstance(row, GradedGroup)]
    assert len(sampled) == len(graded) == 8 * 8 and all(len(row.answers) == 12 for row in sampled)
    # The questions of a step differ, and each epoch asks all of them.
    assert len({row.id for row in sampled if row.step == 0}) == 8
    assert len({(row.step, row.index): row.seed for row in sampled}) == len({row.seed for row in sampled})
    outcomes = {answer.outcome for row in graded for answer in row.answers}
    assert outcomes == {"equivalent", "runs", "error", "refused"}


def test_shares_and_counts_of_a_step_are_those_of_its_rollouts(tmp_path: Path) -> None:
    run = RunDirectory(run_pipeline(fake_config(tmp_path, rl={"kl_coef": 0.0}), stages=("train",)))
    first = run.metrics()[0]
    assert isinstance(first, RlStepMetrics)
    groups = [row.answers for row in run.rollouts() if isinstance(row, GradedGroup) and row.step == 0]
    answers = [answer for group in groups for answer in group]
    right = [[answer.outcome == "equivalent" for answer in group] for group in groups]
    assert first.examples == len(answers) == 16
    assert first.reward == pytest.approx(sum(answer.reward or 0 for answer in answers) / 16)
    assert first.equivalent == first.pass_at_1 == sum(map(sum, right)) / 16
    assert first.refused == sum(answer.outcome == "refused" for answer in answers) / 16
    assert (
        first.frac_mixed + first.frac_all_good + first.frac_all_bad == 1
        and first.pass_at_group == sum(map(any, right)) / 4
    )
    assert first.distinct == sum(len({answer.sql for answer in group}) for group in groups) / 4
    # The fake start model guesses among 256 bytes; the sampler among 4 answers, once an answer.
    assert first.kl_start is not None and 5 < first.kl_start < 6


@pytest.mark.parametrize(
    ("rl", "stopped"),
    [
        *(({}, stopped) for stopped in range(3)),
        *(({"max_steps_off_policy": most}, stopped) for most in (1, 2) for stopped in range(3)),
        ({"method": "rft", "rft": {"rounds": 1.5}}, 1),
        ({"method": "dpo"}, 1),
        ({"method": "distill", "distill": {"teacher": "any"}}, 1),
    ],
)
def test_a_run_that_goes_on_samples_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rl: dict[str, Any], stopped: int
) -> None:
    """Interrupted after the rollouts of a step are on the disk, and before its gradient."""
    straight = run_pipeline(fake_config(tmp_path, rl=rl), stages=("train",))
    config = fake_config(tmp_path, rl=rl, output_dir=str(tmp_path / "interrupted"))
    asked: list[int | None] = []
    sample, collect = FakeSamplingClient.sample, VerdictSteps.collect

    def counted(self: Any, prompt: Any, count: int, params: types.SamplingParams, *others: Any, **named: Any) -> Any:
        asked.append(params.seed)
        return sample(self, prompt, count, params, *others, **named)

    def interrupted(self: Any, submitted: Any, since: float) -> Any:
        if submitted.step == stopped:
            # What is being sampled ahead at that moment is on no disk yet, and would rightly be sampled again.
            self.settle()
            raise KeyboardInterrupt
        return collect(self, submitted, since)

    monkeypatch.setattr(FakeSamplingClient, "sample", counted)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(VerdictSteps, "collect", interrupted)
        run_pipeline(config, stages=("train",))
    run = run_pipeline(config, stages=("train",))
    assert steps(run) == steps(straight)
    assert len(asked) == len(set(asked)) == 3 * 4
    # Steps ahead are written when they are there.
    journals = [sorted(map(json.dumps, read_jsonl(own / "rollouts.jsonl"))) for own in (run, straight)]
    assert journals[0] == journals[1]


def test_rollouts_are_on_the_disk_before_the_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = fake_config(tmp_path)
    seen = []
    compute = FakeTrainingClient.forward_backward

    def forward_backward(self: Any, data: Any, loss_fn: str, loss_fn_config: Any = None) -> Any:
        rows = RunDirectory(config.directory).rollouts()
        step = max(row.step for row in rows)
        kinds = [type(row) for row in rows if row.step == step]
        seen.append((loss_fn, kinds.count(SampledGroup), kinds.count(GradedGroup)))
        return compute(self, data, loss_fn, loss_fn_config)

    monkeypatch.setattr(FakeTrainingClient, "forward_backward", forward_backward)
    run_pipeline(config, stages=("train",))
    assert seen == [("importance_sampling", 4, 4)] * 3


@pytest.mark.parametrize("rl", [{}, {"max_steps_off_policy": 1}])
@pytest.mark.parametrize("allowed", [2, 6, 11])
def test_a_budget_that_ends_in_the_middle_of_a_step_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rl: dict[str, Any], allowed: int
) -> None:
    """The group that could cost too much is not asked for; those under way are paid for, and kept."""
    # As what charges does: each group is written when it is there.
    known = BACKENDS["fake"]
    alone = dataclasses.replace(known.capabilities, batches_sampling=False)
    monkeypatch.setitem(BACKENDS, "fake", dataclasses.replace(known, capabilities=alone))
    straight = run_pipeline(fake_config(tmp_path, rl=rl), stages=("train",))
    config = fake_config(tmp_path, rl=rl, output_dir=str(tmp_path / "limited"))
    asked: list[int | None] = []
    sample = FakeSamplingClient.sample

    def counted(self: Any, prompt: Any, count: int, params: types.SamplingParams, *others: Any, **named: Any) -> Any:
        asked.append(params.seed)
        return sample(self, prompt, count, params, *others, **named)

    reserve = TokenBudget.reserve

    def limited(self: TokenBudget, most: TokenCount) -> TokenCount:
        if most.sample and len(asked) == allowed:
            raise BudgetReached("tinker.max_cost")
        return reserve(self, most)

    monkeypatch.setattr(FakeSamplingClient, "sample", counted)
    with monkeypatch.context() as patch, pytest.raises(BudgetReached):
        patch.setattr(TokenBudget, "reserve", limited)
        run_pipeline(config, stages=("train",))
    sampled = [row for row in RunDirectory(config.directory).rollouts() if isinstance(row, SampledGroup)]
    assert len(sampled) == len(asked) == allowed
    run = run_pipeline(config, stages=("train",))
    assert len(asked) == len(set(asked)) == 3 * 4
    # What was not sampled ahead comes from newer weights then.
    assert rl or steps(run) == steps(straight)


def test_a_line_of_the_journal_that_was_cut_is_made_again(tmp_path: Path) -> None:
    straight = run_pipeline(fake_config(tmp_path), stages=("train",))
    whole = (straight / "rollouts.jsonl").read_text()
    config = fake_config(tmp_path, output_dir=str(tmp_path / "cut"))
    run = run_pipeline(config, stages=("train",))
    # As if it had been killed before the first checkpoint, while it wrote the third question's rewards.
    for name in ("metrics.jsonl", "checkpoints.jsonl", "summary.json", "training_runs.jsonl"):
        (run / name).unlink()
    lines = whole.splitlines(keepends=True)
    (run / "rollouts.jsonl").write_text("".join(lines[:6]) + lines[6][:40])
    assert steps(run_pipeline(config, stages=("train",))) == steps(straight)


def test_where_all_are_paid_alike_the_run_stops_and_says_what_to_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alike = {"equivalent": 0.0, "runs": 0.0, "error": 0.0, "refused": 0.0}
    config = fake_config(tmp_path, rl={"steps": 9, "patience": 2, "reward": alike})
    run = run_pipeline(config, stages=("train",))
    summary = json.loads((run / "summary.json").read_text())
    assert summary["training"]["steps"] == 2
    assert "paid alike" in summary["training"]["stopped_early"] and "rl.group" in summary["training"]["stopped_early"]
    assert [row["dropped"] for row in steps(run)] == [1, 1]
    assert "Training stopped early" in write_report(run).read_text()


def test_the_report_shows_groups_and_what_they_were_paid(tmp_path: Path) -> None:
    run = run_pipeline(fake_config(tmp_path, rl={"steps": 4}), stages=("train",))
    page = write_report(run).read_text()
    assert "Groups of answers that were learnt from" in page
    assert "Paid 1: equivalent" in page and "Paid -0.1: refused" in page and "Any right" in page
    summary = json.loads((run / "summary.json").read_text())["training"]["verdicts"]
    rows = steps(run)
    assert summary["answers"] == 4 * 16 and summary["first_reward"] == pytest.approx(
        sum(row["reward"] for row in rows) / 4
    )


def test_the_estimate_counts_what_is_sampled(tmp_path: Path) -> None:
    from text2sql.data.dataset import load_dataset
    from text2sql.estimate.forecast import forecast_questions, forecast_tokens, measure_lengths

    config = fake_config(tmp_path, rl={"steps": 6, "kl_coef": 0.1})
    dataset = load_dataset(config)
    train = measure_lengths(dataset.split.train, None, config)
    work = forecast_tokens(config, train, measure_lengths([], None, config), forecast_questions(config, dataset, None))
    mean = train.prompts.mean(), train.completions.mean()
    assert work.steps == 6 and work.questions == 6 * 4 * 4 + 4
    assert work.trained == pytest.approx(6 * 16 * sum(mean), abs=2)
    assert work.prefilled == pytest.approx(6 * 4 * mean[0] + 6 * 16 * sum(mean) + 4 * mean[0], rel=0.02)


def test_the_estimate_of_other_methods_counts_what_they_learn_from_and_ask(tmp_path: Path) -> None:
    from text2sql.data.dataset import load_dataset
    from text2sql.estimate.forecast import forecast_questions, forecast_tokens, measure_lengths

    works = {}
    for method, own in {"rft": {"rft": {"rounds": 3, "kept": 1}}, "dpo": {"steps": 6, "dpo": {"pairs": 1}}}.items():
        config = fake_config(tmp_path, rl={"method": method, **own})
        dataset = load_dataset(config)
        train = measure_lengths(dataset.split.train, None, config)
        works[method] = forecast_tokens(
            config, train, measure_lengths([], None, config), forecast_questions(config, dataset, None)
        )
    # Three passes through 8 questions are 6 steps of 4; of 4 answers one is learnt from, or a pair.
    assert works["rft"].steps == works["dpo"].steps == 6
    assert works["dpo"].trained == pytest.approx(2 * works["rft"].trained, abs=2)
    assert works["dpo"].prefilled > works["rft"].prefilled


def test_a_sampler_without_log_probabilities_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = FakeSamplingClient.sample

    def without(self: Any, *arguments: Any) -> Any:
        response = sample(self, *arguments).result()
        bare = [
            types.SampledSequence(stop_reason=s.stop_reason, sequence_id=s.sequence_id, tokens_np=s.tokens_np)
            for s in response.sequences
        ]
        from backends.fake import _done

        return _done(types.SampleResponse(sequences=bare))

    monkeypatch.setattr(FakeSamplingClient, "sample", without)
    with pytest.raises(UserError, match=r"gave no log-probability of each token where it answers"):
        run_pipeline(fake_config(tmp_path), stages=("train",))


def test_a_failing_reward_function_loses_no_rollout(tmp_path: Path) -> None:
    function = "tests.support.rl_runs:raises"
    with pytest.raises(UserError, match=r"ZeroDivisionError.*the same command goes on there"):
        run_pipeline(fake_config(tmp_path, rl={"reward": {"function": function}}), stages=("train",))
    rows = RunDirectory(tmp_path / "run").rollouts()
    assert [type(row) for row in rows] == [SampledGroup] * 4
    dropped = {"function": function, "on_failure": "drop"}
    config = fake_config(tmp_path, output_dir=str(tmp_path / "dropped"), rl={"reward": dropped})
    assert steps(run_pipeline(config, stages=("train",)))[0]["failed"] > 0


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"rl": {"group": 1}}, r"group"),
        ({"training": {"batch_size": 8}}, r"training\.batch_size is about gold answers.*rl\.questions"),
        ({"training": {"learning_rate": "auto"}}, r"learning_rate=auto is a rule for gold answers"),
        ({"rl": {"cold_start": False}}, r"needs training\.start_from"),
        ({"rl": {"substeps": 2}}, r"set loss to ppo or cispo"),
        ({"rl": {"loss_config": {"beta": 1}}}, r"importance_sampling takes no settings"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, sections: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fake_config(tmp_path, **sections)


def test_supervised_runs_leave_the_holdout_alone(tmp_path: Path) -> None:
    """The two sides of `rl.holdout` are disjoint, and together all training examples."""
    from text2sql.data.dataset import load_dataset

    values = {"holdout": 0.5, "method": None, "cold_start": False}
    supervised = load_dataset(fake_config(tmp_path, rl=values, training={"batch_size": 2}))
    verdicts = load_dataset(fake_config(tmp_path, rl={"holdout": 0.5}))
    both = [{example.id for example in dataset.split.train} for dataset in (supervised, verdicts)]
    assert not both[0] & both[1] and len(both[0] | both[1]) == 8
    assert supervised.held_back == verdicts.held_back == 4 and "kept aside (rl.holdout)" in supervised.counts()
    assert {e.id for e in load_dataset(fake_config(tmp_path)).split.train} == both[0] | both[1]


def test_several_substeps_learn_from_all_answers(tmp_path: Path) -> None:
    config = fake_config(tmp_path, rl={"substeps": 2, "loss": "ppo", "loss_config": {"clip_high_threshold": 1.28}})
    run = run_pipeline(config, stages=("train",))
    assert len(steps(run)) == 3


def test_another_configuration_is_refused_once_answers_are_sampled(tmp_path: Path) -> None:
    config = fake_config(tmp_path, rl={"reward": {"function": "tests.support.rl_runs:raises"}})
    with pytest.raises(UserError):
        run_pipeline(config, stages=("train",))
    changed = config.model_copy(update={"rl": config.rl.model_copy(update={"temperature": 0.5})})
    assert isinstance(changed, Config)
    with pytest.raises(UserError, match=r"rl\.temperature was 1\.0, is 0\.5"):
        run_pipeline(changed.model_copy(update={"on_existing": "resume"}), stages=("train",))
