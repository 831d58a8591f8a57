"""A comparison on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from text2sql.compare.entries import QuestionKey
from text2sql.compare.paired import Comparison, Disagreement
from text2sql.compare.table import TEST_COLUMNS, answer, measures, setting, tests
from text2sql.console import console

# Characters of a configuration value.
_MAX_VALUE = 60


def print_comparison(comparison: Comparison, max_printed: int) -> None:
    """Print headline, measures, tests, configuration and the first disagreements of each kind."""
    for problem in comparison.problems:
        console.print(Text(problem, style="yellow"))
    for sentence in comparison.cautions:
        console.print(Text(sentence, style="bold yellow"))
    for sentence in comparison.headline:
        console.print(Text(sentence, style="bold"))
    for sentence in comparison.closeness:
        console.print(Text(sentence))
    labels = [entry.label for entry in comparison.entries]
    _print_table(["", *labels], [(name, *texts) for name, texts in measures(comparison)])
    if len(comparison.pairs) > 1:
        _print_table(TEST_COLUMNS, tests(comparison))
    if comparison.differences:
        rows = [(key, *(setting(v)[:_MAX_VALUE] for v in values)) for key, values in comparison.differences.items()]
        _print_table(["configuration", *labels], rows)
    else:
        console.print("The configurations do not differ.")
    if comparison.common:
        right, wrong = comparison.agreed
        console.print(f"All right on {right} common questions, all wrong on {wrong}.")
    for group in comparison.disagreements:
        _print_group(comparison, group, max_printed)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _print_group(comparison: Comparison, group: Disagreement, max_printed: int) -> None:
    right = ", ".join(group.right)
    console.print(Text(f"\nRight: {right}; wrong: {', '.join(group.wrong)}: {len(group.questions)}", style="bold"))
    for question in group.questions[:max_printed]:
        _print_question(comparison, question)
    if len(group.questions) > max_printed:
        console.print(f"  ... and {len(group.questions) - max_printed} more (--show, or the page)")


def _print_question(comparison: Comparison, question: QuestionKey) -> None:
    console.print(Text(f"  {question[0]}"))
    console.print(Text(f"    gold  {question[2]}", style="bright_black"))
    for entry in comparison.entries:
        sql, _ = answer(entry, question)
        right = entry.rows[question].correct
        mark = Text("    right " if right else "    wrong ", style="green" if right else "red")
        console.print(mark + Text(f"{entry.label}: {' '.join(sql.split())}", style="default"))
