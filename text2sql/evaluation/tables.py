"""The measures of a list of predictions, as tables on the terminal."""

from __future__ import annotations

from rich.table import Table

from text2sql.console import console
from text2sql.evaluation.metrics import (
    ACCURACY,
    BENCHMARKS,
    EVIDENCE,
    INTERVAL,
    ONE_DATABASE,
    RATES,
    TRUNCATED,
    evidence_cells,
    judge_facts,
    status_name,
)
from text2sql.formats import count, interval, percent
from text2sql.runs.evaluation_summary import BenchmarkSummary, EvaluationSummary, Evidence, JudgeSummary

_MOST_LABELS = 12


def show_measures(title: str, summary: EvaluationSummary) -> None:
    """Accuracy and the other rates, what became of the answers, and where the failures lie.

    Args:
        title: Of the first table.
        summary: Of the predictions.
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
    for status, amount in (*summary.counts.items(), (TRUNCATED.label, summary.truncated), unused):
        if amount:
            table.add_row(status_name(status), str(amount))
    console.print(table)
    if summary.clustered and summary.clustered.clusters == 1:
        console.print(ONE_DATABASE)
    if summary.evidence:
        show_evidence(summary.evidence)
    if summary.benchmarks:
        show_benchmarks(summary.benchmarks)
    if summary.judge:
        show_judge(summary.judge)
    if summary.n > summary.correct:
        show_breakdown(summary)


def show_evidence(evidence: Evidence) -> None:
    """What the verdicts ``equivalent`` rest on."""
    console.print("What the verdicts equivalent rest on")
    table = Table(*EVIDENCE)
    for column in table.columns:
        column.justify = "right"
    table.add_row(*evidence_cells(evidence))
    console.print(table)


def show_benchmarks(benchmarks: BenchmarkSummary) -> None:
    """The benchmarks' own metrics."""
    console.print("The benchmarks' own metrics, on their databases")
    table = Table(show_header=False)
    for metric in BENCHMARKS:
        found = getattr(benchmarks, metric.name)
        if found:
            table.add_row(metric.label, metric.show(found.value), f"{found.n} questions")
    for amount, name in (
        (benchmarks.no_database, "without a database"),
        (benchmarks.gold_failed, "whose gold query fails there"),
    ):
        if amount:
            table.add_row(name, str(amount), "not counted above")
    console.print(table)


def show_judge(judge: JudgeSummary) -> None:
    """A language model's opinion and how far it agrees with execution."""
    console.print(f"Second opinion of {judge.model}")
    table = Table(show_header=False)
    for name, text in judge_facts(judge):
        if text != "0":
            table.add_row(name, text)
    table.add_row("Requests", f"{count(judge.requests)} ({count(judge.cached)} more from the cache)")
    console.print(table)


def show_breakdown(summary: EvaluationSummary) -> None:
    """The error labels, accuracy by kind of question, and what is systematic."""
    breakdown = summary.breakdown
    console.print("Errors (an answer may have several)")
    labels = Table("error", "answers")
    labels.columns[1].justify = "right"
    found = list(summary.error_labels.items())
    for label, amount in found[:_MOST_LABELS]:
        labels.add_row(label, str(amount))
    if len(found) > _MOST_LABELS:
        rest = found[_MOST_LABELS:]
        labels.add_row(f"{len(rest)} other kinds", str(sum(amount for _, amount in rest)))
    console.print(labels)
    console.print("Accuracy by kind of question")
    table = Table("", "", "right", "of", "accuracy", "")
    for column in table.columns[2:5]:
        column.justify = "right"
    for dimension, rows in breakdown.tables.items():
        for place, row in enumerate(rows):
            mark = "systematic" if row.systematic else ""
            name = "" if place else dimension
            table.add_row(name, row.group, str(row.correct), str(row.n), percent(row.accuracy), mark)
        table.add_section()
    console.print(table)
    for statement in breakdown.statements:
        console.print(statement)
    if breakdown.verdict in ("systematic", "random"):
        console.print(breakdown.method, style="bright_black")
