"""A run directory as one value: everything that is there, and sentences about what could not be read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import JsonValue

from backends.redaction import names_secret, redact
from text2sql.errors import UserError
from text2sql.report.prediction_index import IndexedPrediction, PredictionIndex
from text2sql.rows import read_jsonl
from text2sql.rows.files import read_bytes
from text2sql.rows.json_text import parse_json
from text2sql.rows.values import json_kind
from text2sql.runs.evaluation_summary import EvaluationSummary
from text2sql.runs.models import SIDES
from text2sql.runs.record_files import InvalidRecord, damaged_error, last_of_each, parse, read_numbered
from text2sql.runs.records import METRICS, MetricsRow, Prediction, R, StepMetrics, Validation, predictions_file
from text2sql.runs.rollouts import ROLLOUTS, GradedGroup, RlStepMetrics, SampledGroup
from text2sql.runs.summary import ENVIRONMENT, SUMMARY, Environment, Score, Summary

# A key with its value on a line of YAML.
_KEY = re.compile(r"\s*(?:[\w-]+\.)*([\w-]+)\s*:[^\S\n]*(?!null\b)(?=\S)")


@dataclass(frozen=True)
class RunData:
    """The contents of a run directory.

    Attributes:
        name: Name of the run, from the summary or from the directory.
        summary: The summary; None if there is none that can be read.
        metrics: One row per optimiser step and validation, in order of step.
        predictions: Index of the predictions by side (``"base"``, ``"tuned"``); an absent side has no key.
        config: Text of ``config.yaml``, secrets masked.
        environment: ``environment.json``, flattened to dotted keys.
        rollouts: Rollouts of a run that learns from verdicts; empty until `with_rollouts` has read them.
        problems: Sentences about what was skipped or is inconsistent.
    """

    name: str
    summary: Summary | None = None
    metrics: list[MetricsRow] = field(default_factory=list)
    predictions: dict[str, PredictionIndex] = field(default_factory=dict)
    config: str = ""
    environment: dict[str, JsonValue] = field(default_factory=dict)
    rollouts: list[SampledGroup | GradedGroup] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def evaluation(self, side: str) -> EvaluationSummary | None:
        """The evaluation summary of one side."""
        return self.summary.evaluations.get(side) if self.summary else None

    def score(self, side: str) -> Score | None:
        """The accuracy of one side with the interval that the headline shows."""
        if self.summary is None:
            return None
        head = self.summary.headline
        return {"base": head.base, "start": head.start, "tuned": head.tuned}.get(side)


def load_run(
    run_dir: Path, sides: Sequence[str] = SIDES, *, strict: bool = False, in_progress: bool = False
) -> RunData:
    """Read every part of a run that is there.

    Args:
        run_dir: The run directory.
        sides: Labels of the evaluations whose predictions are read.
        strict: Refuse a prediction that cannot be read, and two answers to one question; otherwise what cannot be read
            is left out, the last answer counts, and both are reported in ``problems``.
        in_progress: Whether a process may be writing: an incomplete last line is then no damage.

    Returns:
        The run; absent parts are empty, parts that cannot be read are reported in ``problems``.

    Raises:
        UserError: The directory does not exist or holds nothing that a report could be made from.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise UserError(f"No run directory at {run_dir}: give the directory that `text2sql run` or `evaluate` wrote.")
    problems: list[str] = []
    summary = _read_object(run_dir / SUMMARY, Summary, problems)
    metrics_rows: Iterator[tuple[int, MetricsRow]] = _read_rows(
        run_dir / METRICS, problems, RlStepMetrics, StepMetrics, Validation, in_progress=in_progress
    )
    unrepeated = last_of_each(
        run_dir / METRICS, metrics_rows, lambda row: (isinstance(row, Validation), row.step), "step"
    )
    problems.extend(filter(None, [unrepeated.note]))
    metrics = unrepeated.rows
    predictions = {}
    for side in sides:
        path = run_dir / predictions_file(side)
        read = (
            read_numbered(path, Prediction)
            if strict
            else _read_rows(path, problems, Prediction, in_progress=in_progress)
        )
        indexed = ((line, IndexedPrediction.of(line, row)) for line, row in read)
        answers = last_of_each(path, indexed, lambda row: row.id, "id")
        if strict and answers.conflict:
            raise damaged_error(path, answers.conflict)
        problems.extend(filter(None, [answers.note]))
        if answers.rows:
            predictions[side] = PredictionIndex(path, answers.rows)
        elif path.is_file():
            problems.append(f"{path.name} has no answers.")
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
        config=_without_secrets(_read_text(run_dir / "config.yaml", problems)),
        environment=flatten(environment.to_json()) if environment else {},
        problems=problems,
    )
    problems.extend(_inconsistencies(run))
    return run


def with_rollouts(run: RunData, run_dir: Path) -> RunData:
    """The run with its rollouts, which are large and shown only in its own report."""
    rows: Iterator[tuple[int, SampledGroup | GradedGroup]] = _read_rows(
        run_dir / ROLLOUTS, run.problems, SampledGroup, GradedGroup
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


def _without_secrets(config: str) -> str:
    """The text of a configuration, secrets masked: reports are passed around, and earlier versions took passwords."""
    lines = config.split("\n")
    for index, line in enumerate(lines):
        key = _KEY.match(line)
        lines[index] = f"{key[0]}(not shown)" if key and names_secret(key[1]) else redact(line)
    return "\n".join(lines)


def _read_text(path: Path, problems: list[str]) -> str:
    """The text of a file; empty, with a sentence in `problems`, if it is empty or cannot be read."""
    try:
        text = read_bytes(path).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        problems.append(f"{path.name} could not be read: {error.strerror or error}.")
        return ""
    if not text.strip():
        problems.append(f"{path.name} is empty; it was left out.")
        return ""
    return text


def _read_object(path: Path, kind: type[R], problems: list[str]) -> R | None:
    text = _read_text(path, problems)
    if not text:
        return None
    try:
        value = parse_json(text)
        if not isinstance(value, dict):
            raise InvalidRecord(f"is {json_kind(value)}, not an object")
        return parse(value, kind)
    except InvalidRecord as error:
        problems.append(f"{path.name} {error}; it was left out.")
    except (ValueError, RecursionError) as error:
        problems.append(f"{path.name} is not JSON ({error}); it was left out.")
    return None


def _read_rows(path: Path, problems: list[str], *kinds: type[R], in_progress: bool = False) -> Iterator[tuple[int, R]]:
    """Yield the records of a file with their line numbers; `problems` gets a sentence on lines that cannot be read."""
    unreadable: list[str] = []
    try:
        for number, value in read_jsonl(path, skipped=unreadable, appended=in_progress):
            try:
                record = parse(value, *kinds)
            except InvalidRecord as error:
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


def _inconsistencies(run: RunData) -> list[str]:
    """Sentences about counts that differ between the summary and the predictions."""
    sentences = []
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
                sentences.append(
                    f"The summary counts {stated} {what} for the {side} model, predictions-{side}.jsonl {counted}: "
                    "headline and examples may come from different evaluations."
                )
    sizes = {evaluation.n for side in SIDES if (evaluation := run.evaluation(side))}
    if len(sizes) > 1:
        sentences.append("The two models were evaluated on different numbers of questions.")
    return sentences
