"""A figure keeps its room for what it shows."""

from __future__ import annotations

import pytest

from text2sql.report.figures import legend, new_figure


@pytest.mark.parametrize(
    "labels",
    [
        ["Training"],
        ["Training (smoothed)", "Validation"],
        ["Reward", "Right answers", "Any right", "Right on one database alone"],
        ["a label that is nearly as wide as the whole figure is", "another one of that kind"],
    ],
)
def test_a_legend_of_any_width_leaves_the_axes_their_room(labels: list[str]) -> None:
    figure, axes = new_figure(2.9)
    for label in labels:
        axes.plot([0, 1], [0, 1], label=label)
    legend(axes)
    figure.canvas.draw()
    assert axes.get_position().width > 0.75
    made = axes.get_legend()
    assert made is not None and made.get_window_extent().x1 <= figure.bbox.x1
