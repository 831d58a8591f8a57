"""Numbers as they are shown."""

from __future__ import annotations

import math

import pytest

from text2sql import formats
from text2sql.formats import MISSING


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (formats.percent(0.36666), "36.7%"),
        (formats.percent(1.0, 0), "100%"),
        (formats.points(0.3667), "+36.7"),
        (formats.points(-0.185), "−18.5"),
        (formats.points(-0.0001), "0.0"),
        (formats.interval(0.2602, 0.488), "26.0% to 48.8%"),
        (formats.count(7_412_345), "7,412,345"),
        (formats.count(0.00048828), "0.0004883"),
        (formats.count(4021.4), "4,021"),
        (formats.duration(59.94), "59.9 s"),
        (formats.duration(318), "5 min 18 s"),
        (formats.duration(7260), "2 h 01 min"),
        (formats.size(512), "512 B"),
        (formats.size(2_876_776_448), "2.7 GiB"),
        (formats.dollars(1234.5), "$1,234.50"),
        (formats.dollars(0.0123), "$0.0123"),
        (formats.p_value(0.01234), "p = 0.0123"),
        (formats.p_value(1e-9), "p < 0.001"),
        (formats.bare_p_value(1.0), "1"),
        (formats.bare_p_value(0.0001), "< 0.001"),
        (formats.unbroken("p < 0.001"), "p\N{NO-BREAK SPACE}<\N{NO-BREAK SPACE}0.001"),
        (formats.timestamp("2026-03-04T05:06:07.123456+00:00"), "2026-03-04 05:06"),
        (formats.timestamp("yesterday"), "yesterday"),
        (formats.clip("SELECT", 3), "SEL … (3 more characters)"),
        (formats.clip("SELECT", 6), "SELECT"),
        (formats.pluralize(1, "question"), "1 question"),
        (formats.pluralize(1200, "question"), "1,200 questions"),
    ],
)
def test_shown(shown: str, expected: str) -> None:
    assert shown == expected


@pytest.mark.parametrize(
    "show", [formats.percent, formats.points, formats.count, formats.duration, formats.size, formats.dollars]
)
@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_not_known_is_a_dash(show: object, value: float | None) -> None:
    assert callable(show) and show(value) == MISSING
