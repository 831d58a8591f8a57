"""What the page says after the headline: failures by kind of question, the benchmarks' metrics, the judge's opinion.

Everything here is read from the run's summary and its predictions; what is absent is left out of the page.
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
    """One group of questions, one model: the accuracy, the counts, whether it fails more than chance explains."""

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
    """The tables of kinds of questions, and for each side what is systematic and how that was tested."""

    sides: list[str]
    tables: list[tuple[str, list[Kind]]]
    statements: list[tuple[str, list[str]]]
    method: str


@dataclass(frozen=True)
class JudgeView:
    """The second opinion of a language model: a row for each fact, a value for each side that was judged."""

    sides: list[str] = field(default_factory=list)
    model: str = ""
    rows: list[tuple[str, list[str]]] = field(default_factory=list)


def evaluations(run: RunData) -> dict[str, EvaluationSummary]:
    """The evaluations that a report is about, by side."""
    return {side: found for side in SIDES if (found := run.evaluation(side))}


def benchmark_rows(run: RunData) -> list[tuple[str, list[str]]]:
    """The benchmarks' own metrics, each with a value for each side."""
    rows = []
    for metric in BENCHMARKS:
        found = [getattr(summary.benchmarks, metric.name, None) for summary in evaluations(run).values()]
        if any(found):
            label = f"{metric.label}, by its script's rule"
            rows.append((label, [metric.show(value.value if value else None) for value in found]))
    return rows


def status_rows(run: RunData) -> list[tuple[str, list[str]]]:
    """How many answers came to something else than equivalent, status by status."""
    rows = []
    for status in STATUSES:
        found = [summary.counts.get(status, 0) for summary in evaluations(run).values()]
        if status != "equivalent" and any(found):
            rows.append((f"Answers: {status_name(status)}", [count(value) for value in found]))
    return rows


def breakdown(run: RunData) -> BreakdownView:
    """Accuracy by kind of question, and what is systematic about the failures."""
    found = {side: summary.breakdown for side, summary in evaluations(run).items()}
    tables = []
    for dimension, title in _DIMENSIONS.items():
        kinds: dict[str, dict[str, Cell]] = {}
        for side, own in found.items():
            for row in own.tables.get(dimension, ()):
                cell = Cell(percent(row.accuracy), f"{count(row.correct)} of {count(row.n)}", row.systematic)
                kinds.setdefault(clip(row.group, 60), {})[side] = cell
        if kinds:
            shown = [Kind(name, [cells.get(side, Cell()) for side in found]) for name, cells in kinds.items()]
            tables.append((title, shown))
    return BreakdownView(
        sides=list(found),
        tables=tables,
        statements=[
            (side, [clip(text, 400) for text in own.statements[:20]]) for side, own in found.items() if own.statements
        ],
        method=next((clip(own.method, 400) for own in found.values()), ""),
    )


def judge(run: RunData) -> JudgeView:
    """The second opinion of a language model."""
    opinions = {side: summary.judge for side, summary in evaluations(run).items() if summary.judge}
    if not opinions:
        return JudgeView()
    facts = [judge_facts(opinion) for opinion in opinions.values()]
    rows = [(same[0][0], [text for _, text in same]) for same in zip(*facts, strict=True)]
    return JudgeView(list(opinions), clip(next(iter(opinions.values())).model, 120), rows)


def benchmark_line(row: Prediction) -> str:
    """What the benchmarks' scripts say of one answer, in one line; empty where there is no database."""
    found = {metric.label: getattr(row.benchmark, metric.name, None) for metric in BENCHMARKS}
    said = [f"{label} {'right' if value else 'wrong'}" for label, value in found.items() if isinstance(value, bool)]
    return f"On the real database: {', '.join(said)}." if said else ""


def judge_line(row: Prediction) -> str:
    """The judge's opinion of one answer, in one line; empty where none was asked."""
    if row.judge is None:
        return ""
    if row.judge.status != "judged":
        return f"Judge: {row.judge.status}."
    error = "" if row.judge.correct else f" ({str(row.judge.error_type).replace('_', ' ')})"
    return f"Judge: {'right' if row.judge.correct else 'wrong'}{error}. {clip(row.judge.reason, 300)}"
