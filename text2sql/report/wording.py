"""Numbers and results in plain words."""

from __future__ import annotations

import math
from typing import Any

from text2sql.report.load import number

MISSING = "–"
SIGNIFICANCE = 0.05


def percent(value: Any) -> str:
    """A rate between 0 and 1 as a percentage with one decimal."""
    rate = number(value)
    return MISSING if rate is None else f"{100 * rate:.1f}%"


def points(value: Any) -> str:
    """A difference of two rates in percentage points, always signed, with a true minus sign."""
    rate = number(value)
    if rate is None:
        return MISSING
    return f"{100 * rate:+.1f}".replace("-", "−").replace("+0.0", "0.0").replace("−0.0", "0.0")


def interval(value: dict[str, Any]) -> str:
    """``low`` to ``high`` of a rate, or an empty string."""
    low, high = number(value.get("low")), number(value.get("high"))
    return "" if low is None or high is None else f"{100 * low:.1f}% to {100 * high:.1f}%"


def count(value: Any) -> str:
    """A number with thousands separated; a float with at most four significant digits."""
    found = number(value)
    if found is None:
        return MISSING if value is None else str(value)
    if found == int(found) and abs(found) < 1e15:
        return f"{int(found):,}"
    if abs(found) >= 1000:
        return f"{found:,.0f}"
    return f"{found:.4g}"


def duration(value: Any) -> str:
    """Seconds as a person says them."""
    seconds = number(value)
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def size(value: Any) -> str:
    """Bytes in binary units."""
    found = number(value)
    if found is None:
        return MISSING
    exponent = min(int(math.log(found, 1024)), 4) if found >= 1 else 0
    unit = ("B", "KiB", "MiB", "GiB", "TiB")[exponent]
    return f"{found / 1024**exponent:.{1 if exponent else 0}f} {unit}"


def dollars(value: Any) -> str | None:
    """An amount with cents, or more digits where it is less than a dollar; None where there is none."""
    amount = number(value)
    return None if amount is None else f"${amount:,.2f}" if amount >= 1 else f"${amount:.4f}"


def p_value(value: Any) -> str:
    """``p = 0.0123`` or ``p < 0.001``."""
    found = number(value)
    if found is None:
        return "p not recorded"
    relation = "< 0.001" if found < 0.001 else f"= {found:.3g}"
    return f"p {relation}".replace(" ", "\N{NO-BREAK SPACE}")


def moment(value: Any) -> str:
    """An ISO time without the ``T`` and the fraction of a second."""
    text = str(value or "")
    return text[:16].replace("T", " ") if len(text) >= 16 and text[10] == "T" else text


def beginning(start: Any) -> str:
    """Where the weights come from that a training began with; `start` is what the run's record says of it."""
    if not isinstance(start, dict):
        return MISSING
    step = f", step {count(start['step'])}" if start.get("step") is not None else ""
    return f"{start['run']}{step}" if start.get("run") else str(start.get("checkpoint"))


def clip(text: Any, limit: int) -> str:
    """Text of at most ``limit`` characters; what was left out is counted, never silent."""
    if text is None:
        return ""
    text = str(text)
    if len(text) <= limit:
        return text
    return f"{text[:limit]} … ({len(text) - limit:,} more characters)"


def plural(amount: Any, noun: str) -> str:
    """``1 question``, ``200 questions``."""
    return f"{count(amount)} {noun}" + ("" if amount == 1 else "s")


def verdict_sentence(base: dict[str, Any], tuned: dict[str, Any], paired: dict[str, Any]) -> str:
    """The paired result in one sentence that a person understands.

    Args:
        base: Headline of the base model, or an empty dict.
        tuned: Headline of the tuned model, or an empty dict.
        paired: The paired comparison (wins, losses, difference, low, high, p_value), or an empty dict.

    Returns:
        One or two sentences: which way it went, by how much, and whether that is more than chance.
    """
    if not base and not tuned:
        return "No model was evaluated in this run."
    if not base or not tuned:
        present, side = (tuned, "tuned") if tuned else (base, "base")
        return (
            f"Only the {side} model was evaluated: {count(present.get('correct'))} of "
            f"{plural(present.get('n'), 'question')} right. There is nothing to compare it with."
        )
    wins, losses, difference = (number(paired.get(key)) for key in ("wins", "losses", "difference"))
    if wins is None or losses is None or difference is None:
        return "Both models were evaluated, but no paired comparison was recorded: the difference was not tested."
    if not wins and not losses:
        return "The two models are right on exactly the same questions: fine-tuning changed nothing that was measured."
    moved = (
        f"On the same {plural(tuned.get('n', base.get('n')), 'question')}, the tuned model is right on "
        f"{count(wins)} that the base model got wrong, and wrong on {count(losses)} that it got right"
    )
    bounds = ""
    if number(paired.get("low")) is not None and number(paired.get("high")) is not None:
        bounds = f"95% interval {points(paired['low'])} to {points(paired['high'])}; "
    evidence = f"{points(difference)} percentage points ({bounds}exact McNemar {p_value(paired.get('p_value'))})"
    p = number(paired.get("p_value"))
    if p is None:
        return f"{moved}: a difference of {evidence}."
    if p >= SIGNIFICANCE:
        return f"No significant difference. {moved}: {evidence}. A difference of this size can be chance."
    direction = "better" if difference > 0 else "worse"
    return f"The tuned model is significantly {direction}. {moved}: {evidence}."
