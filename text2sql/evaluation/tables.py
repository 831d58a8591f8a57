"""The measures of a list of predictions, as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from text2sql.console import console

BENCHMARKS = {  # metric: its name, and how its value is shown
    "spider_ex": ("Spider EX", "{:.1%}"),
    "spider_test_suite": ("Spider test suite", "{:.1%}"),
    "bird_ex": ("BIRD EX", "{:.1%}"),
    "bird_soft_f1": ("BIRD soft F1", "{:.1%}"),
    "bird_rves": ("BIRD R-VES", "{:.1f}"),
}
_RATES = {
    "lenient_accuracy": "lenient accuracy",
    "exact_match": "exact match",
    "canonical_match": "canonical match",
    "valid_syntax": "valid syntax",
    "valid_schema": "valid schema",
    "executable": "executable",
}
_MOST_LABELS = 12


def show_measures(title: str, summary: Mapping[str, Any]) -> None:
    """Accuracy and the other rates, what became of the answers, and where the failures lie.

    Args:
        title: Of the first table.
        summary: As `judging.summarize` makes it; ``judge`` may be added.
    """
    console.print(title)  # not as the table's own title, which wraps at the width of narrow tables
    table = Table(show_header=False)
    interval = summary.get("clustered", summary)  # as in the headline of a run
    table.add_row("execution accuracy", f"{summary['accuracy']:.1%}  ({summary['correct']}/{summary['n']})")
    table.add_row("95 % interval", f"{interval['low']:.1%} to {interval['high']:.1%}")
    for key, name in _RATES.items():
        if summary.get(key) is not None:
            table.add_row(name, f"{summary[key]:.1%}")
    table.add_section()
    counts = {**summary["counts"], "truncated": summary["truncated"]}
    for status, count in counts.items():
        if count:
            table.add_row(status, str(count))
    console.print(table)
    show_benchmarks(summary.get("benchmarks") or {})
    show_judge(summary.get("judge") or {})
    if summary["n"] > summary["correct"]:
        show_breakdown(summary)


def show_benchmarks(benchmarks: Mapping[str, Any]) -> None:
    """The benchmarks' own metrics; nothing if there are none."""
    if not benchmarks:
        return
    console.print("The benchmarks' own metrics, on their databases")
    table = Table(show_header=False)
    for key, (name, form) in BENCHMARKS.items():
        if key in benchmarks:
            table.add_row(name, form.format(benchmarks[key]["value"]), f"{benchmarks[key]['n']} questions")
    for key, name in (("no_database", "without a database"), ("gold_failed", "whose gold query fails there")):
        if benchmarks[key]:
            table.add_row(name, str(benchmarks[key]), "not counted above")
    console.print(table)


def show_judge(judge: Mapping[str, Any]) -> None:
    """A language model's opinion and how far it agrees with execution; nothing if none was asked."""
    if not judge:
        return
    agreement = judge["agreement"]
    console.print(f"Second opinion of {judge['model']}")
    table = Table(show_header=False)
    if judge["accuracy"] is not None:
        table.add_row("called right", f"{judge['accuracy']:.1%}  ({judge['correct']}/{judge['judged']})")
    for name, count in judge["error_types"].items():
        if count:
            table.add_row(name.replace("_", " "), str(count))
    for key in ("malformed", "unanswered"):
        if judge[key]:
            table.add_row(key, str(judge[key]))
    kappa = "undefined" if agreement["kappa"] is None else f"{agreement['kappa']:.2f}"
    table.add_row("Cohen's kappa with execution", f"{kappa}  ({agreement['n']} predictions)")
    table.add_row("right by the judge alone", str(agreement["judge_only"]))
    table.add_row("right by execution alone", str(agreement["execution_only"]))
    tokens = f"{judge['prompt_tokens'] + judge['completion_tokens']:,} tokens"
    cost = "" if judge["cost"] is None else f", ${judge['cost']:.4f}"
    table.add_row("cost", f"{judge['requests']} requests ({judge['cached']} more from the cache), {tokens}{cost}")
    console.print(table)


def show_breakdown(summary: Mapping[str, Any]) -> None:
    """The error labels, accuracy by kind of question, and what is systematic."""
    breakdown = summary["breakdown"]
    console.print("Errors (an answer may have several)")
    labels = Table("error", "answers")
    labels.columns[1].justify = "right"
    found = list(summary["error_labels"].items())
    for label, count in found[:_MOST_LABELS]:
        labels.add_row(label, str(count))
    if len(found) > _MOST_LABELS:
        rest = found[_MOST_LABELS:]
        labels.add_row(f"{len(rest)} other kinds", str(sum(count for _, count in rest)))
    console.print(labels)
    console.print("Accuracy by kind of question")
    table = Table("", "", "right", "of", "accuracy", "")
    for column in table.columns[2:5]:
        column.justify = "right"
    for dimension, rows in breakdown["tables"].items():
        for place, row in enumerate(rows):
            mark = "systematic" if row["systematic"] else ""
            name = "" if place else dimension
            table.add_row(name, row["group"], str(row["correct"]), str(row["n"]), f"{row['accuracy']:.1%}", mark)
        table.add_section()
    console.print(table)
    for statement in breakdown["statements"]:
        console.print(statement)
    if breakdown["verdict"] in ("systematic", "random"):
        console.print(breakdown["method"], style="bright_black")
