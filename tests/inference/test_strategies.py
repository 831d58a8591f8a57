"""Strategies: solved examples in the prompt, votes by execution, second tries; and that they leak nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tinker import types

from backends.byte_tokenizer import ByteTokenizer
from backends.fake import FakeSamplingClient, FakeServiceClient
from backends.options import FakeOptions
from tests.support import archives
from tests.support.tiny_runs import read_jsonl, tiny_config
from text2sql.compare.entries import load_entries
from text2sql.config import Config, EvaluationConfig, FewShot, Retry, SelfConsistency
from text2sql.data.example import Example
from text2sql.data.few_shot import choose_few_shot
from text2sql.data.prompts import PromptFormat
from text2sql.engines.sandbox.engine import close_engine
from text2sql.errors import UserError
from text2sql.evaluation.match_options import match_options
from text2sql.inference import strategies
from text2sql.inference.generate import Generation, GenerationRequest
from text2sql.inference.plan import Evaluation, known_evaluations, other_strategies, plan_run
from text2sql.inference.predict import predict
from text2sql.inference.strategies import ExecutionRetry, Greedy, PassAtK, Strategy, execution_error
from text2sql.pipeline.run import run_pipeline
from text2sql.runs.budget import TokenBudget
from text2sql.runs.claim import claim_run
from text2sql.runs.directory import RunDirectory, load_run_config
from text2sql.runs.records import Prediction
from text2sql.runs.session import RunSession

CONFIG = Config()
SCHEMA = "CREATE TABLE berth (berth_id INTEGER, quay TEXT, depth REAL)"
ASKED = Example("q", "How many berths?", SCHEMA, "SELECT COUNT(*) FROM berth")


def _wrote(*texts: str) -> list[Generation]:
    return [Generation("prompt", f"{text}\n\n", text, "stop", 10, 100) for text in texts]


def _never(request: GenerationRequest) -> list[list[Generation]]:
    raise AssertionError("nothing is to be asked again")


# Solved examples


def _trained(*questions: str) -> list[Example]:
    return [Example(f"t{i}", q, SCHEMA, f"SELECT {i}") for i, q in enumerate(questions)]


def _choose(train: Sequence[Example], longest: int | None = None, **options: Any) -> list[Example]:
    chosen = choose_few_shot([ASKED], train, FewShot(**options), 0, ByteTokenizer(), PromptFormat("plain"), longest)
    return chosen["q"]


def test_the_most_similar_question_stands_last() -> None:
    train = _trained(
        "Which quay is deep?", "How many berths are there at the north quay?", "List all cars", "How many cars?"
    )
    assert [e.question for e in _choose(train, k=2)] == [
        "How many cars?",
        "How many berths are there at the north quay?",
    ]


@pytest.mark.parametrize("select", ["bm25", "random"])
def test_the_question_itself_is_never_shown(select: str) -> None:
    train = _trained("how many  BERTHS?", "How many berths?", "How many boats?", "How many boats?", "How many quays?")
    questions = [e.question for e in _choose(train, k=3, select=select)]
    # No question is shown twice.
    assert sorted(questions) == ["How many boats?", "How many quays?"]


def test_random_examples_hang_on_the_seed_alone() -> None:
    train = _trained(*(f"How many of kind {i}?" for i in range(50)))
    assert _choose(train, select="random") == _choose(train, select="random") != _choose(train, select="bm25")


def test_the_least_similar_examples_give_way_to_the_context() -> None:
    train = _trained("How many berths are deep?", "How many berths?!", "How many berths are north?")
    assert len(_choose(train, k=3)) == 3
    assert len(_choose(train, k=3, longest=400)) == 2
    assert _choose(train, k=3, longest=10) == []


# Votes


def _vote(*texts: str, example: Example = ASKED) -> str:
    (chosen,) = strategies.SelfConsistency(SelfConsistency()).choose([example], [_wrote(*texts)], _never, CONFIG)
    assert chosen.tokens == 10 * len(texts) and chosen.samples == len(texts)
    return chosen.text


def test_what_most_samples_return_wins_however_it_is_spelt() -> None:
    many = "SELECT COUNT(*) FROM berth"
    texts = [
        "SELECT MAX(depth) FROM berth",
        "SELECT MAX(depth) FROM berth",
        many,
        "select count(*) from berth AS b",
        many,
    ]
    # Three in two spellings against two in one.
    assert _vote(*texts) == many


def test_what_does_not_run_has_no_vote() -> None:
    wrong = "SELECT COUNT(*) FROM ships"
    assert _vote(wrong, wrong, wrong, "SELECT quay FROM berth") == "SELECT quay FROM berth"
    # Where nothing runs, the first answer stays.
    assert _vote(wrong, "no query here") == wrong


def test_votes_are_taken_on_the_real_database(tmp_path: Path) -> None:
    file = archives.write_database(tmp_path / "h.sqlite")
    example = Example("q", "?", archives.HARBOUR, "SELECT 1", db=str(file))
    # On this database both texts return the same rows; on others they would not.
    texts = ["SELECT title FROM vessel", "SELECT quay FROM berth", "SELECT quay FROM berth WHERE depth > 0"]
    assert _vote(*texts, example=example) in texts
    assert execution_error(example, "SELECT quay FROM berth", EvaluationConfig()) is None
    assert "no such table" in str(execution_error(example, "SELECT * FROM boats", EvaluationConfig()))
    assert execution_error(example, "DELETE FROM berth", EvaluationConfig())
    assert sqlite3.connect(file).execute("SELECT COUNT(*) FROM berth").fetchone() == (2,)


def test_where_queries_are_translated_no_strategy_needs_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEXT2SQL_MYSQL", raising=False)
    close_engine("mysql")
    config = Config.model_validate({"data": {"dialect": "mysql"}, "evaluation": {"transpile": True, "workers": 1}})
    question = replace(ASKED, dialect="mysql")
    answers = [_wrote("SELECT MAX(depth) FROM berth", "SELECT COUNT(*) FROM berth", "SELECT COUNT(1) FROM `berth`")]
    (voted,) = strategies.SelfConsistency(SelfConsistency()).choose([question], answers, _never, config)
    assert voted.text == "SELECT COUNT(*) FROM berth"
    assert PassAtK(SelfConsistency()).count_correct([question], answers, config) == [2]
    (kept,) = ExecutionRetry(Retry()).choose([question], answers, _never, config)
    assert kept.text == "SELECT MAX(depth) FROM berth"


def test_all_verdicts_of_a_run_hang_on_the_seed_of_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Any] = []
    monkeypatch.setattr(strategies, "score_pairs", lambda pairs, **options: used.append(options) or ())
    config = Config.model_validate({"seed": 5, "data": {"seed": 3}, "evaluation": {"cache": True}})
    answers = [_wrote("SELECT 1", "SELECT COUNT(*) FROM berth")]
    PassAtK(SelfConsistency()).count_correct([ASKED], answers, config)
    strategies.SelfConsistency(SelfConsistency()).choose([ASKED], answers, _never, config)
    assert used == [match_options(config)] * 2
    assert used[0]["seed"] == 3 and used[0]["cache"] is not None


# Second tries


def test_only_what_does_not_run_is_asked_again_with_its_error() -> None:
    answers = [_wrote("SELECT COUNT(*) FROM berth"), _wrote("SELECT COUNT(*) FROM ships")]
    requests: list[GenerationRequest] = []

    def ask(request: GenerationRequest) -> list[list[Generation]]:
        requests.append(request)
        return [_wrote("SELECT 1") for _ in request.questions]

    chosen = ExecutionRetry(Retry()).choose([ASKED, ASKED], answers, ask, CONFIG)
    assert [(g.text, g.samples, g.tokens) for g in chosen] == [(answers[0][0].text, 1, 10), ("SELECT 1", 2, 20)]
    (again,) = requests[0].questions
    assert "This query failed: SELECT COUNT(*) FROM ships\nError: no such table: ships" in again.question
    assert ASKED.answer not in again.question
    ExecutionRetry(Retry(show_error=False)).choose([ASKED, ASKED], answers, ask, CONFIG)
    assert requests[1].questions == [ASKED]


class _Scripted(FakeSamplingClient):
    """Answers wrongly until the prompt shows the error, or until it is asked often enough."""

    def __init__(self, answers: list[str]) -> None:
        super().__init__({}, FakeOptions())
        self.prompts: list[str] = []
        self.params: list[types.SamplingParams] = []
        self._answers = answers

    def sample(self, prompt: Any, num_samples: int, sampling_params: Any, *rest: Any) -> Any:
        self.prompts.append(ByteTokenizer().decode(prompt.to_ints()))
        self.params.append(sampling_params)
        self._default = ByteTokenizer().encode(self._answers[min(len(self.prompts), len(self._answers)) - 1])
        return super().sample(prompt, num_samples, sampling_params)


def _predict(
    directory: Path, sampler: Any, retry: Retry, questions: Sequence[Example] = (ASKED,), **evaluation: Any
) -> list[Prediction]:
    config = tiny_config(directory, evaluation=evaluation)
    run: RunDirectory = claim_run(config).open()
    session = RunSession(config, run, FakeServiceClient(), TokenBudget(run, config))
    predictions = predict(session, Evaluation("base-retry", "Base", "base", ExecutionRetry(retry), questions), sampler)
    run.unlock()
    return predictions


def test_a_second_try_is_kept_and_both_are_paid_for(tmp_path: Path) -> None:
    sampler = _Scripted([" SELECT COUNT(*) FROM ships\n\n", " SELECT COUNT(*) FROM berth\n\n"])
    (row,) = _predict(tmp_path, sampler, Retry(attempts=3))
    assert row.correct and row.samples == 2 == len(sampler.prompts)
    assert row.tokens > len(" SELECT COUNT(*) FROM berth\n\n") and "Error: no such table" in sampler.prompts[1]


def test_tries_end(tmp_path: Path) -> None:
    sampler = _Scripted([" SELECT COUNT(*) FROM ships\n\n"])
    (row,) = _predict(tmp_path, sampler, Retry(attempts=2, show_error=False))
    assert not row.correct and len(sampler.prompts) == 3
    # The same prompt is not sampled the same way again.
    assert len({params.seed for params in sampler.params}) == 3


def test_second_tries_come_before_the_next_questions(tmp_path: Path) -> None:
    # Among calls that are under way they would come sooner or later, and so in other company each time.
    sampler = _Scripted([" SELECT COUNT(*) FROM ships\n\n"])
    questions = [ASKED, replace(ASKED, id="second", question="And now?")]
    _predict(tmp_path, sampler, Retry(attempts=1), questions, concurrency=1)
    assert ["And now?" in prompt for prompt in sampler.prompts] == [False, False, True, True]


# Whole runs


def test_the_plan_of_a_run(tmp_path: Path) -> None:
    wanted = {"few_shot": {"k": 1}, "self_consistency": {"samples": 2}, "retry": {"attempts": 1}}

    def labels(*stages: str, **evaluation: Any) -> list[list[str]]:
        plan = plan_run(tiny_config(tmp_path, evaluation=wanted | evaluation), [ASKED], stages)
        assert plan.trains == ("train" in stages)
        return [[evaluation.label for evaluation in side] for side in (plan.before, plan.after)]

    base, tuned = ["base", "few-shot", "base-vote", "base-retry"], ["tuned", "tuned-vote", "tuned-retry"]
    assert labels("baseline", "train", "evaluate") == [base, [*tuned, "novel-tuned", "novel-base"]]
    assert labels("baseline") == [base, ["novel-base"]]
    assert labels("train") == [[], []]
    assert labels("baseline", "train", "evaluate", baseline=False) == [["few-shot"], [*tuned, "novel-tuned"]]
    assert labels("baseline", "train", "evaluate", novel_questions=False) == [base, tuned]
    others = [f"{model}-{name}" for model in ("base", "start", "tuned") for name in ("vote", "samples", "retry")]
    assert [*other_strategies()] == ["few-shot", *others]
    assert known_evaluations()["few-shot"].name == "base, solved examples in the prompt"


def test_what_verdicts_began_with_is_evaluated_as_the_tuned_model_is(tmp_path: Path) -> None:
    values = {"rl": {"method": "policy_gradient"}, "training": {"start_from": "runs/first", "batch_size": 256}}
    evaluation = {"samples": 4, "novel_questions": False}
    for changed, start in (({}, ["start", "start-samples"]), ({"rl": {"method": None}}, [])):
        plan = plan_run(tiny_config(tmp_path, evaluation=evaluation, **(values | changed)), [ASKED])
        assert [e.label for e in plan.before] == ["base", "base-samples"]
        assert [e.label for e in plan.after] == [*start, "tuned", "tuned-samples"]


class Twice(Greedy):
    """The second of two greedy answers."""

    name = title = about = "twice"

    def request(self, questions: Sequence[Example]) -> GenerationRequest:
        return GenerationRequest(questions, samples=2)

    def choose(self, questions: Any, answers: Sequence[Sequence[Generation]], ask: Any, config: Any) -> Any:
        return [own[1] for own in answers]


def test_a_new_strategy_is_one_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: tuple[type[Strategy], ...] = (Greedy, Twice)
    monkeypatch.setattr(strategies, "STRATEGIES", kinds)
    run = run_pipeline(tiny_config(tmp_path, evaluation={"novel_questions": False}))
    assert _labels(run) == ["base", "base-twice", "tuned", "tuned-twice"]
    assert RunDirectory(run).predictions("tuned-twice")[0].raw == RunDirectory(run).predictions("tuned")[0].raw


def test_a_run_reports_each_strategy_with_its_cost(tmp_path: Path) -> None:
    ways = {
        "few_shot": {"k": 2},
        "self_consistency": {"samples": 2},
        "retry": {"attempts": 1},
        "novel_questions": False,
    }
    run = run_pipeline(tiny_config(tmp_path, evaluation=ways))
    summary = json.loads((run / "summary.json").read_text())
    labels = ["base", "few-shot", "base-vote", "base-retry", "tuned", "tuned-vote", "tuned-retry"]
    assert [*summary["evaluations"]] == labels
    cost = {label: summary["evaluations"][label]["cost"] for label in labels}
    assert cost["tuned-vote"]["samples"] == 8 and cost["tuned"]["samples"] == 4
    assert cost["tuned-vote"]["sampled_tokens"] == 2 * cost["tuned"]["sampled_tokens"]
    assert cost["few-shot"]["prompt_tokens"] > 2 * cost["base"]["prompt_tokens"]
    assert summary["headline"]["tuned"]["correct"] == 4
    shown = [row["prompt"] for row in read_jsonl(run / "predictions-few-shot.jsonl")]
    assert all(prompt.count("Question:") == 3 for prompt in shown)
    names = [entry.label for entry in load_entries([f"{run}:base", f"{run}:few-shot", str(run)])]
    assert names == ["tiny:base", "tiny:few-shot", "tiny"]


def _labels(run: Path) -> list[str]:
    return [*json.loads((run / "summary.json").read_text())["evaluations"]]


def test_without_the_baseline_only_solved_examples_are_asked_of_the_base_model(tmp_path: Path) -> None:
    ways = {"self_consistency": {"samples": 2}, "retry": {"attempts": 1}, "few_shot": {"k": 1}}
    config = tiny_config(tmp_path, evaluation={"baseline": False, "novel_questions": False, **ways})
    assert _labels(run_pipeline(config)) == ["few-shot", "tuned", "tuned-vote", "tuned-retry"]
    alone = tiny_config(tmp_path, evaluation={"baseline": False, **ways}, output_dir=str(tmp_path / "alone"))
    assert _labels(run_pipeline(alone, stages=("baseline",))) == ["few-shot"]


def test_nothing_to_evaluate_is_refused(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, evaluation={"baseline": False, "retry": {"attempts": 1}})
    with pytest.raises(UserError, match=r"evaluation\.baseline=false leaves nothing to evaluate"):
        run_pipeline(config, stages=("baseline",))
    assert not (tmp_path / "run").exists()


def test_a_finished_run_can_be_given_further_strategies(tmp_path: Path) -> None:
    plain = {"baseline": False, "novel_questions": False}
    run = run_pipeline(tiny_config(tmp_path, evaluation=plain))
    answers = (run / "predictions-tuned.jsonl").read_bytes()
    more = tiny_config(tmp_path, evaluation={**plain, "retry": {"attempts": 1}}, on_existing="resume")
    assert _labels(run_pipeline(more)) == ["tuned", "tuned-retry"]
    assert (run / "predictions-tuned.jsonl").read_bytes() == answers
    assert load_run_config(RunDirectory(run)).evaluation.retry == Retry(attempts=1)
    other = tiny_config(tmp_path, evaluation={**plain, "retry": {"attempts": 2}}, on_existing="resume")
    # The first answers are of other tries: they are set aside.
    assert _labels(run_pipeline(other)) == ["tuned", "tuned-retry"]
    assert [path.name for path in (run / "superseded").iterdir()] == ["predictions-tuned-retry.jsonl"]
    assert (run / "predictions-tuned.jsonl").read_bytes() == answers


def test_a_vote_needs_a_temperature() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        SelfConsistency(temperature=0)
