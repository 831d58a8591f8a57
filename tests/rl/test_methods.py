"""Methods other than the policy gradient: which answers they learn from, and that they do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tinker import types

from backends.byte_tokenizer import ByteTokenizer
from backends.fake import FakeTrainingClient
from tests.support.rl_runs import fake_config, judge_here, training_alone
from tests.support.tiny_runs import rows as text_rows
from tests.support.tiny_runs import write_jsonl
from text2sql.config import Config, RewardConfig, RlConfig, dump_config
from text2sql.config.rl import DistillationConfig
from text2sql.equivalence.verdict import Verdict
from text2sql.errors import UserError
from text2sql.pipeline.run import run_pipeline
from text2sql.rl.answers import TrainedAnswer
from text2sql.rl.methods import find_method
from text2sql.rl.preferences import preference_accuracy, preference_data, preference_loss, preference_pairs
from text2sql.rl.rejection import imitation_data, normalise_sql, right_answers
from text2sql.runs.directory import RunDirectory
from text2sql.runs.rollouts import AnswerOutcome, GradedAnswer, GradedGroup, RlStepMetrics, SampledAnswer, SampledGroup

RFT: dict[str, Any] = {"method": "rft", "rft": {"rounds": 2}}


@pytest.fixture(autouse=True)
def verdicts_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    judge_here(monkeypatch)
    training_alone(monkeypatch)


def rows(run: Path) -> list[RlStepMetrics]:
    return [row for row in RunDirectory(run).metrics() if isinstance(row, RlStepMetrics)]


def group(*answers: tuple[str, AnswerOutcome]) -> tuple[SampledGroup, GradedGroup]:
    """A group of queries with their outcomes; the n-th answer has n tokens."""
    table = RewardConfig()
    rewards = {outcome: getattr(table, outcome) for outcome in ("equivalent", "runs", "caught", "error", "truncated")}
    sampled = tuple(
        SampledAnswer(tokens=tuple(range(n)), logprobs=(-0.5,) * n, stop_reason="stop")
        for n in range(1, len(answers) + 1)
    )
    graded = tuple(
        GradedAnswer(sql=sql, verdict=Verdict("undecided", ""), outcome=outcome, reward=rewards.get(outcome))
        for sql, outcome in answers
    )
    question: dict[str, Any] = {"id": "q", "question": "?", "context": "", "gold": "", "seed": 0, "prompt": (1, 2, 3)}
    return SampledGroup(step=0, index=0, answers=sampled, **question), GradedGroup(step=0, index=0, answers=graded)


# Rejection sampling


def test_queries_that_differ_in_their_spelling_alone_are_one() -> None:
    same = ["SELECT a FROM t WHERE b = 'X'", "select  A from T\nwhere b='X' ;", "SELECT a FROM t -- all\nWHERE b = 'X'"]
    assert len(set(map(normalise_sql, same))) == 1
    others = ["SELECT a FROM t WHERE b = 'x'", 'SELECT a FROM t WHERE b = "X"', "SELECT DISTINCT a FROM t"]
    assert len({*map(normalise_sql, others), normalise_sql(same[0])}) == 4


def test_the_first_different_right_answers_are_imitated() -> None:
    sampled, graded = group(
        ("SELECT 0", "runs"),
        ("SELECT 1", "equivalent"),
        ("select 1;", "equivalent"),
        ("SELECT 1.0", "equivalent"),
        ("SELECT 3 - 2", "equivalent"),
        ("SELECT 1", "truncated"),
    )
    kept = [right_answers(sampled, graded, RewardConfig(), max_count) for max_count in (1, 2, 9)]
    assert [[len(answer.tokens) for answer in own] for own in kept] == [[2], [2, 4], [2, 4, 5]]
    wrong = group(("SELECT 1", "runs"), ("SELECT 1", "caught"), ("SELECT 1", "undecided"))
    assert right_answers(*wrong, RewardConfig(), 2) == []


def test_their_loss_is_a_mean_over_the_tokens_of_the_answers() -> None:
    sampled, graded = group(("SELECT 1", "equivalent"), ("SELECT 2", "runs"), ("SELECT 3", "equivalent"))
    data = [made.datum for made in imitation_data(right_answers(sampled, graded, RewardConfig(), 2))]
    weights = [datum.loss_fn_inputs["weights"].to_numpy() for datum in data]
    # Two targets are the prompt's; the answers have one token and three.
    np.testing.assert_allclose(weights[0], [0, 0, 0.25])
    np.testing.assert_allclose(weights[1], [0, 0, 0.25, 0.25, 0.25])
    assert data[1].loss_fn_inputs["target_tokens"].to_numpy().tolist() == [2, 3, 0, 1, 2]


def test_rounds_go_through_all_questions_and_right_answers_alone_are_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[str, str]] = []
    compute = FakeTrainingClient.forward_backward

    def forward_backward(self: Any, data: Any, loss_fn: str, loss_fn_config: Any = None) -> Any:
        for datum in data:
            weights = datum.loss_fn_inputs["weights"].to_numpy()
            targets = datum.loss_fn_inputs["target_tokens"].to_numpy()
            sent.append((loss_fn, ByteTokenizer().decode(targets[weights > 0].tolist())))
        return compute(self, data, loss_fn, loss_fn_config)

    monkeypatch.setattr(FakeTrainingClient, "forward_backward", forward_backward)
    # Eight training questions, four in a step, twice.
    run = run_pipeline(fake_config(tmp_path, rl=RFT), stages=("train",))
    found = rows(run)
    asked = [row.id for row in RunDirectory(run).rollouts() if isinstance(row, SampledGroup)]
    assert len(found) == 4 and len(set(asked[:8])) == len(set(asked[8:])) == 8
    golds = {row.gold for row in RunDirectory(run).rollouts() if isinstance(row, SampledGroup)}
    assert {loss for loss, _ in sent} == {"cross_entropy"}
    assert sent and {text.strip() for _, text in sent} <= golds
    assert sum(row.learnt or 0 for row in found) == len(sent)
    # A question with a right answer teaches one: all right answers are one query.
    assert [row.dropped for row in found] == [1 - row.pass_at_group for row in found]
    assert found[-1].equivalent > found[0].equivalent and not any(row.gold_answers for row in found)


def test_gold_is_imitated_only_where_that_is_asked_for(tmp_path: Path) -> None:
    run = run_pipeline(fake_config(tmp_path, rl={**RFT, "rft": {"rounds": 1, "gold": True}}), stages=("train",))
    assert all(row.dropped == 0 and row.learnt == 4 for row in rows(run))
    assert [row.gold_answers or 0 for row in rows(run)] == [round(4 * (1 - row.pass_at_group)) for row in rows(run)]
    assert any(row.gold_answers for row in rows(run))


def test_where_no_answer_is_right_the_run_stops_and_says_so(tmp_path: Path) -> None:
    own = {"function": "tests.support.rl_runs:brevity"}
    run = run_pipeline(fake_config(tmp_path, rl={**RFT, "patience": 2, "reward": own}), stages=("train",))
    summary = RunDirectory(run).summary()
    assert summary and summary.training and summary.training.steps == 2
    assert "in 2 steps no answer was right" in str(summary.training.stopped_early)


@pytest.mark.parametrize(
    ("rl", "words"),
    [
        ({"rft": {"kept": 3}}, r"rft is a setting of rft; rl\.method is policy_gradient"),
        ({"method": "rft", "steps": 7}, r"dpo, distill; rl\.method is rft: take it out, or set rl\.steps=50,"),
        ({"method": "rft", "kl_coef": 0.1}, r"kl_coef is a setting of policy_gradient"),
        ({"method": "dpo", "advantage": "rloo"}, r"advantage is a setting of policy_gradient; rl\.method is dpo"),
        ({"method": "rft", "reward": {"runs": 1.0}}, r"reward\.runs is not less than reward\.equivalent"),
    ],
)
def test_settings_of_other_methods_are_refused(tmp_path: Path, rl: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fake_config(tmp_path, rl=rl)


# Preference pairs


DPO: dict[str, Any] = {"method": "dpo"}


def test_pairs_are_of_a_right_answer_and_one_that_runs_and_is_wrong() -> None:
    sampled, graded = group(
        ("SELECT 2", "runs"),
        ("SELECT 1", "equivalent"),
        ("SELECT x", "error"),
        ("select 2", "runs"),
        ("SELECT 3", "caught"),
        ("SELECT 4", "undecided"),
    )
    found = {count: preference_pairs(sampled, graded, RewardConfig(), count) for count in (1, 2, 9)}
    lengths = {count: [len(answer.tokens) for answer in pairs] for count, pairs in found.items()}
    # The n-th answer has n tokens: no pair comes twice, however many are wanted.
    assert lengths == {1: [2, 1], 2: [2, 1, 2, 5], 9: [2, 1, 2, 5]}
    for answers in (
        [("SELECT 1", "equivalent"), ("SELECT x", "error")],
        [("SELECT 1", "runs"), ("SELECT 2", "caught")],
    ):
        assert preference_pairs(*group(*answers), RewardConfig(), 2) == []  # type: ignore[arg-type]
    # With a function of one's own, whatever is paid less is worse.
    own = RewardConfig(function="tests.support.rl_runs:brevity")
    pairs = preference_pairs(*group(("SELECT 1", "equivalent"), ("SELECT x", "error")), own, 2)
    assert [len(answer.tokens) for answer in pairs] == [1, 2]


def test_the_loss_of_pairs_is_the_formula(open_local: Any, tiny_model: str) -> None:
    """Against the formula on log-probabilities, and the gradient against a finite difference."""
    stream = np.random.default_rng(0)
    answers = [TrainedAnswer([5, 6, 7], list(range(20 + n, 23 + 2 * n)), None, -stream.random(3 + n)) for n in range(4)]
    data = [made.datum for made in preference_data(answers)]
    client = open_local(device="cpu").create_lora_training_client(tiny_model, rank=4, seed=3).result()
    loss = preference_loss(0.3)

    def expected() -> float:
        outputs = client.forward(data, "cross_entropy").result().loss_fn_outputs
        gains = [
            float(output["logprobs"].to_numpy()[2:].sum() - answer.reference_logprobs.sum())  # type: ignore[union-attr]
            for output, answer in zip(outputs, answers, strict=True)
        ]
        margins = [right - wrong for right, wrong in zip(gains[::2], gains[1::2], strict=True)]
        return float(np.mean([np.log1p(np.exp(-0.3 * margin)) for margin in margins]))

    before = expected()
    output = client.forward_backward_custom(data, loss).result()
    assert output.metrics["loss:sum"] == pytest.approx(before, rel=1e-5)
    own = [record["logprobs"].to_numpy()[2:] for record in output.loss_fn_outputs]
    share = preference_accuracy(answers, own)
    assert share is not None and 2 * share == round(2 * share)
    for _ in range(3):
        client.optim_step(types.AdamParams(learning_rate=1e-2)).result()
        output = client.forward_backward_custom(data, loss).result()
    assert output.metrics["loss:sum"] == pytest.approx(expected(), rel=1e-5)
    assert output.metrics["loss:sum"] < before - 0.01


def test_the_preferred_answer_is_learnt_and_the_start_model_is_asked(tmp_path: Path) -> None:
    run = run_pipeline(fake_config(tmp_path, rl={**DPO, "steps": 4, "group": 8}), stages=("train",))
    found = rows(run)
    graded = [row for row in RunDirectory(run).rollouts() if isinstance(row, GradedGroup)]
    assert all(row.start_logprobs is not None for row in graded)
    assert all(row.kl_start is not None and row.kl_teacher is None for row in found)
    assert found[-1].equivalent > found[0].equivalent
    for row in found:
        # One right and one wrong query are all that the fake model has.
        assert row.learnt == 2 * round(row.groups * (1 - row.dropped))
        assert row.dropped >= 1 - row.frac_mixed and (row.preferred is not None) == (row.dropped < 1)


# Distillation


def test_the_advantage_is_how_much_likelier_the_teacher_finds_a_token() -> None:
    sampled, graded = group(("SELECT 1", "runs"), ("SELECT 2", "undecided"))
    with_teacher = graded.model_copy(update={"teacher_logprobs": ((-0.1,), (-0.5, -2.0))})
    method = find_method(RlConfig(method="distill", distill=DistillationConfig(teacher="x", coef=2.0)))
    answers = method.select(None, sampled, with_teacher)  # type: ignore[arg-type]
    data = [made.datum.loss_fn_inputs["advantages"].to_numpy() for made in method.make_data(answers)]
    # Three tokens in all; the sampled ones had -0.5 each, and two targets are the prompt's.
    np.testing.assert_allclose(data[0], [0, 0, 2 * 0.4 / 3], rtol=1e-6)
    np.testing.assert_allclose(data[1], [0, 0, 0, 2 * -1.5 / 3], rtol=1e-6)


@pytest.fixture
def distilled(tmp_path: Path, tiny_model: str) -> Any:
    """A configuration of a tiny model that distils what it is given."""
    write_jsonl(tmp_path / "rows.jsonl", text_rows(12))

    def make(teacher: str, **rl: Any) -> Config:
        return Config.model_validate(
            {
                "name": "distilled",
                "output_dir": str(tmp_path / "distilled"),
                "base_model": tiny_model,
                "lora": {"rank": 4},
                "data": {"source": str(tmp_path / "rows.jsonl"), "test_size": 2},
                "training": {"learning_rate": 1e-2, "checkpoint_every": 4},
                "rl": {"method": "distill", "cold_start": True, "steps": 8, "questions": 5, "group": 4}
                | {"distill": {"teacher": teacher}}
                | rl,
                "evaluation": {"workers": 1, "databases": 1, "max_new_tokens": 8, "novel_questions": False}
                | {"baseline": False, "max_unusable_golds": 1.0},
                "local": {"device": "cpu"},
            }
        )

    return make


def test_a_policy_that_follows_these_advantages_becomes_its_teacher() -> None:
    """A policy of one softmax for each of two tokens, by the gradient of importance sampling where the ratio is 1."""
    stream = np.random.default_rng(0)
    logits, teacher = np.zeros((2, 5)), np.log(stream.dirichlet(np.ones(5), size=2))
    method = find_method(RlConfig(method="distill", distill=DistillationConfig(teacher="x")))

    def policy() -> np.ndarray:
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def divergence() -> float:
        own = policy()
        return float((np.exp(own) * (own - teacher)).sum())

    before = divergence()
    for _ in range(150):
        own, places = policy(), np.arange(2)
        drawn = [np.array([stream.choice(5, p=np.exp(row)) for row in own]) for _ in range(32)]
        answers = [
            TrainedAnswer([9], tokens.tolist(), own[places, tokens], teacher[places, tokens]) for tokens in drawn
        ]
        slope = np.zeros_like(logits)
        for tokens, made in zip(drawn, method.make_data(answers), strict=True):
            advantages = made.datum.loss_fn_inputs["advantages"].to_numpy()
            slope += advantages[:, None] * (np.eye(5)[tokens] - np.exp(own))
        logits = logits + 2.0 * slope
    assert divergence() < 0.1 * before


def test_another_run_is_the_teacher(tmp_path: Path, tiny_model: str, distilled: Any) -> None:
    """Of the same base, with weights of its own: it is asked for all answers, and the divergence from it is logged."""
    supervised = distilled(tiny_model).model_dump()
    supervised |= {"name": "teacher", "output_dir": str(tmp_path / "teacher"), "rl": {}}
    supervised["training"] |= {"batch_size": 5}
    teacher = run_pipeline(Config.model_validate(supervised), stages=("train",))
    run = run_pipeline(distilled(str(teacher), steps=2), stages=("train",))
    graded = [row for row in RunDirectory(run).rollouts() if isinstance(row, GradedGroup)]
    assert all(row.teacher_logprobs and row.start_logprobs is None for row in graded)
    assert all(row.kl_teacher and row.kl_teacher > 0.1 and row.kl_start is None for row in rows(run))
    assert all(row.dropped == 0 and row.grad_norm for row in rows(run))


def test_a_model_is_its_own_teacher_and_learns_nothing(tiny_model: str, distilled: Any) -> None:
    (row,) = rows(run_pipeline(distilled(tiny_model, steps=1), stages=("train",)))
    assert row.kl_teacher == pytest.approx(0, abs=1e-5)


def test_a_teacher_with_other_tokens_is_refused_before_anything_is_sampled(
    tmp_path: Path, tiny_model: str, tiny_tokenizer: Any, distilled: Any
) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    core = type(tiny_tokenizer.backend_tokenizer).from_str(tiny_tokenizer.backend_tokenizer.to_str())
    core.add_tokens(["<another>"])
    core.save(str(other / "tokenizer.json"))
    config = distilled(str(other))
    with pytest.raises(UserError, match=r"another than .* \(601 and 600 tokens; 1 are not the same, .*'<another>'"):
        run_pipeline(config, stages=("train",))
    assert not RunDirectory(config.directory).rollouts()


def test_a_teacher_that_is_not_there_or_not_finished_is_refused(tmp_path: Path, distilled: Any) -> None:
    (tmp_path / "unfinished").mkdir()
    shutil.copy(Path(distilled("x").directory.parent / "rows.jsonl"), tmp_path / "unfinished")
    config = distilled(str(tmp_path / "unfinished"))
    (tmp_path / "unfinished" / "config.yaml").write_text(dump_config(config))
    with pytest.raises(UserError, match=r"rl\.distill\.teacher: the training in .* has not finished"):
        run_pipeline(config, stages=("train",))
    with pytest.raises(ValueError, match=r"method=distill needs distill\.teacher"):
        Config.model_validate({**config.model_dump(), "rl": {"method": "distill", "cold_start": True}})
