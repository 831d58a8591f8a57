"""A run directory as one value: whatever is there, and a sentence about what could not be read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue

from text2sql.errors import UserError
from text2sql.report.prediction_index import IndexedPrediction, PredictionIndex
from text2sql.rows import read_jsonl
from text2sql.rows.values import json_kind
from text2sql.runs.evaluation_summary import EvaluationSummary
from text2sql.runs.models import SIDES
from text2sql.runs.record_files import NotARecord, parse, refusal
from text2sql.runs.records import METRICS, MetricsRow, Prediction, R, StepMetrics, Validation, predictions_file
from text2sql.runs.rollouts import ROLLOUTS, PaidGroup, RlStepMetrics, SampledGroup
from text2sql.runs.summary import ENVIRONMENT, SUMMARY, Environment, Score, Summary

# Values of such keys are not shown: reports are passed around.
_SECRET = re.compile(r"(?im)^(\s*[\w.-]*(?:api_key|secret|password|(?:hf|access|auth)_token)\s*:\s*)(?!null\b)(\S.*)$")
T = TypeVar("T")


@dataclass(frozen=True)
class RunData:
    """What a run directory holds.

    Attributes:
        name: Name of the run, from the summary or from the directory.
        summary: None where there is none that can be read.
        metrics: One row per optimiser step and validation, in order of step.
        predictions: By side (``"base"``, ``"tuned"``), in brief; a side that is absent has no key.
        config: Text of ``config.yaml``, secrets masked.
        environment: ``environment.json``, flattened to dotted keys.
        rollouts: Of a run that learns from verdicts; empty until `with_rollouts` has read them.
        problems: Sentences about what was skipped or does not agree.
    """

    name: str
    summary: Summary | None = None
    metrics: list[MetricsRow] = field(default_factory=list)
    predictions: dict[str, PredictionIndex] = field(default_factory=dict)
    config: str = ""
    environment: dict[str, JsonValue] = field(default_factory=dict)
    rollouts: list[SampledGroup | PaidGroup] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def evaluation(self, side: str) -> EvaluationSummary | None:
        """What the predictions of one side came to."""
        return self.summary.evaluations.get(side) if self.summary else None

    def score(self, side: str) -> Score | None:
        """The accuracy of one side with the interval that the headline shows."""
        if self.summary is None:
            return None
        head = self.summary.headline
        return {"base": head.base, "start": head.start, "tuned": head.tuned}.get(side)


def load_run(run_dir: Path, sides: Sequence[str] = SIDES, *, strict: bool = False, going_on: bool = False) -> RunData:
    """Read every part of a run that is there.

    Args:
        run_dir: The run directory.
        sides: Whose predictions to read, by label.
        strict: Refuse predictions of which one cannot be read, where else it is left out and named.
        going_on: Whether a process may be writing: a last line that is not complete is then no damage.

    Returns:
        The run; parts that are absent are empty, parts that cannot be read are named in ``problems``.

    Raises:
        UserError: The directory does not exist or holds nothing that a report could be made from.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise UserError(f"No run directory at {run_dir}: give the directory that `text2sql run` or `evaluate` wrote.")
    problems: list[str] = []
    summary = _read_object(run_dir / SUMMARY, Summary, problems)
    measured: Iterator[tuple[int, MetricsRow]] = _read_rows(
        run_dir / METRICS, problems, RlStepMetrics, StepMetrics, Validation, going_on=going_on
    )
    metrics = [row for _, row in measured]
    metrics = _last_of_each(metrics, lambda row: (isinstance(row, Validation), row.step), "step", METRICS, problems)
    predictions = {}
    for side in sides:
        path = run_dir / predictions_file(side)
        rows = [
            IndexedPrediction.of(line, row)
            for line, row in _read_rows(path, problems, Prediction, strict=strict, going_on=going_on)
        ]
        rows = _last_of_each(rows, lambda row: row.id, "id", path.name, problems)
        if rows:
            predictions[side] = PredictionIndex(path, rows)
    if not (summary or metrics or predictions):
        raise UserError(
            f"Nothing to report in {run_dir}: no summary.json, metrics.jsonl or predictions-*.jsonl that can be read."
        )
    environment = _read_object(run_dir / ENVIRONMENT, Environment, problems)
    run = RunData(
        name=summary.name if summary else run_dir.resolve().name,
        summary=summary,
        metrics=sorted(metrics, key=lambda row: row.step),
        predictions=predictions,
        config=_SECRET.sub(r"\1(not shown)", _read_text(run_dir / "config.yaml", problems)),
        environment=flatten(environment.to_json()) if environment else {},
        problems=problems,
    )
    problems.extend(_disagreements(run))
    return run


def with_rollouts(run: RunData, run_dir: Path) -> RunData:
    """The run with what it has sampled, which is large and which only its own report shows."""
    rows: Iterator[tuple[int, SampledGroup | PaidGroup]] = _read_rows(
        run_dir / ROLLOUTS, run.problems, SampledGroup, PaidGroup
    )
    return replace(run, rollouts=[row for _, row in rows])


def flatten(value: Mapping[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    """Nested dicts as one dict with dotted keys."""
    flat: dict[str, JsonValue] = {}
    for key, item in value.items():
        if isinstance(item, dict) and item:
            flat.update(flatten(item, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def _read_text(path: Path, problems: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        problems.append(f"{path.name} could not be read: {error.strerror or error}.")
        return ""


def _read_object(path: Path, kind: type[R], problems: list[str]) -> R | None:
    text = _read_text(path, problems)
    if not text:
        return None
    try:
        value = json.loads(text)
        if not isinstance(value, dict):
            raise NotARecord(f"is {json_kind(value)}, not an object")
        return parse(value, kind)
    except NotARecord as error:
        problems.append(f"{path.name} {error}; it was left out.")
    except (ValueError, RecursionError) as error:
        problems.append(f"{path.name} is not JSON ({error}); it was left out.")
    return None


def _read_rows(
    path: Path, problems: list[str], *kinds: type[R], strict: bool = False, going_on: bool = False
) -> Iterator[tuple[int, R]]:
    """The records of a file with the numbers of their lines; at its end, what could not be read is among `problems`."""
    unreadable: list[str] = []
    try:
        for number, value in read_jsonl(path, skipped=unreadable, appended=going_on):
            try:
                record = parse(value, *kinds)
            except NotARecord as error:
                if strict:
                    raise refusal(path, f"line {number}", error) from error
                unreadable.append(f"line {number} {error}")
            else:
                yield number, record
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(f"{path.name} could not be read: {error.strerror or error}.")
    if unreadable:
        what = f"{len(unreadable)} unreadable line{'s' * (len(unreadable) > 1)} skipped"
        problems.append(f"{path.name}: {what} ({'' if len(unreadable) == 1 else 'the first: '}{unreadable[0]}).")


def _last_of_each(rows: list[T], key: Callable[[T], Hashable], name: str, file: str, problems: list[str]) -> list[T]:
    """One row for each key: the one written last, at the place of the first."""
    kept = {key(row): row for row in rows}
    if len(kept) < len(rows):
        problems.append(f"{file}: {len(rows) - len(kept)} repeated rows; the last one for each {name} is shown.")
    return list(kept.values())


def _disagreements(run: RunData) -> list[str]:
    """Sentences about counts that do not agree between the summary and the predictions."""
    found = []
    for side, rows in run.predictions.items():
        evaluation = run.evaluation(side)
        if evaluation is None:
            continue
        correct = sum(row.correct for row in rows)
        for what, stated, counted in (
            ("questions", evaluation.n, len(rows)),
            ("correct answers", evaluation.correct, correct),
        ):
            if stated != counted:
                found.append(
                    f"The summary counts {stated} {what} for the {side} model, predictions-{side}.jsonl {counted}: "
                    "headline and examples may come from different evaluations."
                )
    sizes = {evaluation.n for side in SIDES if (evaluation := run.evaluation(side))}
    if len(sizes) > 1:
        found.append("The two models were evaluated on different numbers of questions.")
    return found
