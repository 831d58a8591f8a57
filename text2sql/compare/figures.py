"""The figures of a comparison: accuracies side by side, losses overlaid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from text2sql.compare.entries import Entry
from text2sql.compare.paired import Comparison
from text2sql.report.figures import (
    SERIES_COLOURS,
    STYLE,
    Accuracy,
    Plot,
    downsample,
    draw_accuracies,
    drawable,
    make_plot,
    new_figure,
    series,
    smooth,
    style_curve_axes,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Characters of a label.
_MAX_LABEL = 18


def draw_figures(comparison: Comparison) -> dict[str, Plot]:
    """Figures by key; one without data is absent."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        plots = {"accuracy": make_plot("accuracy", "Execution accuracy", *_accuracy(comparison.entries))}
        losses = _losses(comparison.entries)
        if losses is not None:
            plots["losses"] = make_plot("losses", "Loss per token", *losses)
    return plots


def colour(index: int) -> str:
    """Colour of an entry; with more entries than colours they repeat."""
    return SERIES_COLOURS[index % len(SERIES_COLOURS)]


def _accuracy(entries: list[Entry]) -> tuple[Figure, str]:
    rows = [
        Accuracy(entry.label, colour(index), entry.accuracy, *entry.interval, len(entry.rows))
        for index, entry in enumerate(entries)
    ]
    return draw_accuracies(rows, [_short(entry.label) for entry in entries])


def _losses(entries: list[Entry]) -> tuple[Figure, str] | None:
    """Training losses, smoothed where there are many steps; validation losses as points."""
    figure, axes = new_figure(3.1)
    sentences: list[str] = []
    lowest = 0.0
    for index, entry in enumerate(entries):
        steps, losses = series(entry.losses, "loss")
        checked, validation = series(entry.losses, "validation_loss")
        if steps:
            shown = smooth(losses) if len(losses) >= 60 else losses
            axes.plot(
                downsample(steps), downsample(shown), color=colour(index), linewidth=1.6, label=_short(entry.label)
            )
            sentences.append(f"{entry.label} from {losses[0]:.3g} at step {steps[0]:.0f} to {losses[-1]:.3g}")
        if checked:
            axes.plot(checked, validation, "o", color=colour(index), markersize=4.5)
        lowest = min([lowest, *losses, *validation])
    if not sentences:
        return None
    style_curve_axes(axes)
    axes.set_ylim(bottom=lowest)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2, borderaxespad=0.2, handlelength=1.3)
    return figure, "Training loss per completion token: " + "; ".join(sentences) + ". Points are validation losses."


def _short(label: str) -> str:
    text = drawable(label)
    return text if len(text) <= _MAX_LABEL else f"{text[: _MAX_LABEL - 1]}…"
