"""What the JSON files of a run hold: what it came to, where it took place, what it was made from, who watched it."""

from __future__ import annotations

from pydantic import Field

from text2sql.formats import count
from text2sql.runs.evaluation_summary import EvaluationSummary
from text2sql.runs.records import InitialWeightsRecord, Part, Record, Several, optional

SUMMARY = "summary.json"
ENVIRONMENT = "environment.json"
INPUTS = "inputs.json"
TRACKERS = "trackers.json"


class Environment(Record):
    """Machine, versions and command of a run's start, and what the backend says of itself: a record to be read.

    Which keys there are differs from backend to backend, so none is required.
    """

    @property
    def quantization(self) -> str | None:
        """What ``local.quantization=auto`` came to, where the backend says so."""
        return self._said("quantization")

    @property
    def matmul(self) -> str | None:
        """What ``local.matmul=auto`` came to, where the backend says so."""
        return self._said("matmul")

    def _said(self, key: str) -> str | None:
        found = (self.model_extra or {}).get(key)
        return found if isinstance(found, str) else None


class Score(Part):
    """The accuracy of one model in the headline, with the interval to show.

    Attributes:
        n: Questions.
        correct: Those answered right.
        accuracy: Their share.
        low: Lower end of the 95 % interval.
        high: Upper end.
        clusters: Databases or domains, where the interval takes questions on one as dependent.
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
        high: Upper end.
        p_value: Of the exact McNemar test, two-sided.
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
        metric: What is counted.
        base: The untuned model.
        tuned: The tuned one.
        paired: The tuned model against the untuned one.
        start: The model that learning from verdicts began with.
        paired_start: The tuned model against that one.
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
    """What learning from verdicts came to; means at the beginning and the end are of a few steps.

    Attributes:
        method: `rl.method`.
        questions: In a step.
        group: Answers to each.
        answers: Sampled in all.
        first_reward: Mean reward at the beginning.
        final_reward: At the end.
        first_right: Share of right answers at the beginning.
        final_right: At the end.
        dropped: Share of the groups that nothing was learnt from.
        caught: Number of false positives of a comparison on a single database (`RlStepMetrics.caught`).
        undecided: Answers that the evaluator could not decide.
        seen_in_training: Questions that the start model had been trained on; None where that is not known.
        alarms: What the course warns of, in sentences.
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
    alarms: Several[str]


class TrainedWeights(Part):
    """What a training changes in its model.

    Attributes:
        adapted_modules: Names of the modules that have an adapter; empty where the whole model is trained.
        trained_parameters: Their number.
        trained_percent: Their share of all parameters.
    """

    adapted_modules: Several[str]
    trained_parameters: int
    trained_percent: float


def describe_weights(weights: TrainedWeights) -> str:
    """What a training changes, as a phrase."""
    where = ", ".join(weights.adapted_modules) or "the whole model"
    return f"{count(weights.trained_parameters)} parameters ({weights.trained_percent:.3g} % of all), in {where}"


class TrainingSummary(Part):
    """What training came to.

    Attributes:
        steps: Optimiser steps done.
        epochs: As configured.
        examples: Seen, over all steps.
        tokens: Trained on, over all steps.
        seconds: Without validation and saving.
        examples_per_second: `examples` by `seconds`.
        tokens_per_second: `tokens` by `seconds`.
        first_loss: Of the first step.
        final_loss: Of the last.
        learning_rate: The peak.
        batch_size: As configured.
        start_from: The saved weights that it began with, None for none.
        weights: What it changes in the model, where the backend says so.
        checkpoint_step: Of the checkpoint that evaluation uses.
        checkpoint_path: ``tinker://`` path of its weights.
        checkpoint_expires: When a server deletes it.
        stopped_early: Why it ended before its last step, None if it did not.
        verdicts: Of a training that learns from verdicts.
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
    """What a run trained and tested on.

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
    """What a run took.

    Attributes:
        wall_seconds: By stage.
        peak_memory_bytes: Of the GPU; without one, of the process.
        sampled_tokens: In the answers that were kept.
        trained_tokens: In the steps that were kept.
        usage: Tokens worked on, also those that a killed run had to do again.
        dollars: Their price, None where none is known.
        prices: It is reckoned with these.
    """

    wall_seconds: dict[str, float]
    peak_memory_bytes: int
    sampled_tokens: int
    trained_tokens: int
    usage: TokenUsage
    dollars: float | None
    prices: PricesUsed | None = optional()


class Summary(Record):
    """``summary.json``: what a run came to.

    Attributes:
        name: Of the run.
        created: ISO time.
        backend: Where it ran.
        base_model: As its backend calls it.
        headline: Execution accuracy before and after.
        evaluations: By label.
        novel: The answers on new schemas.
        training: None if there was none.
        data: What it trained and tested on.
        cost: What it took.
        notes: What a reader must know, in sentences.
        stages: Those carried out to the end.
    """

    name: str
    created: str
    backend: str
    base_model: str
    headline: Headline
    evaluations: dict[str, EvaluationSummary]
    novel: Several[NovelAnswers]
    training: TrainingSummary | None
    data: DataSummary
    cost: RunCost
    notes: Several[str]
    stages: Several[str]


class Fingerprint(Part):
    """One input.

    Attributes:
        digest: Of its contents.
        count: How many there are of it, where it is several.
    """

    digest: str
    count: int | None = optional()


class Inputs(Record):
    """``inputs.json``: a fingerprint for every input that the run has; one that it does not have is left out."""

    inputs: dict[str, Fingerprint]


class TrackedRun(Part):
    """A run in an experiment tracker.

    Attributes:
        project: As the configuration calls it.
        id: By which the tracker finds it again.
    """

    project: str
    id: str


class TrackedRuns(Record):
    """``trackers.json``: the run of each tracker that this run is sent to, by the tracker's package."""

    runs: dict[str, TrackedRun]
