"""The sections on failures: accuracy by kind of question, the benchmarks' metrics, the LLM judge's opinions.

Everything is read from the run's summary and predictions; what is absent there is left out of the page.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from text2sql.equivalence.verdict import STATUSES
from text2sql.evaluation.metrics import BENCHMARKS, judge_facts, status_name
from text2sql.formats import MISSING, clip, count, percent
from text2sql.report.load import RunData
from text2sql.runs.evaluation_summary import EvaluationSummary
from text2sql.runs.models import SIDES
from text2sql.runs.records import Prediction

_DIMENSIONS = {"clause": "Clause of the gold query", "hardness": "Hardness", "tables": "Tables", "length": "Length"}


@dataclass(frozen=True)
class Cell:
    """A model's accuracy on one group of questions, the counts, and whether failures are systematic there."""

    share: str = MISSING
    amount: str = ""
    systematic: bool = False


@dataclass(frozen=True)
class Kind:
    """One group of questions with a cell for each side."""

    name: str
    cells: list[Cell]


@dataclass(frozen=True)
class BreakdownView:
    """The tables of accuracy by kind of question, and for each side the statements on what is systematic."""

    sides: list[str]
    tables: list[tuple[str, list[Kind]]]
    statements: list[tuple[str, list[str]]]
    method: str


@dataclass(frozen=True)
class JudgeView:
    """The opinions of the LLM judge: a row for each fact, with a value for each side."""

    sides: list[str] = field(default_factory=list)
    model: str = ""
    rows: list[tuple[str, list[str]]] = field(default_factory=list)


def evaluations(run: RunData) -> dict[str, EvaluationSummary]:
    """The evaluations that the report compares, by side."""
    return {side: summary for side in SIDES if (summary := run.evaluation(side))}


def benchmark_rows(run: RunData) -> list[tuple[str, list[str]]]:
    """The rows of the benchmarks' own metrics, with a value for each side."""
    rows = []
    for metric in BENCHMARKS:
        values = [getattr(summary.benchmarks, metric.name, None) for summary in evaluations(run).values()]
        if any(values):
            label = f"{metric.label}, by its script's rule"
            rows.append((label, [metric.show(value.value if value else None) for value in values]))
    return rows


def status_rows(run: RunData) -> list[tuple[str, list[str]]]:
    """The rows of the verdicts' statuses other than ``equivalent``, with the number of answers of each side."""
    rows = []
    for status in STATUSES:
        counts = [summary.counts.get(status, 0) for summary in evaluations(run).values()]
        if status != "equivalent" and any(counts):
            rows.append((f"Answers: {status_name(status)}", [count(value) for value in counts]))
    return rows


def breakdown(run: RunData) -> BreakdownView:
    """The section on accuracy by kind of question and systematic failures."""
    breakdowns = {side: summary.breakdown for side, summary in evaluations(run).items()}
    tables = []
    for dimension, title in _DIMENSIONS.items():
        kinds: dict[str, dict[str, Cell]] = {}
        for side, result in breakdowns.items():
            for row in result.tables.get(dimension, ()):
                cell = Cell(percent(row.accuracy), f"{count(row.correct)} of {count(row.n)}", row.systematic)
                kinds.setdefault(clip(row.group, 60), {})[side] = cell
        if kinds:
            rows = [Kind(name, [cells.get(side, Cell()) for side in breakdowns]) for name, cells in kinds.items()]
            tables.append((title, rows))
    return BreakdownView(
        sides=list(breakdowns),
        tables=tables,
        statements=[
            (side, [clip(text, 400) for text in result.statements[:20]])
            for side, result in breakdowns.items()
            if result.statements
        ],
        method=next((clip(result.method, 400) for result in breakdowns.values()), ""),
    )


def judge(run: RunData) -> JudgeView:
    """The section on the LLM judge's opinions."""
    opinions = {side: summary.judge for side, summary in evaluations(run).items() if summary.judge}
    if not opinions:
        return JudgeView()
    facts = [judge_facts(opinion) for opinion in opinions.values()]
    rows = [(same[0][0], [text for _, text in same]) for same in zip(*facts, strict=True)]
    return JudgeView(list(opinions), clip(next(iter(opinions.values())).model, 120), rows)


def benchmark_line(row: Prediction) -> str:
    """The benchmarks' metrics of one answer in one line; empty where there is no database."""
    values = {metric.label: getattr(row.benchmark, metric.name, None) for metric in BENCHMARKS}
    parts = [f"{label} {'right' if value else 'wrong'}" for label, value in values.items() if isinstance(value, bool)]
    return f"On the real database: {', '.join(parts)}." if parts else ""


def judge_line(row: Prediction) -> str:
    """The LLM judge's opinion of one answer in one line; empty where it was not asked."""
    if row.judge is None:
        return ""
    if row.judge.status != "judged":
        return f"Judge: {row.judge.status}."
    error = "" if row.judge.correct else f" ({str(row.judge.error_type).replace('_', ' ')})"
    return f"Judge: {'right' if row.judge.correct else 'wrong'}{error}. {clip(row.judge.reason, 300)}"
