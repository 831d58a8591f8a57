"""The records of a run directory's JSON Lines files, and the one way in which a line becomes a record.

A record is frozen and complete: a line that lacks a key, or holds a value of another type, is refused in one sentence
that names file, line, key and format. Keys that this version does not know are kept and written again.

Records carry the number of their format. Format 1 is written without the number, so that a line of format 1 is the
same bytes in every version; a line of a newer format is refused, since its keys may mean something else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, Strict, ValidationError
from pydantic_core import PydanticCustomError

import text2sql
from text2sql.config.wording import sentence
from text2sql.equivalence.verdict import STATUSES, Verdict
from text2sql.errors import UserError
from text2sql.rows import json_kind, read_jsonl
from text2sql.sql.hardness import Hardness

FORMAT = 1

METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints.jsonl"
TRAINING_RUNS = "training_runs.jsonl"
SAMPLES = "samples.jsonl"
USAGE = "usage.jsonl"
TIMINGS = "timings.jsonl"

T = TypeVar("T")
# JSON has lists only, which strict validation would not take for tuples.
Several = Annotated[tuple[T, ...], Strict(False)]


def predictions_file(label: str) -> str:
    """Name of the file that holds the predictions of an evaluation."""
    return f"predictions-{label}.jsonl"


def _is_none(value: object) -> bool:
    return value is None


def optional(**more: Any) -> Any:
    """A field that is left out of the file where it has no value."""
    return Field(default=None, exclude_if=_is_none, **more)


class Part(BaseModel):
    """A frozen part of a record."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", validate_by_name=True, serialize_by_alias=True)

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON, as it stands in its file."""
        return self.model_dump()


class Record(Part):
    """One line of a file, or one file.

    Attributes:
        format: The version of the keys and their meaning.
    """

    format: int = Field(default=1, exclude_if=lambda number: number == 1)


R = TypeVar("R", bound=Record)


# What is known of one answer


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
    """What the benchmarks' scripts say of one prediction; None where they cannot say.

    Attributes:
        spider_ex: Whether Spider's comparison accepts it on the question's database.
        spider_test_suite: Whether it does on all databases; None where there is one.
        bird_ex: Whether BIRD's does.
        bird_soft_f1: Between 0 and 1.
        bird_rves: The reward: 0 for a wrong result, else 0.25 to 1.25; None if it was not measured.
        time_ratio: Run time of the gold query by that of the prediction, as the reward takes it.
        failure: Why the prediction gave no result.
        gold_failure: Why the gold query gave none: then nothing is scored.
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
            gave none.
        correct: The judge's verdict, None unless ``judged``.
        error_type: What is wrong, by the judge's classes; None unless ``judged``.
        reason: Of the judge; what was wrong with its answer; or why there is none.
    """

    status: Literal["judged", "malformed", "unanswered"]
    correct: bool | None = None
    error_type: str | None = None
    reason: str = ""


class Checks(Part):
    """The yes-or-no measures of one prediction that need no database.

    Attributes:
        exact_match: The same words as the gold query.
        canonical_match: The same canonical form.
        valid_syntax: It parses.
        valid_schema: It names only what the schema has.
        executable: It runs.
    """

    exact_match: bool
    canonical_match: bool
    valid_syntax: bool
    valid_schema: bool
    executable: bool


class Prediction(Record):
    """One answer of a model to one question, and how it was judged: a line of ``predictions-LABEL.jsonl``.

    Attributes:
        id: Of the question.
        question: In natural language.
        context: The schema as ``CREATE TABLE`` statements.
        gold: The gold query.
        prompt: What the model was given.
        raw: What it wrote, up to and including what stopped it.
        stop_reason: ``stop``, or ``length`` if it was cut off.
        tokens: Length of the answer in tokens; of all samples where it was chosen from several.
        prompt_tokens: Length of the prompt in tokens.
        samples: Answers that it was chosen from.
        cluster: What questions that are not independent share: their database or domain.
        evidence: External knowledge given with the question.
        sql: The query in the answer.
        labels: In which ways it departs from the gold query, none for a correct one.
        hardness: Spider's level of the gold query.
        checks: The measures that need no database.
        verdict: Of the evaluator.
        benchmark: What the benchmarks' scripts say, where there is a real database.
        judge: The second opinion of a language model, where one was asked.
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
    labels: Several[str]
    hardness: Hardness
    checks: Checks
    verdict: JsonVerdict
    benchmark: BenchmarkScore | None = optional()
    judge: Opinion | None = optional()

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
        learning_rate: Of this step.
        grad_norm: Norm of the gradient before clipping; None where the backend does not say.
        examples: In the batch.
        tokens: Of prompts and completions together.
        seconds: Since the step before, without validation and saving.
        tokens_per_second: `tokens` by `seconds`.
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


class Validation(Record):
    """One validation: a line of ``metrics.jsonl`` after that of its step.

    Attributes:
        step: The steps done.
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
        name: Of the checkpoint on its backend.
        step: The steps done.
        state_path: ``tinker://`` path of weights and optimiser, to train on.
        sampler_path: ``tinker://`` path of the weights, to sample from.
        expires: ISO time at which a server deletes it; None where it stays.
    """

    name: str
    step: int
    state_path: str
    sampler_path: str
    expires: str | None = optional()


class StartRecord(Part):
    """Which saved weights a training began with.

    Attributes:
        run: Name of the run that trained them, where they are a run's.
        directory: Of that run.
        checkpoint: Their ``tinker://`` path.
        step: Of that run.
        data: Every source that they were trained on; None where it is not known.
    """

    run: str | None = optional()
    directory: str | None = optional()
    checkpoint: str
    step: int | None = optional()
    data: Several[str] | None = optional()


def describe_start(start: StartRecord) -> str:
    """Where the weights come from that a training began with."""
    step = f", step {start.step:,}" if start.step is not None else ""
    return f"{start.run}{step}" if start.run else start.checkpoint


class TrainingRun(Record):
    """A training client that the run has had: a line of ``training_runs.jsonl``.

    Attributes:
        training_run: The client's id on its backend.
        start_from: The saved weights it began with, None for none.
    """

    training_run: str
    start_from: StartRecord | None = optional()


# What the work took


class Usage(Record):
    """Tokens of one piece of work, by what the API charges for: a line of ``usage.jsonl``."""

    stage: str
    train: int
    prefill: int
    sample: int


class Timing(Record):
    """Seconds that one group of questions took to answer and judge: a line of ``timings.jsonl``."""

    stage: str
    seconds: float


# Reading and writing


class NotARecord(ValueError):
    """An object that is no record of the kind asked for; the message goes on from "line 3 "."""


class NewerFormat(NotARecord):
    """A record of a format that this version does not know."""


def parse(value: Mapping[str, Any], *kinds: type[R]) -> R:
    """A JSON object as a record.

    Args:
        value: The object.
        kinds: What it may be. It is taken for the kind of whose required keys it lacks the fewest.

    Raises:
        NotARecord: It is none of them; the message names the key and the format.
    """
    number = value.get("format", 1)
    if not isinstance(number, int) or number > FORMAT:
        raise NewerFormat(f"is of format {number}; text2sql {text2sql.__version__} reads formats up to {FORMAT}")
    lacking = {kind: [key for key in _required(kind) if key not in value] for kind in kinds}
    kind = min(kinds, key=lambda kind: len(lacking[kind]))
    if lacking[kind]:
        raise NotARecord(f"has no {', '.join(lacking[kind])}, which format {number} needs")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise NotARecord(f"is not of format {number}: {key} {sentence(problem)}") from error


def read_records(path: Path, *kinds: type[R]) -> list[R]:
    """The records of a JSON Lines file, none where there is no file; an incomplete last line is left out.

    Raises:
        UserError: A line is not a record of one of these kinds; one sentence names file, line, key and format.
    """
    if not path.is_file():
        return []
    found = []
    try:
        for number, value in read_jsonl(path, appended=True):
            try:
                found.append(parse(value, *kinds))
            except NotARecord as error:
                raise refusal(path, f"line {number}", error) from error
    except ValueError as error:
        raise damaged(path, str(error)) from error
    return found


def read_record(path: Path, kind: type[R]) -> R | None:
    """The record in a JSON file, None where there is no file.

    Raises:
        UserError: The file is not that record; one sentence names file, key and format.
    """
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise NotARecord(f"is {json_kind(value)}, not an object")
        return parse(value, kind)
    except NotARecord as error:
        raise refusal(path, "it", error) from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, str(error)) from error


def refusal(path: Path, place: str, error: NotARecord) -> UserError:
    """The error for a file of a run with something else than a record at a place in it."""
    if isinstance(error, NewerFormat):
        return UserError(f"{path}: {place} {error}. Install the version that wrote it, or a newer one.")
    return damaged(path, f"{place} {error}")


def damaged(path: Path, what: str) -> UserError:
    """The error for a file of a run that cannot be used as it is."""
    return UserError(f"{path} is damaged ({what}). Restore it, or start anew with on_existing=overwrite.")


def _required(kind: type[Record]) -> Sequence[str]:
    return [field.alias or name for name, field in kind.model_fields.items() if field.is_required()]
