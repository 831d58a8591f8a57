"""The results of a sweep: mean and spread over seeds, and paired tests pooled over them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

from rich import box
from rich.table import Table

from backends.paths import written_aside
from text2sql.compare.entries import Entry, QuestionKey
from text2sql.console import console
from text2sql.evaluation.pooled import PooledComparison, pooled_comparison
from text2sql.formats import MISSING, bare_p_value, count, percent, points
from text2sql.report.load import load_run
from text2sql.sweep.plan import SEED, PlannedRun

TABLE = "sweep.json"


@dataclass(frozen=True)
class SweepResult:
    """The results of one setting of a sweep over its seeds.

    Attributes:
        setting: The values of the varied keys without the seed; empty where only the seed varies.
        directories: The run directory of each seed.
        seeds: The seeds, as written on the command line.
        accuracies: Execution accuracy of the tuned model for each seed.
        mean: Mean of the accuracies.
        deviation: Sample standard deviation (n - 1) of the accuracies; None for one seed.
        against_base: Tuned against base model, pooled over the seeds; None without a baseline.
        against_first: This setting against the first one, on the seeds that both have; None for the first.
    """

    setting: str
    directories: list[str]
    seeds: list[str]
    accuracies: list[float]
    mean: float
    deviation: float | None
    against_base: PooledComparison | None
    against_first: PooledComparison | None


@dataclass(frozen=True)
class _FinishedRun:
    """A finished run of the sweep with its two models."""

    run: PlannedRun
    tuned: Entry
    base: Entry | None

    @property
    def seed(self) -> str:
        return self.run.values.get(SEED, str(self.run.config.seed))


def gather(runs: Sequence[PlannedRun]) -> list[SweepResult]:
    """Compute the results of finished runs for each setting.

    Raises:
        UserError: A run's answers cannot be read.
    """
    settings: dict[str, list[_FinishedRun]] = {}
    for run in runs:
        settings.setdefault(run.setting, []).append(_read(run))
    first = next(iter(settings.values()))
    return [_result(setting, group, first) for setting, group in settings.items()]


def _read(run: PlannedRun) -> _FinishedRun:
    data = load_run(run.config.directory, strict=True)
    base = Entry(f"{run.label} base", data, "base") if "base" in data.predictions else None
    return _FinishedRun(run, Entry(run.label, data, "tuned"), base)


def _result(setting: str, group: Sequence[_FinishedRun], first: Sequence[_FinishedRun]) -> SweepResult:
    accuracies = [finished.tuned.accuracy for finished in group]
    baselines = [(finished.base, finished.tuned) for finished in group if finished.base]
    first_by_seed = {finished.seed: finished.tuned for finished in first}
    paired = [(first_by_seed[finished.seed], finished.tuned) for finished in group if finished.seed in first_by_seed]
    return SweepResult(
        setting=setting,
        directories=[str(finished.run.config.directory) for finished in group],
        seeds=[finished.seed for finished in group],
        accuracies=accuracies,
        mean=mean(accuracies),
        deviation=stdev(accuracies) if len(accuracies) > 1 else None,
        against_base=_pool(baselines),
        against_first=None if group is first else _pool(paired),
    )


def _pool(pairs: Sequence[tuple[Entry, Entry]]) -> PooledComparison | None:
    """Compare the second with the first of each pair, on the questions that all entries answered; None without any."""
    if not pairs:
        return None
    entries = [entry for pair in pairs for entry in pair]
    common: list[QuestionKey] = [q for q in entries[0].rows if all(q in entry.rows for entry in entries)]
    if not common:
        return None
    first, second = ([[pair[side].rows[q].correct for q in common] for pair in pairs] for side in (0, 1))
    return pooled_comparison(first, second)


def print_table(results: Sequence[SweepResult]) -> None:
    """Print a row for each setting, and what the columns mean."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    against_first = len(results) > 1
    columns = ["setting", "runs", "accuracy", "± over seeds", "lowest", "highest", "against base", "p"]
    for column in [*columns, *(["against the first", "p"] if against_first else [])]:
        table.add_column(column, overflow="fold")
    for result in results:
        row = [
            result.setting or "(as configured)",
            count(len(result.accuracies)),
            percent(result.mean),
            MISSING if result.deviation is None else points(result.deviation).lstrip("+"),
            percent(min(result.accuracies)),
            percent(max(result.accuracies)),
            *_format_test(result.against_base),
        ]
        table.add_row(*row, *(_format_test(result.against_first) if against_first else []))
    console.print(table)
    console.print(
        "Differences in points, with 95 % intervals, pooled over seeds: of each question the mean over its seeds, the "
        "p-value by exchanging signs of the questions. They hold for these seeds and questions like these."
    )


def _format_test(pooled: PooledComparison | None) -> tuple[str, str]:
    if pooled is None:
        return MISSING, MISSING
    return (
        f"{points(pooled.difference)} ({points(pooled.low)} to {points(pooled.high)})",
        bare_p_value(pooled.p_value),
    )


def write_table(results: Sequence[SweepResult], directory: Path) -> Path:
    """Write the results as JSON, atomically."""
    path = directory / TABLE
    with written_aside(path) as aside:
        aside.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n", encoding="utf-8")
    return path
