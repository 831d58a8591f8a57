"""The figures of a comparison: accuracies side by side, losses overlaid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from text2sql.compare.entries import Entry
from text2sql.compare.paired import Comparison
from text2sql.report.figures import (
    SERIES,
    STYLE,
    Accuracy,
    Plot,
    curve,
    draw_accuracies,
    keep,
    new_figure,
    plain,
    series,
    smooth,
    thin,
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
    rows = [
        Accuracy(entry.label, colour(place), entry.accuracy, *entry.interval, len(entry.rows))
        for place, entry in enumerate(entries)
    ]
    return draw_accuracies(rows, [_short(entry.label) for entry in entries])


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
