"""The paired result of a run in one sentence."""

from __future__ import annotations

from text2sql.evaluation.statistics import SIGNIFICANCE
from text2sql.formats import count, p_value, pluralize, points, unbroken
from text2sql.runs.models import Model
from text2sql.runs.summary import PairedComparison, Score


def result_sentence(
    base: Score | None, tuned: Score | None, paired: PairedComparison | None, before: Model = "base"
) -> str:
    """State the direction and the size of the difference, and whether it is significant.

    Args:
        base: The score of the model before training, None if it was not evaluated.
        tuned: The score of the tuned model, None if it was not evaluated.
        paired: The paired comparison, None if there is none.
        before: The model before training: ``base`` or ``start``.
    """
    if not base or not tuned:
        present, side = (tuned, "tuned") if tuned else (base, before)
        if not present:
            return "No model was evaluated in this run."
        return (
            f"Only the {side} model was evaluated: {count(present.correct)} of {pluralize(present.n, 'question')} "
            "right. There is nothing to compare it with."
        )
    if not paired:
        return "Both models were evaluated, but no paired comparison was recorded: the difference was not tested."
    if not paired.wins and not paired.losses:
        # Other measures may have changed, such as how many answers run.
        if not tuned.correct:
            return f"Neither model is right on any of the {pluralize(tuned.n, 'question')}."
        return "The two models are right on exactly the same questions: their execution accuracy is the same."
    changes = (
        f"On the same {pluralize(tuned.n, 'question')}, the tuned model is right on {count(paired.wins)} that the "
        f"{before} model got wrong, and wrong on {count(paired.losses)} that it got right"
    )
    evidence = evidence_of(paired)
    if paired.p_value >= SIGNIFICANCE:
        return f"No significant difference. {changes}: {evidence}). A difference of this size can be chance."
    direction = "better" if paired.difference > 0 else "worse"
    return f"The tuned model is significantly {direction}. {changes}: {evidence})."


def evidence_of(paired: PairedComparison) -> str:
    """Difference, interval and p-value; the closing bracket is left to the caller, who may add to them."""
    return (
        f"{points(paired.difference)} percentage points (95% interval {points(paired.low)} to {points(paired.high)}; "
        f"exact McNemar {unbroken(p_value(paired.p_value))}"
    )
