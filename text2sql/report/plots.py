"""The figures of a report: accuracy, loss, learning rate, hardness, verdicts and errors of one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from text2sql.equivalence.verdict import STATUSES
from text2sql.formats import count, percent
from text2sql.report.comparison import by_hardness, label_counts, status_counts
from text2sql.report.figures import (
    INK,
    MUTED,
    PAPER,
    SERIES_COLOURS,
    STYLE,
    Accuracy,
    Plot,
    downsample,
    draw_accuracies,
    drawable,
    legend,
    make_plot,
    new_figure,
    percent_axis,
    scientific,
    series,
    smooth,
    style_curve_axes,
    whisker,
)
from text2sql.report.load import RunData
from text2sql.runs.models import MODELS, SIDES
from text2sql.runs.rollouts import RlStepMetrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: dict[str, str] = {
    **{side: SERIES_COLOURS[index] for index, side in enumerate(SIDES)},
    "start": SERIES_COLOURS[2],
}
NAMES = {"base": "Base", "start": "Start", "tuned": "Tuned"}
# Number of rows of a bar chart.
_MAX_BARS = 12


def draw_all(run: RunData) -> dict[str, Plot]:
    """Draw every figure that the run has data for.

    Returns:
        Figures by key, in the order of the page.
    """
    import matplotlib

    makers: tuple[tuple[str, str, Callable[[RunData], tuple[Figure, str] | None]], ...] = (
        ("headline", "Execution accuracy", _headline),
        ("loss", "Loss per token", _loss),
        ("reward", "Reward and right answers among those sampled", _reward),
        ("pass-at-k", "Questions with a right answer among k samples", _pass_at_k),
        ("learning-rate", "Learning rate", _learning_rate),
        ("validation-accuracy", "Execution accuracy on the validation sample", _validation_accuracy),
        ("hardness", "Accuracy by hardness of the question", _hardness),
        ("statuses", "What became of the answers", _statuses),
        ("errors", "Types of error", _errors),
    )
    plots = {}
    with matplotlib.rc_context(STYLE):
        for key, title, make in makers:
            drawn = make(run)
            if drawn is not None:
                plots[key] = make_plot(key, title, *drawn)
    return plots


def _headline(run: RunData) -> tuple[Figure, str] | None:
    rows = [
        Accuracy(NAMES[side], COLOURS[side], score.accuracy, score.low, score.high, score.n)
        for side in MODELS
        if (score := run.score(side)) and score.accuracy is not None
    ]
    return draw_accuracies(rows, [row.name for row in rows], fontsize=12) if rows else None


def _loss(run: RunData) -> tuple[Figure, str] | None:
    # The loss of RL steps does not measure how good the model is.
    steps, losses = series([row for row in run.metrics if not isinstance(row, RlStepMetrics)], "loss")
    checked, validation = series(run.metrics, "validation_loss")
    if not steps and not checked:
        return None
    figure, axes = new_figure(2.9)
    sentences = []
    if steps:
        is_noisy = len(steps) >= 60
        style: dict[str, Any] = {"alpha": 0.35, "linewidth": 0.9} if is_noisy else {"linewidth": 1.6}
        axes.plot(
            downsample(steps), downsample(losses), color=COLOURS["tuned"], marker="o" if len(steps) == 1 else "",
            label="" if is_noisy else "Training", **style,
        )  # fmt: skip
        if is_noisy:
            axes.plot(
                downsample(steps),
                downsample(smooth(losses)),
                color=COLOURS["tuned"],
                linewidth=1.8,
                label="Training (smoothed)",
            )
        sentences.append(
            f"Training loss from {losses[0]:.3g} at step {count(steps[0])} to {losses[-1]:.3g} at {count(steps[-1])}"
        )
    if checked:
        axes.plot(
            checked,
            validation,
            color=INK,
            linewidth=1.2,
            marker="o",
            markersize=4.5,
            markeredgecolor=PAPER,
            label="Validation",
        )
        sentences.append(
            f"Validation loss from {validation[0]:.3g} to {validation[-1]:.3g}, lowest {min(validation):.3g}"
        )
    style_curve_axes(axes)
    axes.set_ylim(bottom=min(0.0, *losses, *validation, 0.0))
    legend(axes)
    return figure, ". ".join(sentences) + "."


def _validation_accuracy(run: RunData) -> tuple[Figure, str] | None:
    steps, rates = series(run.metrics, "validation_accuracy")
    if not steps:
        return None
    figure, axes = new_figure(2.9)
    axes.plot(steps, rates, color=COLOURS["tuned"], linewidth=1.6, marker="o", markersize=5, markeredgecolor=PAPER)
    style_curve_axes(axes)
    axes.set_ylim(0, 1.03)
    percent_axis(axes.yaxis)
    return figure, (
        f"Validation accuracy from {percent(rates[0])} at step {count(steps[0])} to {percent(rates[-1])} at step "
        f"{count(steps[-1])}, highest {percent(max(rates))}."
    )


def _reward(run: RunData) -> tuple[Figure, str] | None:
    curves = (
        ("reward", "Reward", COLOURS["tuned"]),
        ("equivalent", "Right answers", SERIES_COLOURS[3]),
        ("pass_at_group", "Any right", MUTED),
        ("caught", "Right on one database alone", SERIES_COLOURS[2]),
    )
    drawn = [(name, colour, *series(run.metrics, key)) for key, name, colour in curves]
    if not drawn[0][2]:
        return None
    figure, axes = new_figure(2.9)
    sentences = []
    for name, colour, steps, values in drawn:
        axes.plot(downsample(steps), downsample(smooth(values)), color=colour, linewidth=1.6, label=name)
        sentences.append(
            f"{name} from {values[0]:.3g} at step {count(steps[0])} to {values[-1]:.3g} at {count(steps[-1])}"
        )
    style_curve_axes(axes)
    axes.set_ylim(min(0.0, *drawn[0][3]), 1.03)
    legend(axes)
    return figure, ". ".join(sentences) + "."


def _pass_at_k(run: RunData) -> tuple[Figure, str] | None:
    passes = {
        model: evaluation.pass_at
        for model in MODELS
        if (evaluation := run.evaluation(f"{model}-samples")) and evaluation.pass_at
    }
    if not passes:
        return None
    figure, axes = new_figure(2.9)
    sentences = []
    for model, rates in passes.items():
        ks, values = [rate.k for rate in rates], [rate.value for rate in rates]
        axes.fill_between(ks, [r.low for r in rates], [r.high for r in rates], color=COLOURS[model], alpha=0.15)
        axes.plot(ks, values, color=COLOURS[model], linewidth=1.6, marker="o", markersize=4.5, label=NAMES[model])
        sentences.append(f"{NAMES[model]}: " + ", ".join(f"pass@{rate.k} {percent(rate.value)}" for rate in rates))
    style_curve_axes(axes)
    axes.set_xlabel("k")
    axes.set_xscale("log", base=2)
    ks = [rate.k for rate in next(iter(passes.values()))]
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.set_ylim(0, 1.03)
    percent_axis(axes.yaxis)
    legend(axes)
    return figure, ". ".join(sentences) + "."


def _learning_rate(run: RunData) -> tuple[Figure, str] | None:
    steps, rates = series(run.metrics, "learning_rate")
    if len(set(rates)) < 2:
        return None
    from matplotlib.ticker import FuncFormatter

    figure, axes = new_figure(1.9)
    axes.plot(downsample(steps), downsample(rates), color=MUTED, linewidth=1.6)
    style_curve_axes(axes)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: scientific(value)))
    return figure, f"Learning rate from {rates[0]:.3g} to {rates[-1]:.3g}, highest {max(rates):.3g}."


def _hardness(run: RunData) -> tuple[Figure, str] | None:
    levels = by_hardness(run)
    if not levels:
        return None
    figure, axes = new_figure(0.75 + 0.62 * len(levels))
    sentences = []
    for row, (level, scores) in enumerate(levels.items()):
        for side, score in scores.items():
            offset = 0.0 if len(scores) == 1 else (-0.17 if side == "base" else 0.17)
            whisker(axes, row + offset, COLOURS[side], score.accuracy, *score.bounds, 0.65)
            sentences.append(
                f"{level}, {NAMES[side].lower()}: {score.correct} of {score.n} ({percent(score.accuracy)})"
            )
    axes.set(xlim=(-0.02, 1.02), ylim=(len(levels) - 0.5, -0.5), xticks=[0, 0.25, 0.5, 0.75, 1])
    names = [
        f"{level.capitalize()}\nn = {count(max(score.n for score in scores.values()))}"
        for level, scores in levels.items()
    ]
    axes.set_yticks(range(len(levels)), [drawable(name, keep="\n") for name in names], color=INK)
    percent_axis(axes.xaxis)
    axes.grid(axis="x")
    axes.spines[["left", "bottom"]].set_visible(False)
    _side_legend(axes, [side for side in SIDES if any(side in scores for scores in levels.values())])
    return figure, "Accuracy by hardness. " + "; ".join(sentences) + "."


def _side_legend(axes: Axes, sides: list[str]) -> None:
    for side in sides:
        axes.plot([], [], "o", color=COLOURS[side], label=NAMES[side], markersize=7)
    legend(axes)


def _statuses(run: RunData) -> tuple[Figure, str] | None:
    counts = status_counts(run)
    present = {status for by_status in counts.values() for status, value in by_status.items() if value}
    order = [status for status in STATUSES if status in present] + sorted(present.difference(STATUSES))
    return _bars(counts, order, "Verdicts on the answers, in number of questions.")


def _errors(run: RunData) -> tuple[Figure, str] | None:
    counts = label_counts(run)
    totals: dict[str, int] = {}
    for by_label in counts.values():
        for label, value in by_label.items():
            totals[label] = totals.get(label, 0) + value
    order = sorted((label for label in totals if totals[label]), key=lambda label: (-totals[label], label))
    return _bars(counts, order, "Types of error in the wrong answers, in number of questions.")


def _bars(counts: dict[str, dict[str, int]], order: list[str], what: str) -> tuple[Figure, str] | None:
    """Draw horizontal bars: one row for each key in `order`, with one bar for each side."""
    if not order:
        return None
    total, order = len(order), order[:_MAX_BARS]
    figure, axes = new_figure(0.5 + 0.46 * len(order))
    height = 0.34 if len(counts) > 1 else 0.5
    longest = max(by_key.get(key, 0) for by_key in counts.values() for key in order) or 1
    sentences = []
    for row, key in enumerate(order):
        for index, (side, by_key) in enumerate(counts.items()):
            y = row if len(counts) == 1 else row + (index - 0.5) * (height + 0.03)
            value = by_key.get(key, 0)
            axes.barh(y, value, height=height, color=COLOURS[side])
            axes.text(value + longest * 0.015, y, count(value), va="center", ha="left", fontsize=10, color=MUTED)
        sentences.append(
            f"{key}: " + ", ".join(f"{side} {count(by_key.get(key, 0))}" for side, by_key in counts.items())
        )
    axes.set(xlim=(0, longest * 1.12), ylim=(len(order) - 0.45, -0.55), xticks=[])
    axes.set_yticks(range(len(order)), [_readable(key) for key in order], color=INK)
    axes.spines["bottom"].set_visible(False)
    if total > len(order):
        what = f"{what} The {len(order)} most frequent of {total}:"
        axes.set_xlabel(f"The {len(order)} most frequent of {total}")
    from matplotlib.patches import Patch

    handles = [Patch(color=COLOURS[side], label=NAMES[side]) for side in counts]
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2, borderaxespad=0.2,
        handlelength=1.0, handleheight=0.8, columnspacing=1.4,
    )  # fmt: skip
    return figure, f"{what} " + "; ".join(sentences) + "."


def _readable(key: str) -> str:
    text = drawable(key.replace("_", " ")).capitalize()
    return text if len(text) <= 26 else f"{text[:25]}…"
