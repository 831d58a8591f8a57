"""The figures of a report, drawn once and kept three ways: SVG file, PNG file, SVG inside the page.

Inside the page every colour becomes a CSS variable and every text takes the page's fonts, so that the figures
follow the light and the dark theme. Figures are narrow (360 points) so that they stay readable on a phone.
The same run gives the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from text2sql.report.comparison import STATUSES, by_hardness, label_counts, status_counts
from text2sql.report.load import SIDES, RunData, number
from text2sql.report.wording import count, interval, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE, PAPER, BACKGROUND = "#20242b", "#5c6470", "#d9dce1", "#fdfdfc", "#fefefd"
COLOURS = {"base": "#7c8798", "tuned": "#0f7663"}
NAMES = {"base": "Base", "tuned": "Tuned"}
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
    BACKGROUND: "none",
    COLOURS["base"]: "var(--base)",
    COLOURS["tuned"]: "var(--tuned)",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "text2sql",
    "font.family": ["DejaVu Sans"],
    "font.size": 11.0,
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 11.0,
    "path.simplify": True,
}
_WIDTH = 5.0  # inches, 360 points
_MAX_POINTS = 800
_MAX_BARS = 12


@dataclass(frozen=True)
class Plot:
    """One figure.

    Attributes:
        key: File name without suffix, and prefix of the ids inside the page.
        title: Heading over the figure.
        alt: What the figure says, for those who do not see it.
        svg: The SVG file.
        png: The PNG file.
        inline: The SVG as it stands inside the page.
    """

    key: str
    title: str
    alt: str
    svg: bytes
    png: bytes
    inline: str


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
        ("learning-rate", "Learning rate", _learning_rate),
        ("validation-accuracy", "Execution accuracy on the validation sample", _validation_accuracy),
        ("hardness", "Accuracy by hardness of the question", _hardness),
        ("statuses", "What became of the answers", _statuses),
        ("errors", "Types of error", _errors),
    )
    plots = {}
    with matplotlib.rc_context(_STYLE):
        for key, title, make in makers:
            drawn = make(run)
            if drawn is not None:
                plots[key] = _plot(key, title, *drawn)
    return plots


def _plot(key: str, title: str, figure: Figure, alt: str) -> Plot:
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
    return Plot(key, title, alt, svg.getvalue(), png.getvalue(), _inline(key, svg.getvalue().decode("utf-8")))


def _inline(key: str, svg: str) -> str:
    """The SVG for the page: no prolog, ids that are unique in the page, theme colours, the page's fonts."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = re.sub(r'href="#', f'href="#{key}-', svg)
    svg = re.sub(r"url\(#", f"url(#{key}-", svg)
    svg = re.sub(r"'DejaVu Sans'", "var(--sans)", svg)
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda found: _VARIABLES.get(found[0], found[0]), svg)
    return re.sub(
        r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", r'<svg \1 aria-hidden="true" focusable="false">', svg, count=1
    )


def _figure(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), facecolor=BACKGROUND, layout="constrained")
    axes = figure.add_subplot()
    axes.tick_params(length=0, pad=6)
    axes.set_axisbelow(True)
    return figure, axes


def _percent_axis(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))


def _legend(axes: Axes, entries: int) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=entries,
        borderaxespad=0.2,
        handlelength=1.3,
        columnspacing=1.4,
    )


def _whisker(axes: Axes, y: float, side: str, rate: float, low: float | None, high: float | None, scale: float) -> None:
    """A point with its interval as a broad pale bar."""
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=COLOURS[side], alpha=0.35, linewidth=7 * scale, solid_capstyle="butt")
        for end in (low, high):
            axes.plot([end, end], [y - 0.12, y + 0.12], color=COLOURS[side], linewidth=1.5, solid_capstyle="butt")
    axes.plot([rate], [y], "o", color=COLOURS[side], markersize=10 * scale, markeredgecolor=PAPER, markeredgewidth=1.2)


def _headline(run: RunData) -> tuple[Figure, str] | None:
    scores = {side: run.evaluation(side) for side in SIDES}
    scores = {side: score for side, score in scores.items() if number(score.get("accuracy")) is not None}
    if not scores:
        return None
    figure, axes = _figure(0.6 + 0.62 * len(scores))
    for row, (side, score) in enumerate(scores.items()):
        rate = number(score["accuracy"]) or 0.0
        _whisker(axes, row, side, rate, number(score.get("low")), number(score.get("high")), 1.0)
        axes.text(rate, row - 0.24, percent(rate), ha="center", va="bottom", fontsize=12, fontweight="bold")
    axes.set(xlim=(-0.02, 1.02), ylim=(len(scores) - 0.5, -0.75), xticks=[0, 0.25, 0.5, 0.75, 1])
    axes.set_yticks(range(len(scores)), [NAMES[side] for side in scores], color=INK, fontsize=12)
    _percent_axis(axes.xaxis)
    axes.grid(axis="x")
    axes.spines[["left", "bottom"]].set_visible(False)
    said = [
        f"{NAMES[side]} {percent(score['accuracy'])}"
        + (f", 95% interval {interval(score)}" if interval(score) else "")
        + (f", n = {count(score['n'])}" if "n" in score else "")
        for side, score in scores.items()
    ]
    return figure, "Execution accuracy on a scale from 0% to 100%. " + ". ".join(said) + "."


def _series(run: RunData, key: str) -> tuple[list[float], list[float]]:
    """Steps and values of one metric where it is a finite number."""
    found = [(float(row["step"]), value) for row in run.metrics if (value := number(row.get(key))) is not None]
    return [step for step, _ in found], [value for _, value in found]


def _thin(values: list[float]) -> list[float]:
    """Means of equal runs of values, so that at most ``_MAX_POINTS`` are drawn."""
    width = -(-len(values) // _MAX_POINTS)
    return [sum(part) / len(part) for part in (values[i : i + width] for i in range(0, len(values), width))]


def _smooth(values: list[float]) -> list[float]:
    """Centred moving average over about a twentieth of the run, narrower towards the ends."""
    reach = max(1, len(values) // 40)
    out = []
    for index in range(len(values)):
        near = min(reach, index, len(values) - 1 - index)
        part = values[index - near : index + near + 1]
        out.append(sum(part) / len(part))
    return out


def _curve(axes: Axes) -> None:
    """The look of a curve over the steps of training."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("Optimiser step")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.02)
    axes.set_xlim(left=0)


def _loss(run: RunData) -> tuple[Figure, str] | None:
    steps, losses = _series(run, "loss")
    checked, validation = _series(run, "validation_loss")
    if not steps and not checked:
        return None
    figure, axes = _figure(2.9)
    said, entries = [], 0
    if steps:
        busy = len(steps) >= 60
        style: dict[str, Any] = {"alpha": 0.35, "linewidth": 0.9} if busy else {"linewidth": 1.6}
        axes.plot(
            _thin(steps), _thin(losses), color=COLOURS["tuned"], marker="o" if len(steps) == 1 else "", **style,
            label="" if busy else "Training",
        )  # fmt: skip
        if busy:
            axes.plot(
                _thin(steps), _thin(_smooth(losses)), color=COLOURS["tuned"], linewidth=1.8, label="Training (smoothed)"
            )
        said.append(
            f"Training loss from {losses[0]:.3g} at step {count(steps[0])} to {losses[-1]:.3g} at {count(steps[-1])}"
        )
        entries += 1
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
        entries += 1
    _curve(axes)
    axes.set_ylim(bottom=min(0.0, *losses, *validation, 0.0))
    _legend(axes, entries)
    return figure, ". ".join(said) + "."


def _validation_accuracy(run: RunData) -> tuple[Figure, str] | None:
    steps, rates = _series(run, "validation_accuracy")
    if not steps:
        return None
    figure, axes = _figure(2.9)
    axes.plot(steps, rates, color=COLOURS["tuned"], linewidth=1.6, marker="o", markersize=5, markeredgecolor=PAPER)
    _curve(axes)
    axes.set_ylim(0, 1.03)
    _percent_axis(axes.yaxis)
    return figure, (
        f"Validation accuracy from {percent(rates[0])} at step {count(steps[0])} to {percent(rates[-1])} at step "
        f"{count(steps[-1])}, highest {percent(max(rates))}."
    )


def _learning_rate(run: RunData) -> tuple[Figure, str] | None:
    steps, rates = _series(run, "learning_rate")
    if len(set(rates)) < 2:
        return None
    from matplotlib.ticker import FuncFormatter

    figure, axes = _figure(1.9)
    axes.plot(_thin(steps), _thin(rates), color=MUTED, linewidth=1.6)
    _curve(axes)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _scientific(value)))
    return figure, f"Learning rate from {rates[0]:.3g} to {rates[-1]:.3g}, highest {max(rates):.3g}."


def _scientific(value: float) -> str:
    """``5e-4`` rather than ``5e-04``; round numbers plainly."""
    if value == 0 or abs(value) >= 0.01:
        return f"{value:g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _hardness(run: RunData) -> tuple[Figure, str] | None:
    levels = by_hardness(run)
    if not levels:
        return None
    figure, axes = _figure(0.75 + 0.62 * len(levels))
    said = []
    for row, (level, scores) in enumerate(levels.items()):
        for side, score in scores.items():
            offset = 0.0 if len(scores) == 1 else (-0.17 if side == "base" else 0.17)
            _whisker(axes, row + offset, side, score.accuracy, *score.bounds, 0.65)
            said.append(f"{level}, {NAMES[side].lower()}: {score.correct} of {score.n} ({percent(score.accuracy)})")
    axes.set(xlim=(-0.02, 1.02), ylim=(len(levels) - 0.5, -0.5), xticks=[0, 0.25, 0.5, 0.75, 1])
    names = [
        f"{level[:20].capitalize()}\nn = {count(max(score.n for score in scores.values()))}"
        for level, scores in levels.items()
    ]
    axes.set_yticks(range(len(levels)), [_plain(name, keep="\n") for name in names], color=INK)
    _percent_axis(axes.xaxis)
    axes.grid(axis="x")
    axes.spines[["left", "bottom"]].set_visible(False)
    _side_legend(axes, [side for side in SIDES if any(side in scores for scores in levels.values())])
    return figure, "Accuracy by hardness. " + "; ".join(said) + "."


def _side_legend(axes: Axes, sides: list[str]) -> None:
    for side in sides:
        axes.plot([], [], "o", color=COLOURS[side], label=NAMES[side], markersize=7)
    _legend(axes, len(sides))


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
    figure, axes = _figure(0.5 + 0.46 * len(order))
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
    text = _plain(key.replace("_", " ")).capitalize()
    return text if len(text) <= 26 else f"{text[:25]}…"


def _plain(text: str, keep: Iterable[str] = ()) -> str:
    """Text without characters that an SVG file or a font cannot hold."""
    return "".join(c if c in keep or (c.isprintable() and ord(c) < 0x250) else "?" for c in text)
