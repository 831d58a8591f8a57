"""The records of a run directory's JSON Lines files; `text2sql.runs.record_files` reads them.

A record is frozen and complete: it has every key that its format needs. Keys that this version does not know are kept
and written again.

Records carry the number of their format. Format 1 is written without the number, so that a line of format 1 is the
same bytes in every version; a line of a newer format is refused, since its keys may mean something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PlainSerializer, PlainValidator, Strict
from pydantic_core import PydanticCustomError

from text2sql.equivalence.verdict import STATUSES, Verdict
from text2sql.sql.hardness import Hardness

FORMAT = 1

METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints.jsonl"
TRAINING_RUNS = "training_runs.jsonl"
SAMPLES = "samples.jsonl"
USAGE = "usage.jsonl"
TIMINGS = "timings.jsonl"
SESSIONS = "sessions.jsonl"

T = TypeVar("T")
# A tuple that is a list in JSON, which strict validation would refuse otherwise.
JsonTuple = Annotated[tuple[T, ...], Strict(False)]


def predictions_file(label: str) -> str:
    """Name of the file that holds the predictions of an evaluation."""
    return f"predictions-{label}.jsonl"


def _is_none(value: object) -> bool:
    return value is None


def optional(**more: Any) -> Any:
    """A field that is left out of the file where it is None."""
    return Field(default=None, exclude_if=_is_none, **more)


class Part(BaseModel):
    """A part of a record, frozen."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", validate_by_name=True, serialize_by_alias=True)

    def to_json(self) -> dict[str, JsonValue]:
        """The record as plain JSON, as written to its file."""
        return self.model_dump()


class Record(Part):
    """One line of a file, or one file.

    Attributes:
        format: The version of the keys and their meaning.
    """

    format: int = Field(default=1, exclude_if=lambda number: number == 1)


R = TypeVar("R", bound=Record)


# Predictions


def _read_verdict(value: Any) -> Verdict:
    if isinstance(value, Verdict):
        return value
    if not isinstance(value, Mapping):
        raise PydanticCustomError("verdict_type", "must hold keys and values")
    missing = [key for key in ("status", "reason", "strict", "lenient") if key not in value]
    if missing:
        raise PydanticCustomError("verdict_keys", "has no {keys}", {"keys": ", ".join(missing)})
    if value["status"] not in STATUSES:
        known = ", ".join(STATUSES)
        raise PydanticCustomError("verdict_status", "has a status that is none of {known}", {"known": known})
    if not (isinstance(value["strict"], bool) and isinstance(value["lenient"], bool)):
        raise PydanticCustomError("verdict_flags", "must have true or false for strict and lenient")
    try:
        return Verdict.from_dict(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PydanticCustomError("verdict_witness", "has a witness that cannot be read") from error


JsonVerdict = Annotated[Verdict, PlainValidator(_read_verdict), PlainSerializer(Verdict.to_dict)]


class BenchmarkScore(Part):
    """What the benchmarks' scripts say of one prediction; None where they say nothing.

    Attributes:
        spider_ex: Whether Spider's comparison accepts it on the question's database.
        spider_test_suite: Whether Spider's comparison accepts it on all databases; None where there is only one.
        bird_ex: Whether BIRD's comparison accepts it.
        bird_soft_f1: BIRD's Soft F1, between 0 and 1.
        bird_rves: BIRD's R-VES reward: 0 for a wrong result, else 0.25 to 1.25; None if it was not measured.
        time_ratio: Run time of the gold query divided by that of the prediction, as R-VES takes it.
        failure: Why the prediction gave no result.
        gold_failure: Why the gold query gave no result: then nothing is scored.
    """

    spider_ex: bool | None = None
    spider_test_suite: bool | None = None
    bird_ex: bool | None = None
    bird_soft_f1: float | None = None
    bird_rves: float | None = None
    time_ratio: float | None = None
    failure: str | None = None
    gold_failure: str | None = None


class Opinion(Part):
    """What a language model as a judge says of one prediction.

    Attributes:
        status: ``judged``; ``malformed`` if no answer was the JSON object asked for; ``unanswered`` if the endpoint
            gave no answer.
        correct: The judge's verdict, None unless ``judged``.
        error_type: What is wrong, by the judge's classes; None unless ``judged``.
        reason: The judge's reason; or what is wrong with its answer; or why there is no answer.
    """

    status: Literal["judged", "malformed", "unanswered"]
    correct: bool | None = None
    error_type: str | None = None
    reason: str = ""


class Checks(Part):
    """The yes-or-no measures of one prediction that need no database.

    Attributes:
        exact_match: Whether it has the same words as the gold query.
        canonical_match: Whether it has the same canonical form as the gold query.
        parses: Whether sqlglot parses it in its dialect; None in records of versions that did not check it.
        valid_syntax: Whether the engine that executes it parses it.
        valid_schema: Whether it names only tables and columns of the schema.
        executable: Whether it runs.
    """

    exact_match: bool
    canonical_match: bool
    parses: bool | None = optional()
    valid_syntax: bool
    valid_schema: bool
    executable: bool


class Prediction(Record):
    """One answer of a model to one question, and the verdict on it: a line of ``predictions-LABEL.jsonl``.

    Attributes:
        id: Id of the question.
        question: The question in natural language.
        context: The schema as ``CREATE TABLE`` statements.
        gold: The gold query.
        prompt: The prompt text.
        raw: What the model wrote, up to and including what stopped it.
        stop_reason: ``stop``, or ``length`` if it was cut off.
        tokens: Length of the answer in tokens; of all samples where it was chosen from several.
        prompt_tokens: Length of the prompt in tokens.
        samples: Number of answers that it was chosen from.
        cluster: What questions that are not independent share: their database or domain.
        evidence: External knowledge given with the question.
        sql: The query in the answer.
        labels: Labels of the ways in which it departs from the gold query, none for a correct one.
        hardness: Spider's level of the gold query.
        checks: The measures that need no database.
        verdict: The evaluator's verdict.
        benchmark: What the benchmarks' scripts say, where there is a real database.
        judge: The second opinion of a language model, where one was asked.
        right_samples: How many of the `samples` are right, where all have a verdict.
        thought: What the model thought before the answer, where it thinks; `tokens` counts it.
    """

    id: str
    question: str
    context: str
    gold: str
    prompt: str
    raw: str
    stop_reason: str
    tokens: int
    prompt_tokens: int
    samples: int
    cluster: str | None
    evidence: str | None = optional()
    sql: str
    labels: JsonTuple[str]
    hardness: Hardness
    checks: Checks
    verdict: JsonVerdict
    benchmark: BenchmarkScore | None = optional()
    judge: Opinion | None = optional()
    right_samples: int | None = optional()
    thought: str | None = optional()

    @property
    def correct(self) -> bool:
        """What accuracy counts."""
        return self.verdict.correct


class ValidationSample(Prediction):
    """A prediction on a validation question in the middle of training: a line of ``samples.jsonl``."""

    step: int


# Training


class StepMetrics(Record):
    """One optimiser step: a line of ``metrics.jsonl``.

    Attributes:
        step: Counted from 1.
        epoch: Passes over the training examples so far, as a fraction.
        loss: Mean loss per completion token of the batch.
        learning_rate: The rate of this step.
        grad_norm: Norm of the gradient before clipping; None where the backend does not say.
        examples: Examples in the batch.
        tokens: Tokens of their prompts and completions together.
        seconds: Time since the step before, without validation and saving.
        tokens_per_second: `tokens` divided by `seconds`.
    """

    step: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float | None
    examples: int
    tokens: int
    seconds: float
    tokens_per_second: float

    @property
    def shown(self) -> dict[str, float]:
        """What the progress bar of the training shows."""
        return {"loss": self.loss}


class Validation(Record):
    """One validation: a line of ``metrics.jsonl`` after that of its step.

    Attributes:
        step: Number of steps done.
        validation_loss: Mean loss per completion token of the validation examples.
        validation_accuracy: Share of the validation questions answered right, where these are asked.
    """

    step: int
    validation_loss: float
    validation_accuracy: float | None = optional()


MetricsRow = StepMetrics | Validation


class CheckpointRecord(Record):
    """A checkpoint that is kept: a line of ``checkpoints.jsonl``.

    Attributes:
        name: Name of the checkpoint on its backend.
        step: Number of steps done.
        state_path: ``tinker://`` path of weights and optimiser state, to continue training from.
        sampler_path: ``tinker://`` path of the weights, to sample from.
        expires: ISO time at which a server deletes it; None where it stays.
    """

    name: str
    step: int
    state_path: str
    sampler_path: str
    expires: str | None = optional()


class InitialWeightsRecord(Part):
    """Which saved weights a training began with.

    Attributes:
        run: Name of the run that trained them, where a run did.
        directory: Directory of that run.
        checkpoint: ``tinker://`` path of the weights.
        step: Number of steps of that run behind them.
        data: Every data source that they were trained on; None where it is not known.
        sampler_path: ``tinker://`` path of the copy that the run keeps as its reference model, if it keeps one.
    """

    run: str | None = optional()
    directory: str | None = optional()
    checkpoint: str
    step: int | None = optional()
    data: JsonTuple[str] | None = optional()
    sampler_path: str | None = optional()


def describe_initial_weights(initial: InitialWeightsRecord) -> str:
    """The source of the weights that a training began with, as a phrase."""
    step = f", step {initial.step:,}" if initial.step is not None else ""
    return f"{initial.run}{step}" if initial.run else initial.checkpoint


class TrainingRun(Record):
    """A training client of the run: a line of ``training_runs.jsonl``.

    Attributes:
        training_run: Id of the client on its backend.
        start_from: The saved weights that it began with, None for none.
    """

    training_run: str
    start_from: InitialWeightsRecord | None = optional()


# Tokens, sessions and times


class Usage(Record):
    """Tokens of one piece of work, by what the API charges for: a line of ``usage.jsonl``.

    Attributes:
        stage: What of the run they were for.
        train: Tokens trained on.
        prefill: Tokens in prompts.
        sample: Sampled tokens.
        cached: Of the prompt tokens, those that the service had read before.
    """

    stage: str
    train: int
    prefill: int
    sample: int
    cached: int | None = optional()


class Session(Record):
    """A session at a service that charges: a line of ``sessions.jsonl``."""

    id: str
    opened: str


class Timing(Record):
    """Seconds that one group of questions took to answer and judge: a line of ``timings.jsonl``."""

    stage: str
    seconds: float
