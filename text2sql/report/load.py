"""A run directory as one value: whatever is there, and a note about what could not be read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from text2sql.errors import UserError

SIDES = ("base", "tuned")
WAYS = {  # evaluations beside these two
    "few-shot": "base, solved examples in the prompt",
    "base-vote": "base, vote of samples",
    "base-retry": "base, asked again on errors",
    "tuned-vote": "tuned, vote of samples",
    "tuned-retry": "tuned, asked again on errors",
}

# Values of such keys are not shown: reports are passed around.
_SECRET = re.compile(r"(?im)^(\s*[\w.-]*(?:api_key|secret|password|(?:hf|access|auth)_token)\s*:\s*)(?!null\b)(\S.*)$")


@dataclass(frozen=True)
class RunData:
    """What a run directory holds.

    Attributes:
        name: Name of the run, from the summary or from the directory.
        summary: ``summary.json``, or an empty dict.
        metrics: One row per optimiser step, in order of step.
        predictions: Prediction rows by side (``"base"``, ``"tuned"``); a side that is absent has no key.
        config: Text of ``config.yaml``, secrets masked.
        environment: ``environment.json``, flattened to dotted keys.
        problems: Sentences about what was skipped or does not agree.
    """

    name: str
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    predictions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    config: str = ""
    environment: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def section(self, *keys: str) -> dict[str, Any]:
        """A nested part of the summary, or an empty dict when it is absent or of another shape."""
        return section(self.summary, *keys)

    def evaluation(self, side: str) -> dict[str, Any]:
        """Counts and rates of one side; where the headline has them too (its wider intervals), the headline's."""
        return {**self.section("evaluations", side), **self.section("headline", side)}


def section(value: Any, *keys: str) -> dict[str, Any]:
    """Follow ``keys`` into nested dicts; an empty dict where the way ends."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def number(value: Any) -> float | None:
    """``value`` as a finite float, or None when it is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def load_run(run_dir: Path, sides: Sequence[str] = SIDES) -> RunData:
    """Read every part of a run that is there.

    Args:
        run_dir: The run directory.
        sides: Whose answers to read, of `SIDES` and `WAYS`.

    Returns:
        The run; parts that are absent are empty, parts that cannot be read are named in ``problems``.

    Raises:
        UserError: The directory does not exist or holds nothing that a report could be made from.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise UserError(f"No run directory at {run_dir}: give the directory that `text2sql run` or `evaluate` wrote.")
    problems: list[str] = []
    summary = _read_object(run_dir / "summary.json", problems)
    metrics = _last_of_each(_read_rows(run_dir / "metrics.jsonl", problems), "step", "metrics.jsonl", problems)
    metrics = sorted((row for row in metrics if number(row.get("step")) is not None), key=lambda row: row["step"])
    predictions = {}
    for side in sides:
        path = run_dir / f"predictions-{side}.jsonl"
        rows = _last_of_each(_read_rows(path, problems), "id", path.name, problems)
        if rows:
            predictions[side] = rows
    if not (summary or metrics or predictions):
        raise UserError(
            f"Nothing to report in {run_dir}: no summary.json, metrics.jsonl or predictions-*.jsonl that can be read."
        )
    run = RunData(
        name=str(summary.get("name") or run_dir.resolve().name),
        summary=summary,
        metrics=metrics,
        predictions=predictions,
        config=_SECRET.sub(r"\1(not shown)", _read_text(run_dir / "config.yaml", problems)),
        environment=flatten(_read_object(run_dir / "environment.json", problems)),
        problems=problems,
    )
    problems.extend(_disagreements(run))
    return run


def flatten(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted keys."""
    flat: dict[str, Any] = {}
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


def _read_object(path: Path, problems: list[str]) -> dict[str, Any]:
    text = _read_text(path, problems)
    if not text:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return value
    problems.append(f"{path.name} is not a JSON object and was left out.")
    return {}


def _read_rows(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    unreadable = 0
    # Not splitlines(): a JSON string may hold U+2028 and its like.
    for line in _read_text(path, problems).split("\n"):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(row)
        else:
            unreadable += 1
    if unreadable:
        problems.append(f"{path.name}: {unreadable} unreadable line{'s' * (unreadable > 1)} skipped.")
    return rows


def _last_of_each(rows: list[dict[str, Any]], key: str, name: str, problems: list[str]) -> list[dict[str, Any]]:
    """One row for each value of ``key``: the one written last, at the place of the first."""
    kept: dict[Hashable, dict[str, Any]] = {}
    for index, row in enumerate(rows):
        value = row.get(key)
        # A validation has a line of the same step after the step's own.
        known = isinstance(value, str | int | float)
        kept[(value, "loss" in row) if known else ("no key", index)] = row
    if len(kept) < len(rows):
        problems.append(f"{name}: {len(rows) - len(kept)} repeated rows; the last one for each {key} is shown.")
    return list(kept.values())


def _disagreements(run: RunData) -> list[str]:
    """Sentences about counts that do not agree between the summary and the predictions."""
    found = []
    for side, rows in run.predictions.items():
        evaluation = run.evaluation(side)
        correct = sum(bool(section(row, "verdict").get("correct")) for row in rows)
        for what, stated, counted in (
            ("questions", evaluation.get("n"), len(rows)),
            ("correct answers", evaluation.get("correct"), correct),
        ):
            if number(stated) is not None and stated != counted:
                found.append(
                    f"The summary counts {stated} {what} for the {side} model, predictions-{side}.jsonl {counted}: "
                    "headline and examples may come from different evaluations."
                )
    sizes = [number(run.evaluation(side).get("n")) for side in SIDES]
    if None not in sizes and sizes[0] != sizes[1]:
        found.append("The two models were evaluated on different numbers of questions.")
    return found
