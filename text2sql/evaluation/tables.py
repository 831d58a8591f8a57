"""The summary of an evaluation as tables on the terminal."""

from __future__ import annotations

from rich.table import Table

from text2sql.console import console
from text2sql.evaluation.metrics import (
    ACCURACY,
    BASIS_COLUMNS,
    BENCHMARKS,
    INTERVAL,
    RATES,
    SINGLE_DATABASE_NOTE,
    TRUNCATED,
    basis_cells,
    judge_facts,
    status_name,
)
from text2sql.formats import count, interval, percent
from text2sql.runs.evaluation_summary import BenchmarkSummary, EquivalenceBasis, EvaluationSummary, JudgeSummary

_MAX_LABELS = 12


def show_measures(title: str, summary: EvaluationSummary) -> None:
    """Print accuracy and the other rates, the statuses of the verdicts, and the breakdown of the failures.

    Args:
        title: Title of the first table.
        summary: The evaluation.
    """
    # Not as the table's own title, which wraps at the width of narrow tables.
    console.print(title)
    table = Table(show_header=False)
    table.add_row(ACCURACY.label, f"{ACCURACY.show(summary.accuracy)}  ({summary.correct}/{summary.n})")
    table.add_row(INTERVAL, interval(*summary.interval))
    for metric in RATES[1:]:
        value = getattr(summary, metric.name)
        if value is not None:
            table.add_row(metric.label, metric.show(value))
    table.add_section()
    unused = ("Real database took no part", summary.unused_databases)
    for status, count_ in (*summary.counts.items(), (TRUNCATED.label, summary.truncated), unused):
        if count_:
            table.add_row(status_name(status), str(count_))
    console.print(table)
    if summary.clustered and summary.clustered.clusters == 1:
        console.print(SINGLE_DATABASE_NOTE)
    if summary.evidence:
        show_basis(summary.evidence)
    if summary.benchmarks:
        show_benchmarks(summary.benchmarks)
    if summary.judge:
        show_judge(summary.judge)
    if summary.n > summary.correct:
        show_breakdown(summary)


def show_basis(basis: EquivalenceBasis) -> None:
    """Print what the verdicts ``equivalent`` rest on."""
    console.print("What the verdicts equivalent rest on")
    table = Table(*BASIS_COLUMNS)
    for column in table.columns:
        column.justify = "right"
    table.add_row(*basis_cells(basis))
    console.print(table)


def show_benchmarks(benchmarks: BenchmarkSummary) -> None:
    """Print the benchmarks' own metrics."""
    console.print("The benchmarks' own metrics, on their databases")
    table = Table(show_header=False)
    for metric in BENCHMARKS:
        result = getattr(benchmarks, metric.name)
        if result:
            table.add_row(metric.label, metric.show(result.value), f"{result.n} questions")
    for excluded, reason in (
        (benchmarks.no_database, "without a database"),
        (benchmarks.gold_failed, "whose gold query fails there"),
    ):
        if excluded:
            table.add_row(reason, str(excluded), "not counted above")
    console.print(table)


def show_judge(judge: JudgeSummary) -> None:
    """Print an LLM judge's opinions and their agreement with execution."""
    console.print(f"Second opinion of {judge.model}")
    table = Table(show_header=False)
    for name, text in judge_facts(judge):
        if text != "0":
            table.add_row(name, text)
    table.add_row("Requests", f"{count(judge.requests)} ({count(judge.cached)} more from the cache)")
    console.print(table)


def show_breakdown(summary: EvaluationSummary) -> None:
    """Print the error labels, accuracy by kind of question, and which failures are systematic."""
    breakdown = summary.breakdown
    console.print("Errors (an answer may have several)")
    labels = Table("error", "answers")
    labels.columns[1].justify = "right"
    counts = list(summary.error_labels.items())
    for label, answers in counts[:_MAX_LABELS]:
        labels.add_row(label, str(answers))
    if len(counts) > _MAX_LABELS:
        rest = counts[_MAX_LABELS:]
        labels.add_row(f"{len(rest)} other kinds", str(sum(answers for _, answers in rest)))
    console.print(labels)
    console.print("Accuracy by kind of question")
    table = Table("", "", "right", "of", "accuracy", "")
    for column in table.columns[2:5]:
        column.justify = "right"
    for dimension, rows in breakdown.tables.items():
        for index, row in enumerate(rows):
            mark = "systematic" if row.systematic else ""
            name = "" if index else dimension
            table.add_row(name, row.group, str(row.correct), str(row.n), percent(row.accuracy), mark)
        table.add_section()
    console.print(table)
    for statement in breakdown.statements:
        console.print(statement)
    if breakdown.verdict in ("systematic", "random"):
        console.print(breakdown.method, style="bright_black")
