"""The entries of a comparison: one model of one run each, with its answers question by question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from text2sql.compare import check_run_count
from text2sql.config.yaml import read_yaml
from text2sql.errors import UserError
from text2sql.evaluation.statistics import clustered_interval, wilson_interval
from text2sql.inference.plan import known_evaluations, other_strategies
from text2sql.report.load import RunData, flatten, load_run
from text2sql.runs.directory import RunDirectory
from text2sql.runs.models import MODELS, SIDES
from text2sql.runs.records import MetricsRow, Prediction
from text2sql.runs.summary import RunCost, TrainingSummary

# Question, schema, gold query, and the number of equal questions before it. Ids differ from run to run.
QuestionKey = tuple[str, str, str, int]


@dataclass(frozen=True)
class Entry:
    """One model of one run.

    Attributes:
        label: Unique name in the comparison.
        run: The run.
        side: ``base``, ``tuned``, or the label of another strategy (`text2sql.inference.plan.other_strategies`).
    """

    label: str
    run: RunData
    side: str

    @cached_property
    def rows(self) -> dict[QuestionKey, Prediction]:
        """The answers by question."""
        seen: Counter[tuple[str, str, str]] = Counter()
        rows = {}
        answers = self.run.predictions[self.side]
        full = dict(answers.read(answers.rows))
        for row in map(full.__getitem__, answers):
            key = (row.question, row.context, row.gold)
            rows[(*key, seen[key])] = row
            seen[key] += 1
        return rows

    @property
    def base_model(self) -> str:
        """Name of the base model at the backend."""
        return self.run.summary.base_model if self.run.summary else "unknown"

    @property
    def backend(self) -> str:
        """Name of the backend."""
        return self.run.summary.backend if self.run.summary else "unknown"

    @cached_property
    def correct(self) -> int:
        """Number of correct answers."""
        return sum(row.correct for row in self.rows.values())

    @property
    def accuracy(self) -> float:
        """Accuracy on the run's own test questions."""
        return self.correct / len(self.rows)

    def share(self, name: str) -> float | None:
        """Share of the answers for which a check holds; None if it is not known of one of them."""
        values = [getattr(row.checks, name) for row in self.rows.values()]
        return None if None in values else sum(values) / len(values)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy; as in the run's report, questions on one database count as dependent."""
        right = [row.correct for row in self.rows.values()]
        clusters = [row.cluster for row in self.rows.values() if row.cluster is not None]
        if len(clusters) == len(right):
            return clustered_interval(right, clusters)
        return wilson_interval(sum(right), len(right))

    @property
    def on_one_database(self) -> bool:
        """Whether all questions are known to be about one database."""
        clusters = {row.cluster for row in self.rows.values()}
        return len(clusters) == 1 and None not in clusters

    @cached_property
    def settings(self) -> dict[str, JsonValue]:
        """The run's configuration by dotted key."""
        try:
            values = read_yaml(self.run.config) if self.run.config else None
        except ValueError:
            # Of a damaged one nothing can be compared, as of none; and a secret that is masked in it may be no YAML.
            values = None
        return flatten(values) if isinstance(values, dict) else {}

    @property
    def losses(self) -> list[MetricsRow]:
        """The rows of metrics; none for a base model."""
        return self.run.metrics if self.side == "tuned" else []

    @property
    def training(self) -> TrainingSummary | None:
        """The summary of its training; None for a base model."""
        return self.run.summary.training if self.run.summary and self.side == "tuned" else None

    @property
    def cost(self) -> RunCost | None:
        """The cost of its run."""
        return self.run.summary.cost if self.run.summary else None

    @property
    def sampled_tokens(self) -> int:
        """Length of all answers in tokens."""
        return sum(row.tokens for row in self.rows.values())

    @property
    def evaluation_seconds(self) -> float | None:
        """Time for answering and scoring the test questions."""
        return self.cost.wall_seconds.get(known_evaluations()[self.side].stage) if self.cost else None


def load_entries(names: Sequence[str]) -> list[Entry]:
    """Read the runs that are named.

    Raises:
        UserError: Runs cannot be read, or have no answers of the selected model; all of them are named.
    """
    check_run_count(names)
    selected, refused = [], []
    for name in names:
        try:
            selected.append(_select(name))
        except UserError as error:
            refused.append(error)
    if refused:
        raise UserError(" ".join(dict.fromkeys(map(str, refused)))) from refused[0]
    if len({(model.directory, model.side) for model in selected}) < len(selected):
        raise UserError("The same model of the same run is named twice; RUN:base is its base model.")
    run_names = {model.directory: model.run.name for model in selected}
    entries = []
    for run, side, directory in selected:
        namesakes = [other for other, name in run_names.items() if name == run.name]
        label = run.name if len(namesakes) == 1 else _distinguishing_path(directory, namesakes)
        is_default = side == RunDirectory(directory).compared_side()
        entries.append(Entry(label if is_default else f"{label}:{side}", run, side))
    return entries


def _distinguishing_path(directory: Path, others: Sequence[Path]) -> str:
    """The shortest end of a path that distinguishes it from the others."""
    depth = 1
    while sum(other.parts[-depth:] == directory.parts[-depth:] for other in others) > 1:
        depth += 1
    return "/".join(directory.parts[-depth:])


class _SelectedModel(NamedTuple):
    """A run, the side of the selected model, and the run's resolved directory."""

    run: RunData
    side: str
    directory: Path


def _select(name: str) -> _SelectedModel:
    """Read the run of ``DIRECTORY`` or ``DIRECTORY:SIDE``."""
    directory, _, side = name.rpartition(":")
    if Path(name).is_dir() or side not in (*MODELS, *other_strategies()):
        directory, side = name, ""
    # Strict, as a prediction that cannot be read is neither a correct answer nor a wrong one.
    run = load_run(Path(directory), tuple(dict.fromkeys((*SIDES, *([side] if side else ())))), strict=True)
    side = side or RunDirectory(Path(directory)).compared_side()
    if side not in run.predictions:
        others = f", only of its {' and '.join(run.predictions)} model" if run.predictions else ""
        hint = f" {directory}:base is its base model." if side == "tuned" and "base" in run.predictions else ""
        raise UserError(f"{directory} has no answers of its {side} model yet{others}; let the run finish.{hint}")
    return _SelectedModel(run, side, Path(directory).resolve())
