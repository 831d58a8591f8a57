"""The records of a run's JSON files: its results, environment, inputs and trackers."""

from __future__ import annotations

from pydantic import Field

from text2sql.formats import count
from text2sql.runs.evaluation_summary import EvaluationSummary
from text2sql.runs.records import InitialWeightsRecord, JsonTuple, Part, Record, optional

SUMMARY = "summary.json"
ENVIRONMENT = "environment.json"
INPUTS = "inputs.json"
TRACKERS = "trackers.json"


class Environment(Record):
    """Machine, versions and command of a run's start, and what the backend says of itself.

    Which keys there are differs from backend to backend, so none is required.
    """

    @property
    def quantization(self) -> str | None:
        """The value that ``local.quantization=auto`` resolved to, where the backend says so."""
        return self._text_value("quantization")

    @property
    def matmul(self) -> str | None:
        """The value that ``local.matmul=auto`` resolved to, where the backend says so."""
        return self._text_value("matmul")

    def _text_value(self, key: str) -> str | None:
        value = (self.model_extra or {}).get(key)
        return value if isinstance(value, str) else None


class Score(Part):
    """The accuracy of one model in the headline, with the interval to show.

    Attributes:
        n: Number of questions.
        correct: Number answered right.
        accuracy: Share answered right.
        low: Lower end of the 95 % interval.
        high: Upper end of the interval.
        clusters: Number of databases or domains, where the interval takes questions on the same one as dependent.
    """

    n: int
    correct: int
    accuracy: float | None
    low: float
    high: float
    clusters: int | None = optional()


class PairedComparison(Part):
    """Two systems on the same questions.

    Attributes:
        wins: Questions that only the tuned system answers correctly.
        losses: Questions that only the base system answers correctly.
        difference: Accuracy of tuned minus accuracy of base.
        low: Lower end of the interval of the difference.
        high: Upper end of the interval of the difference.
        p_value: P-value of the exact McNemar test, two-sided.
        n: Number of questions.
    """

    wins: int
    losses: int
    difference: float
    low: float
    high: float
    p_value: float
    n: int


class Headline(Part):
    """Execution accuracy before and after; a model that was not evaluated is None.

    Attributes:
        metric: Name of the accuracy.
        base: Accuracy of the untuned model.
        tuned: Accuracy of the tuned model.
        paired: The tuned model against the untuned one.
        start: Accuracy of the model that learning from verdicts began with.
        paired_start: The tuned model against the one that learning from verdicts began with.
    """

    metric: str
    base: Score | None
    tuned: Score | None
    paired: PairedComparison | None
    start: Score | None = optional()
    paired_start: PairedComparison | None = optional()


class NovelAnswers(Part):
    """One of the questions on new schemas with the answers of the models that were asked."""

    question: str
    context: str = Field(alias="schema")
    gold: str
    base_sql: str | None = optional()
    base_correct: bool | None = optional()
    base_reason: str | None = optional()
    tuned_sql: str | None = optional()
    tuned_correct: bool | None = optional()
    tuned_reason: str | None = optional()


class VerdictSummary(Part):
    """The results of learning from verdicts; means at the beginning and the end are over a few steps.

    Attributes:
        method: `rl.method`.
        questions: Questions in a step.
        group: Answers to each question.
        answers: Answers sampled in all.
        first_reward: Mean reward at the beginning.
        final_reward: Mean reward at the end.
        first_right: Share of right answers at the beginning.
        final_right: Share of right answers at the end.
        dropped: Share of the groups that nothing was learnt from.
        caught: Number of false positives of a comparison on a single database (`RlStepMetrics.caught`).
        undecided: Number of answers that the evaluator could not decide.
        seen_in_training: Number of questions that the start model had been trained on; None where that is not known.
        alarms: Warnings about the course of the training, in sentences.
    """

    method: str
    questions: int
    group: int
    answers: int
    first_reward: float
    final_reward: float
    first_right: float
    final_right: float
    dropped: float
    caught: int
    undecided: int
    seen_in_training: int | None = Field(alias="taught")
    alarms: JsonTuple[str]


class TrainedWeights(Part):
    """The weights of a model that a training changes.

    Attributes:
        adapted_modules: Names of the modules that have an adapter; empty where the whole model is trained.
        trained_parameters: Number of parameters that are trained.
        trained_percent: Share of all parameters that is trained, in percent.
    """

    adapted_modules: JsonTuple[str]
    trained_parameters: int
    trained_percent: float


def describe_weights(weights: TrainedWeights) -> str:
    """The weights that a training changes, as a phrase."""
    where = ", ".join(weights.adapted_modules) or "the whole model"
    return f"{count(weights.trained_parameters)} parameters ({weights.trained_percent:.3g} % of all), in {where}"


class TrainingSummary(Part):
    """The results of a training.

    Attributes:
        steps: Optimiser steps done.
        epochs: Passes over the training examples, as configured.
        examples: Examples seen, over all steps.
        tokens: Tokens trained on, over all steps.
        seconds: Time of all steps, without validation and saving.
        examples_per_second: `examples` divided by `seconds`.
        tokens_per_second: `tokens` divided by `seconds`.
        first_loss: Loss of the first step.
        final_loss: Loss of the last step.
        learning_rate: Peak learning rate.
        batch_size: Examples of a full step.
        start_from: The saved weights that it began with, None for none.
        weights: The weights that it changes, where the backend says so.
        checkpoint_step: Step of the checkpoint that evaluation uses.
        checkpoint_path: ``tinker://`` path of the weights of that checkpoint.
        checkpoint_expires: ISO time at which a server deletes that checkpoint; None where it stays.
        stopped_early: Why it ended before its last step, None if it did not.
        verdicts: Results of a training that learns from verdicts.
    """

    steps: int
    epochs: int
    examples: int
    tokens: int
    seconds: float
    examples_per_second: float
    tokens_per_second: float
    first_loss: float | None
    final_loss: float | None
    learning_rate: float
    batch_size: int
    start_from: InitialWeightsRecord | None
    weights: TrainedWeights | None = optional()
    checkpoint_step: int
    checkpoint_path: str
    checkpoint_expires: str | None
    stopped_early: str | None
    verdicts: VerdictSummary | None = optional()


class Leaks(Part):
    """Test examples that share a table, or a question, with the training examples."""

    tables: int
    questions: int


class DataSummary(Part):
    """The data that a run trained and tested on.

    ``dropped`` counts what was left out, by reason, and ``held_back`` the training examples on the other side of
    `rl.holdout`.
    """

    source: str
    rows: int
    train: int
    validation: int
    test: int
    dropped: dict[str, int]
    leaks: Leaks
    split_by: str
    held_back: int | None = optional()


class TokenUsage(Part):
    """Tokens by what the API charges for; `cached` are those in prompts that it had read before."""

    train: int
    prefill: int
    sample: int
    cached: int | None = optional()


class PricesUsed(Part):
    """Dollars for a million tokens, and where the prices come from."""

    train: float
    prefill: float
    sample: float
    source: str | None
    cached_prefill: float | None = optional()


class RunCost(Part):
    """The time, memory, tokens and money that a run took.

    Attributes:
        wall_seconds: Wall-clock time of each stage.
        peak_memory_bytes: Peak memory of the GPU; without one, of the process.
        sampled_tokens: Tokens in the recorded answers.
        trained_tokens: Tokens in the recorded steps.
        usage: Tokens worked on, also those of steps that a killed run had to do again.
        dollars: Price of `usage`, None where no price is known.
        prices: Prices that `dollars` is computed with.
    """

    wall_seconds: dict[str, float]
    peak_memory_bytes: int
    sampled_tokens: int
    trained_tokens: int
    usage: TokenUsage
    dollars: float | None
    prices: PricesUsed | None = optional()


class Summary(Record):
    """``summary.json``: the results of a run.

    Attributes:
        name: Name of the run.
        created: ISO time at which the summary was made.
        backend: Name of its backend.
        base_model: Name of the base model on that backend.
        headline: Execution accuracy before and after.
        evaluations: Results of the evaluations, by label.
        novel: The answers on new schemas.
        training: Results of the training; None if there was none.
        data: The data that it trained and tested on.
        cost: Time, memory, tokens and money that it took.
        notes: What a reader must know, in sentences.
        stages: The stages that were carried out to the end.
    """

    name: str
    created: str
    backend: str
    base_model: str
    headline: Headline
    evaluations: dict[str, EvaluationSummary]
    novel: JsonTuple[NovelAnswers]
    training: TrainingSummary | None
    data: DataSummary
    cost: RunCost
    notes: JsonTuple[str]
    stages: JsonTuple[str]


class Fingerprint(Part):
    """The fingerprint of one input.

    Attributes:
        digest: Hash of its contents.
        count: Number of items, where it is a collection.
    """

    digest: str
    count: int | None = optional()


class Inputs(Record):
    """``inputs.json``: a fingerprint of every input that the run has."""

    inputs: dict[str, Fingerprint]


class TrackedRun(Part):
    """A run in an experiment tracker.

    Attributes:
        project: Name of the project, as configured.
        id: Id of the run on the tracker.
    """

    project: str
    id: str


class TrackedRuns(Record):
    """``trackers.json``: this run on each tracker that it is sent to, by the tracker's package."""

    runs: dict[str, TrackedRun]
