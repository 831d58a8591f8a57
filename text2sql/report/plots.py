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
    SERIES,
    STYLE,
    Accuracy,
    Plot,
    curve,
    draw_accuracies,
    keep,
    legend,
    new_figure,
    percent_axis,
    plain,
    scientific,
    series,
    smooth,
    thin,
    whisker,
)
from text2sql.report.load import RunData
from text2sql.runs.models import MODELS, SIDES
from text2sql.runs.rollouts import RlStepMetrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: dict[str, str] = {**{side: SERIES[place] for place, side in enumerate(SIDES)}, "start": SERIES[2]}
NAMES = {"base": "Base", "start": "Start", "tuned": "Tuned"}
_MAX_BARS = 12


def draw_all(run: RunData) -> dict[str, Plot]:
    """Draw every figure that the run has data for.

    Args:
        run: The run.

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
                plots[key] = keep(key, title, *drawn)
    return plots


def _headline(run: RunData) -> tuple[Figure, str] | None:
    rows = [
        Accuracy(NAMES[side], COLOURS[side], score.accuracy, score.low, score.high, score.n)
        for side in MODELS
        if (score := run.score(side)) and score.accuracy is not None
    ]
    return draw_accuracies(rows, [row.name for row in rows], fontsize=12) if rows else None


def _loss(run: RunData) -> tuple[Figure, str] | None:
    # The loss of a step from verdicts says nothing of how good the model is.
    steps, losses = series([row for row in run.metrics if not isinstance(row, RlStepMetrics)], "loss")
    checked, validation = series(run.metrics, "validation_loss")
    if not steps and not checked:
        return None
    figure, axes = new_figure(2.9)
    said = []
    if steps:
        busy = len(steps) >= 60
        style: dict[str, Any] = {"alpha": 0.35, "linewidth": 0.9} if busy else {"linewidth": 1.6}
        axes.plot(
            thin(steps), thin(losses), color=COLOURS["tuned"], marker="o" if len(steps) == 1 else "", **style,
            label="" if busy else "Training",
        )  # fmt: skip
        if busy:
            axes.plot(
                thin(steps), thin(smooth(losses)), color=COLOURS["tuned"], linewidth=1.8, label="Training (smoothed)"
            )
        said.append(
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
        said.append(f"Validation loss from {validation[0]:.3g} to {validation[-1]:.3g}, lowest {min(validation):.3g}")
    curve(axes)
    axes.set_ylim(bottom=min(0.0, *losses, *validation, 0.0))
    legend(axes)
    return figure, ". ".join(said) + "."


def _validation_accuracy(run: RunData) -> tuple[Figure, str] | None:
    steps, rates = series(run.metrics, "validation_accuracy")
    if not steps:
        return None
    figure, axes = new_figure(2.9)
    axes.plot(steps, rates, color=COLOURS["tuned"], linewidth=1.6, marker="o", markersize=5, markeredgecolor=PAPER)
    curve(axes)
    axes.set_ylim(0, 1.03)
    percent_axis(axes.yaxis)
    return figure, (
        f"Validation accuracy from {percent(rates[0])} at step {count(steps[0])} to {percent(rates[-1])} at step "
        f"{count(steps[-1])}, highest {percent(max(rates))}."
    )


def _reward(run: RunData) -> tuple[Figure, str] | None:
    curves = (
        ("reward", "Reward", COLOURS["tuned"]),
        ("equivalent", "Right answers", SERIES[3]),
        ("pass_at_group", "Any right", MUTED),
        ("caught", "Right on one database alone", SERIES[2]),
    )
    found = [(name, colour, *series(run.metrics, key)) for key, name, colour in curves]
    if not found[0][2]:
        return None
    figure, axes = new_figure(2.9)
    said = []
    for name, colour, steps, values in found:
        axes.plot(thin(steps), thin(smooth(values)), color=colour, linewidth=1.6, label=name)
        said.append(f"{name} from {values[0]:.3g} at step {count(steps[0])} to {values[-1]:.3g} at {count(steps[-1])}")
    curve(axes)
    axes.set_ylim(min(0.0, *found[0][3]), 1.03)
    legend(axes)
    return figure, ". ".join(said) + "."


def _pass_at_k(run: RunData) -> tuple[Figure, str] | None:
    found = {
        model: evaluation.pass_at
        for model in MODELS
        if (evaluation := run.evaluation(f"{model}-samples")) and evaluation.pass_at
    }
    if not found:
        return None
    figure, axes = new_figure(2.9)
    said = []
    for model, rates in found.items():
        ks, values = [rate.k for rate in rates], [rate.value for rate in rates]
        axes.fill_between(ks, [r.low for r in rates], [r.high for r in rates], color=COLOURS[model], alpha=0.15)
        axes.plot(ks, values, color=COLOURS[model], linewidth=1.6, marker="o", markersize=4.5, label=NAMES[model])
        said.append(f"{NAMES[model]}: " + ", ".join(f"pass@{rate.k} {percent(rate.value)}" for rate in rates))
    curve(axes)
    axes.set_xlabel("k")
    axes.set_xscale("log", base=2)
    ks = [rate.k for rate in next(iter(found.values()))]
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.set_ylim(0, 1.03)
    percent_axis(axes.yaxis)
    legend(axes)
    return figure, ". ".join(said) + "."


def _learning_rate(run: RunData) -> tuple[Figure, str] | None:
    steps, rates = series(run.metrics, "learning_rate")
    if len(set(rates)) < 2:
        return None
    from matplotlib.ticker import FuncFormatter

    figure, axes = new_figure(1.9)
    axes.plot(thin(steps), thin(rates), color=MUTED, linewidth=1.6)
    curve(axes)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: scientific(value)))
    return figure, f"Learning rate from {rates[0]:.3g} to {rates[-1]:.3g}, highest {max(rates):.3g}."


def _hardness(run: RunData) -> tuple[Figure, str] | None:
    levels = by_hardness(run)
    if not levels:
        return None
    figure, axes = new_figure(0.75 + 0.62 * len(levels))
    said = []
    for row, (level, scores) in enumerate(levels.items()):
        for side, score in scores.items():
            offset = 0.0 if len(scores) == 1 else (-0.17 if side == "base" else 0.17)
            whisker(axes, row + offset, COLOURS[side], score.accuracy, *score.bounds, 0.65)
            said.append(f"{level}, {NAMES[side].lower()}: {score.correct} of {score.n} ({percent(score.accuracy)})")
    axes.set(xlim=(-0.02, 1.02), ylim=(len(levels) - 0.5, -0.5), xticks=[0, 0.25, 0.5, 0.75, 1])
    names = [
        f"{level.capitalize()}\nn = {count(max(score.n for score in scores.values()))}"
        for level, scores in levels.items()
    ]
    axes.set_yticks(range(len(levels)), [plain(name, keep="\n") for name in names], color=INK)
    percent_axis(axes.xaxis)
    axes.grid(axis="x")
    axes.spines[["left", "bottom"]].set_visible(False)
    _side_legend(axes, [side for side in SIDES if any(side in scores for scores in levels.values())])
    return figure, "Accuracy by hardness. " + "; ".join(said) + "."


def _side_legend(axes: Axes, sides: list[str]) -> None:
    for side in sides:
        axes.plot([], [], "o", color=COLOURS[side], label=NAMES[side], markersize=7)
    legend(axes)


def _statuses(run: RunData) -> tuple[Figure, str] | None:
    counts = status_counts(run)
    present = {key for found in counts.values() for key, value in found.items() if value}
    order = [status for status in STATUSES if status in present] + sorted(present.difference(STATUSES))
    return _bars(counts, order, "Verdicts on the answers, in number of questions.")


def _errors(run: RunData) -> tuple[Figure, str] | None:
    counts = label_counts(run)
    totals: dict[str, int] = {}
    for found in counts.values():
        for label, value in found.items():
            totals[label] = totals.get(label, 0) + value
    order = sorted((label for label in totals if totals[label]), key=lambda label: (-totals[label], label))
    return _bars(counts, order, "Types of error in the wrong answers, in number of questions.")


def _bars(counts: dict[str, dict[str, int]], order: list[str], what: str) -> tuple[Figure, str] | None:
    """Horizontal bars, one row for each key and one bar for each side."""
    if not order:
        return None
    kinds, order = len(order), order[:_MAX_BARS]
    figure, axes = new_figure(0.5 + 0.46 * len(order))
    height = 0.34 if len(counts) > 1 else 0.5
    longest = max(found.get(key, 0) for found in counts.values() for key in order) or 1
    said = []
    for row, key in enumerate(order):
        for place, (side, found) in enumerate(counts.items()):
            y = row if len(counts) == 1 else row + (place - 0.5) * (height + 0.03)
            value = found.get(key, 0)
            axes.barh(y, value, height=height, color=COLOURS[side])
            axes.text(value + longest * 0.015, y, count(value), va="center", ha="left", fontsize=10, color=MUTED)
        said.append(f"{key}: " + ", ".join(f"{side} {count(found.get(key, 0))}" for side, found in counts.items()))
    axes.set(xlim=(0, longest * 1.12), ylim=(len(order) - 0.45, -0.55), xticks=[])
    axes.set_yticks(range(len(order)), [_readable(key) for key in order], color=INK)
    axes.spines["bottom"].set_visible(False)
    if kinds > len(order):
        what = f"{what} The {len(order)} most frequent of {kinds}:"
        axes.set_xlabel(f"The {len(order)} most frequent of {kinds}")
    from matplotlib.patches import Patch

    handles = [Patch(color=COLOURS[side], label=NAMES[side]) for side in counts]
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=2, borderaxespad=0.2,
        handlelength=1.0, handleheight=0.8, columnspacing=1.4,
    )  # fmt: skip
    return figure, f"{what} " + "; ".join(said) + "."


def _readable(key: str) -> str:
    text = plain(key.replace("_", " ")).capitalize()
    return text if len(text) <= 26 else f"{text[:25]}…"
