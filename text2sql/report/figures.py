"""The style of figures, and their three forms: SVG file, PNG file, and SVG inside the page.

Inside the page every colour becomes a CSS variable and every text takes the page's fonts, so that the figures follow
the light and the dark theme. Figures are narrow (360 points) so that they stay readable on a phone. The same data give
the same bytes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from text2sql.formats import count, interval, percent
from text2sql.runs.records import MetricsRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK, MUTED, RULE, PAPER, BACKGROUND = "#20242b", "#5c6470", "#d9dce1", "#fdfdfc", "#fefefd"
# Colours of the things compared, in their order; readable on both themes and distinct for the colour-blind.
SERIES_COLOURS = ("#7c8798", "#0f7663", "#b3561d", "#4b62c4", "#a0468c", "#8a7a1f")
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
    BACKGROUND: "none",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(SERIES_COLOURS)},
}
STYLE: dict[Any, Any] = {
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
# Width of a figure in inches: 360 points.
_WIDTH = 5.0
# Number of points above which a curve is downsampled.
_MAX_POINTS = 800
# Share of the figure's width that a legend may take, as the tick labels are to its left.
_MAX_LEGEND_WIDTH = 0.9


@dataclass(frozen=True)
class Plot:
    """One figure.

    Attributes:
        key: File name without suffix, and prefix of the ids inside the page.
        title: Heading above the figure.
        alt: Text alternative.
        svg: Contents of the SVG file.
        png: Contents of the PNG file.
        inline: The SVG for the page.
    """

    key: str
    title: str
    alt: str
    svg: bytes
    png: bytes
    inline: str


def make_plot(key: str, title: str, figure: Figure, alt: str) -> Plot:
    """Render a figure in its three forms; `alt` is the text alternative."""
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
    svg = re.sub(r"#[0-9a-f]{6}\b", lambda match: _VARIABLES.get(match[0], match[0]), svg)
    return re.sub(
        r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>", r'<svg \1 aria-hidden="true" focusable="false">', svg, count=1
    )


def new_figure(height: float) -> tuple[Figure, Axes]:
    """Create an empty figure of the common width, and its axes; `height` is in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), facecolor=BACKGROUND, layout="constrained")
    axes = figure.add_subplot()
    axes.tick_params(length=0, pad=6)
    axes.set_axisbelow(True)
    return figure, axes


def percent_axis(axis: Axis) -> None:
    """Label an axis of rates in percent."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))


def legend(axes: Axes) -> None:
    """Add a legend above the axes, with as many entries in a row as fit."""
    width = axes.figure.bbox.width
    _, labels = axes.get_legend_handles_labels()
    for columns in range(len(labels), 0, -1):
        box = axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.01, 1.0),
            ncols=columns,
            borderaxespad=0.2,
            handlelength=1.3,
            columnspacing=1.4,
        )
        # A wider legend would shrink the axes.
        if box.get_window_extent().width <= _MAX_LEGEND_WIDTH * width:
            return


def whisker(axes: Axes, y: float, colour: str, rate: float, low: float, high: float, scale: float) -> None:
    """Draw a point with its interval as a broad pale bar."""
    axes.plot([low, high], [y, y], color=colour, alpha=0.35, linewidth=7 * scale, solid_capstyle="butt")
    for end in (low, high):
        axes.plot([end, end], [y - 0.12, y + 0.12], color=colour, linewidth=1.5, solid_capstyle="butt")
    axes.plot([rate], [y], "o", color=colour, markersize=10 * scale, markeredgecolor=PAPER, markeredgewidth=1.2)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """One row of `draw_accuracies`.

    Attributes:
        name: Name of the model.
        colour: Colour of the row.
        rate: Accuracy.
        low: Lower end of its 95% interval.
        high: Upper end of it.
        n: Number of questions.
    """

    name: str
    colour: str
    rate: float
    low: float
    high: float
    n: int


def draw_accuracies(rows: Sequence[Accuracy], labels: Sequence[str], fontsize: float = 11.0) -> tuple[Figure, str]:
    """Draw accuracies with their intervals, one below the other.

    Args:
        rows: The rows from top to bottom, at least one.
        labels: The label of each row.
        fontsize: Font size of labels and rates, in points.

    Returns:
        The figure, and its text alternative.
    """
    figure, axes = new_figure(0.6 + 0.62 * len(rows))
    for y, row in enumerate(rows):
        whisker(axes, y, row.colour, row.rate, row.low, row.high, 1.0)
        rate = percent(row.rate)
        axes.text(row.rate, y - 0.24, rate, ha="center", va="bottom", fontsize=fontsize, fontweight="bold")
    axes.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.5, -0.75), xticks=[0, 0.25, 0.5, 0.75, 1])
    axes.set_yticks(range(len(rows)), labels, color=INK, fontsize=fontsize)
    percent_axis(axes.xaxis)
    axes.grid(axis="x")
    axes.spines[["left", "bottom"]].set_visible(False)
    sentences = [
        f"{row.name} {percent(row.rate)}, 95% interval {interval(row.low, row.high)}, n = {count(row.n)}"
        for row in rows
    ]
    return figure, "Execution accuracy on a scale from 0% to 100%. " + ". ".join(sentences) + "."


def series(metrics: Sequence[MetricsRow], key: str) -> tuple[list[float], list[float]]:
    """Steps and values of one metric where it is a finite number."""
    values = [(float(row.step), getattr(row, key, None)) for row in metrics]
    finite = [(step, value) for step, value in values if value is not None and math.isfinite(value)]
    return [step for step, _ in finite], [value for _, value in finite]


def downsample(values: list[float]) -> list[float]:
    """Means over windows of equal length, so that at most ``_MAX_POINTS`` are drawn."""
    width = -(-len(values) // _MAX_POINTS)
    return [sum(part) / len(part) for part in (values[i : i + width] for i in range(0, len(values), width))]


def smooth(values: list[float]) -> list[float]:
    """Centred moving average over about a twentieth of the run, narrower towards the ends."""
    max_radius = max(1, len(values) // 40)
    smoothed = []
    for index in range(len(values)):
        radius = min(max_radius, index, len(values) - 1 - index)
        window = values[index - radius : index + radius + 1]
        smoothed.append(sum(window) / len(window))
    return smoothed


def style_curve_axes(axes: Axes) -> None:
    """Set labels, ticks and grid of axes with curves over the steps of training."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("Optimiser step")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.02)
    axes.set_xlim(left=0)


def scientific(value: float) -> str:
    """``5e-4`` rather than ``5e-04``; round numbers plainly."""
    if value == 0 or abs(value) >= 0.01:
        return f"{value:g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def drawable(text: str, keep: Iterable[str] = ()) -> str:
    """Text with a question mark for each character that an SVG file or the font cannot show."""
    return "".join(c if c in keep or (c.isprintable() and ord(c) < 0x250) else "?" for c in text)
