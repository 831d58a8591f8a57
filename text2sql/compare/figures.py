"""The figures of a comparison: accuracies side by side, losses overlaid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from text2sql.compare.entries import Entry
from text2sql.compare.paired import Comparison
from text2sql.formats import interval, percent
from text2sql.report.figures import (
    INK,
    SERIES,
    STYLE,
    Plot,
    curve,
    keep,
    new_figure,
    percent_axis,
    plain,
    series,
    smooth,
    thin,
    whisker,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Characters of a label.
_LABEL = 18


def draw_figures(comparison: Comparison) -> dict[str, Plot]:
    """Figures by key; one without data is absent."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        plots = {"accuracy": keep("accuracy", "Execution accuracy", *_accuracy(comparison.entries))}
        losses = _losses(comparison.entries)
        if losses is not None:
            plots["losses"] = keep("losses", "Loss per token", *losses)
    return plots


def colour(place: int) -> str:
    """Colour of the entry at a place; with more entries than colours they come again."""
    return SERIES[place % len(SERIES)]


def _accuracy(entries: list[Entry]) -> tuple[Figure, str]:
    figure, axes = new_figure(0.6 + 0.62 * len(entries))
    for place, entry in enumerate(entries):
        whisker(axes, place, colour(place), entry.accuracy, *entry.interval, 1.0)
        axes.text(entry.accuracy, place - 0.24, percent(entry.accuracy), ha="center", va="bottom", fontweight="bold")
    axes.set(xlim=(-0.02, 1.02), ylim=(len(entries) - 0.5, -0.75), xticks=[0, 0.25, 0.5, 0.75, 1])
    axes.set_yticks(range(len(entries)), [_short(entry.label) for entry in entries], color=INK)
    percent_axis(axes.xaxis)
    axes.grid(axis="x")
    axes.spines[["left", "bottom"]].set_visible(False)
    said = [
        f"{entry.label} {percent(entry.accuracy)}, 95% interval {interval(*entry.interval)}, n = {len(entry.rows)}"
        for entry in entries
    ]
    return figure, "Execution accuracy on a scale from 0% to 100%. " + ". ".join(said) + "."


def _losses(entries: list[Entry]) -> tuple[Figure, str] | None:
    """Training losses, smoothed where there are many steps; validation losses as points."""
    figure, axes = new_figure(3.1)
    said: list[str] = []
    lowest = 0.0
    for place, entry in enumerate(entries):
        steps, losses = series(entry.losses, "loss")
        checked, validation = series(entry.losses, "validation_loss")
        if steps:
            shown = smooth(losses) if len(losses) >= 60 else losses
            axes.plot(thin(steps), thin(shown), color=colour(place), linewidth=1.6, label=_short(entry.label))
            said.append(f"{entry.label} from {losses[0]:.3g} at step {steps[0]:.0f} to {losses[-1]:.3g}")
        if checked:
            axes.plot(checked, validation, "o", color=colour(place), markersize=4.5)
        lowest = min([lowest, *losses, *validation])
    if not said:
        return None
    curve(axes)
    axes.set_ylim(bottom=lowest)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2, borderaxespad=0.2, handlelength=1.3)
    return figure, "Training loss per completion token: " + "; ".join(said) + ". Points are validation losses."


def _short(label: str) -> str:
    text = plain(label)
    return text if len(text) <= _LABEL else f"{text[: _LABEL - 1]}…"
