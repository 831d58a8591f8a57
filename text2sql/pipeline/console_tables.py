"""What a run prints besides its progress: the first example with its mask, the headline, the new-schema answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from backends.capabilities import capabilities_of
from text2sql.console import console
from text2sql.data.example import Example
from text2sql.data.prompts import Tokens
from text2sql.report.load import WAYS


def show_first_example(example: Example, tokens: Tokens, tokenizer: Any) -> None:
    """The first training example as the model sees it: grey carries no weight, green is learnt."""
    text = Text(f"First example ({example.id}; {len(tokens.prompt)} prompt tokens grey, ", style="bold")
    text.append(f"{len(tokens.completion)} learnt tokens green):\n")
    text.append(tokenizer.decode(tokens.prompt.tolist()), style="not bold bright_black")
    text.append(tokenizer.decode(tokens.completion.tolist()).replace("\n", "\\n"), style="not bold green")
    console.print(text, markup=False, soft_wrap=True)


def show_headline(summary: Mapping[str, Any]) -> None:
    """Execution accuracy before and after, with intervals and the paired test."""
    head = summary["headline"]
    table = Table(title=f"Execution accuracy: {summary['name']}", title_justify="left")
    for column in ("model", "correct", "accuracy", "95 % interval"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for label in ("base", "tuned"):
        row = head[label]
        if row:
            interval = f"{row['low']:.1%} to {row['high']:.1%}"
            table.add_row(label, f"{row['correct']}/{row['n']}", f"{row['accuracy']:.1%}", interval)
    if table.row_count:
        console.print(table)
    for note in summary["notes"]:
        console.print(f"Note: {note}", style="bright_black", markup=False)
    paired = head["paired"]
    if paired:
        console.print(
            f"Difference {paired['difference']:+.1%} (95 % interval {paired['low']:+.1%} to {paired['high']:+.1%}): "
            f"{paired['wins']} questions won, {paired['losses']} lost; exact McNemar p = {paired['p_value']:.2g}."
        )


def show_spending(summary: Mapping[str, Any]) -> None:
    """What a remote run cost, and how long its checkpoints stay."""
    usage, dollars = summary["cost"]["usage"], summary["cost"]["dollars"]
    backend = capabilities_of(summary["backend"])
    if backend is None or not backend.charges:
        return
    price = f"${dollars:.4f}, after {summary['cost']['prices']['source']}" if dollars is not None else "no price known"
    console.print(
        f"Tokens trained: {usage['train']:,}, of prompts: {usage['prefill']:,}, sampled: {usage['sample']:,}; {price}."
    )
    expires = (summary["training"] or {}).get("checkpoint_expires")
    if expires:
        console.print(f"Checkpoint {summary['training']['checkpoint_path']} expires on {expires}.")


def show_ways(evaluations: Mapping[str, Any]) -> None:
    """Every evaluation with what it cost, where there are more than the two of the headline."""
    if not set(evaluations) - {"base", "tuned"}:
        return
    table = Table(title="Ways of answering, and their cost", title_justify="left")
    for column in ("model", "accuracy", "95 % interval", "answers", "tokens read", "tokens written", "seconds"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for label, row in evaluations.items():
        cost, interval = row["cost"], row.get("clustered", row)
        table.add_row(
            WAYS.get(label, label),
            f"{row['accuracy']:.1%}",
            f"{interval['low']:.1%} to {interval['high']:.1%}",
            str(cost["samples"]),
            f"{cost['prompt_tokens']:,}",
            f"{cost['sampled_tokens']:,}",
            f"{cost['seconds']:.0f}",
        )
    console.print(table)


def show_novel(rows: Sequence[Mapping[str, Any]]) -> None:
    """The answers on new schemas, base beside tuned."""
    for row in rows:
        text = Text(row["question"] + "\n", style="bold")
        for label in ("base", "tuned"):
            if f"{label}_sql" in row:
                right = row[f"{label}_correct"]
                text.append(
                    f"  {label:5} {'right' if right else 'wrong'}  ",
                    style="not bold green" if right else "not bold red",
                )
                text.append(row[f"{label}_sql"].replace("\n", " ") + "\n", style="not bold")
        console.print(text, markup=False)
