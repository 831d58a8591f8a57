"""The summary of a run, written to ``summary.json``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from backends.facts import BackendFacts
from text2sql.config import Config
from text2sql.data.dataset import Dataset
from text2sql.data.exercise_questions import EXERCISE_QUESTIONS
from text2sql.evaluation.aggregate import Scored, summarize
from text2sql.evaluation.golds import describe_faults
from text2sql.evaluation.metrics import SINGLE_DATABASE_NOTE
from text2sql.evaluation.passes import summarize_passes
from text2sql.inference.plan import known_evaluations
from text2sql.inference.predict import compare
from text2sql.runs.budget import TokenBudget
from text2sql.runs.directory import RunDirectory
from text2sql.runs.environment import peak_memory
from text2sql.runs.evaluation_summary import AnswerCost, EvaluationSummary, JudgeSummary
from text2sql.runs.records import Prediction, describe_initial_weights
from text2sql.runs.summary import (
    DataSummary,
    Headline,
    Leaks,
    NovelAnswers,
    PricesUsed,
    RunCost,
    Score,
    Summary,
    TokenUsage,
    TrainingSummary,
)


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, except its predictions.

    Attributes:
        config: The run's configuration.
        run: Its directory.
        dataset: The examples that it trained and tested on.
        budget: The tokens that it spent.
        backend: The backend's description of itself.
        stages: The stages that have been carried out.
    """

    config: Config
    run: RunDirectory
    dataset: Dataset
    budget: TokenBudget
    backend: BackendFacts
    stages: Sequence[str]


def summarize_run(
    work: FinishedRun,
    answers: Mapping[str, Sequence[Prediction]],
    training: TrainingSummary | None,
    opinions: Mapping[str, JudgeSummary],
    problems: Sequence[str],
) -> Summary:
    """Summarise a run.

    Args:
        work: The run.
        answers: Its predictions by label of the evaluation.
        training: The summary of the training, if there was any.
        opinions: The summaries of the LLM judge's opinions, by label.
        problems: Further notes.
    """
    config, known = work.config, known_evaluations()
    evaluations = {
        label: summarize([Scored.of(row) for row in rows]).model_copy(
            update={
                "judge": opinions.get(label),
                "cost": _answer_cost(work.run, label, rows),
                "pass_at": summarize_passes(rows),
            }
        )
        for label, rows in answers.items()
        if known[label].scored
    }
    return Summary(
        name=config.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        backend=config.backend,
        base_model=config.trained_model,
        headline=_headline(evaluations, answers),
        evaluations=evaluations,
        novel=tuple(_novel_answers(answers.get("novel-base"), answers.get("novel-tuned"))),
        training=training,
        data=_data(config, work.dataset),
        cost=_run_cost(work, answers, training),
        notes=(
            *_notes(config, evaluations, training),
            *describe_faults(work.dataset.faults, len(work.dataset.split.test)),
            *problems,
        ),
        stages=tuple(work.stages),
    )


def _headline(evaluations: Mapping[str, EvaluationSummary], answers: Mapping[str, Sequence[Prediction]]) -> Headline:
    both = "base" in answers and "tuned" in answers
    return Headline(
        metric="execution_accuracy",
        base=_score(evaluations.get("base")),
        tuned=_score(evaluations.get("tuned")),
        paired=compare(answers["base"], answers["tuned"]) if both else None,
        start=_score(evaluations.get("start")),
        paired_start=compare(answers["start"], answers["tuned"]) if "start" in answers and "tuned" in answers else None,
    )


def _score(summary: EvaluationSummary | None) -> Score | None:
    """The score of an evaluation in the headline, with the clustered interval where questions share schemas."""
    if summary is None:
        return None
    low, high = summary.interval
    return Score(
        n=summary.n,
        correct=summary.correct,
        accuracy=summary.accuracy,
        low=low,
        high=high,
        clusters=summary.clustered.clusters if summary.clustered else None,
    )


def _data(config: Config, dataset: Dataset) -> DataSummary:
    return DataSummary(
        source=config.data.source,
        rows=dataset.rows,
        train=len(dataset.split.train),
        validation=len(dataset.split.validation),
        test=len(dataset.split.test),
        dropped=dict(dataset.dropped),
        leaks=Leaks(**dataset.leaks),
        split_by="domain" if config.data.source == "bundled" else config.data.split_by,
        held_back=dataset.held_back or None,
    )


def _answer_cost(run: RunDirectory, label: str, rows: Sequence[Prediction]) -> AnswerCost:
    """The tokens and the time that the answers of an evaluation took."""
    return AnswerCost(
        samples=sum(row.samples for row in rows),
        prompt_tokens=sum(row.prompt_tokens for row in rows),
        sampled_tokens=sum(row.tokens for row in rows),
        seconds=sum((timing.seconds for timing in run.timings() if timing.stage == label), 0.0),
    )


def _run_cost(
    work: FinishedRun, answers: Mapping[str, Sequence[Prediction]], training: TrainingSummary | None
) -> RunCost:
    budget, before = work.budget, work.run.summary()
    prices = budget.prices
    return RunCost(
        wall_seconds=_wall_seconds(work.run, training),
        # A resumed run keeps the peak of its earlier starts.
        peak_memory_bytes=max(peak_memory(work.backend), before.cost.peak_memory_bytes if before else 0),
        sampled_tokens=sum(row.tokens for rows in answers.values() for row in rows),
        trained_tokens=training.tokens if training else 0,
        usage=TokenUsage(
            train=budget.total.train,
            prefill=budget.total.prefill,
            sample=budget.total.sample,
            cached=budget.total.cached or None,
        ),
        dollars=budget.dollars,
        prices=PricesUsed(**prices.model_dump(), source=budget.source) if prices else None,
    )


def _wall_seconds(run: RunDirectory, training: TrainingSummary | None) -> dict[str, float]:
    known = known_evaluations()
    seconds: dict[str, float] = defaultdict(float)
    for timing in run.timings():
        # Answers of an adapter that was evaluated after the run do not count.
        if evaluation := known.get(timing.stage):
            seconds[evaluation.stage] += timing.seconds
    if training:
        seconds["training"] = training.seconds
    return dict(seconds)


def _novel_answers(base: Sequence[Prediction] | None, tuned: Sequence[Prediction] | None) -> list[NovelAnswers]:
    """The answers of both models to the questions on new schemas."""
    answers = []
    for index, example in enumerate(EXERCISE_QUESTIONS if base or tuned else []):
        b, t = base[index] if base else None, tuned[index] if tuned else None
        answers.append(
            NovelAnswers(
                question=example.question,
                context=example.context,
                gold=example.answer,
                base_sql=b.sql if b else None,
                base_correct=b.correct if b else None,
                base_reason=b.verdict.reason if b else None,
                tuned_sql=t.sql if t else None,
                tuned_correct=t.correct if t else None,
                tuned_reason=t.verdict.reason if t else None,
            )
        )
    return answers


def _notes(config: Config, evaluations: Mapping[str, EvaluationSummary], training: TrainingSummary | None) -> list[str]:
    notes = []
    if training and training.start_from:
        notes.append(
            f"Training began with the weights of {describe_initial_weights(training.start_from)}. The base model is "
            "the untuned one: what the tuned model has gained on it comes from both trainings."
        )
    if training and training.verdicts and training.verdicts.seen_in_training:
        notes.append(
            "The model that learning from verdicts began with had been trained on "
            f"{training.verdicts.seen_in_training:,} of the questions that it was asked: "
            "there it repeats what it was shown. rl.holdout keeps questions aside."
        )
    if training and training.verdicts:
        notes.extend(training.verdicts.alarms)
    for clusters in {summary.clustered.clusters for summary in evaluations.values() if summary.clustered}:
        notes.append(
            SINGLE_DATABASE_NOTE
            if clusters == 1
            else f"The intervals of the two accuracies treat questions on one domain or database as dependent "
            f"({clusters} of these); the paired comparison counts each question for itself."
        )
    if config.data.source == "bundled":
        notes.append(
            "The bundled set is for teaching and smoke tests: these are not sql-create-context results, nor those of "
            "any other benchmark."
        )
    return notes
