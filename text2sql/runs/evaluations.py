"""The evaluations that a run can have: which model answers which questions, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Model = Literal["base", "tuned"]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a run.

    Attributes:
        label: Its predictions are in ``predictions-LABEL.jsonl``.
        title: For the progress of its run.
        model: Who answers.
        strategy: How: ``greedy``, or the key of the configuration's section `evaluation` that asks for it.
        questions: ``test``, or ``novel`` for those on new schemas.
        name: In tables.
        stage: Under which its time is counted.
    """

    label: str
    title: str
    model: Model
    strategy: Literal["greedy", "few_shot", "self_consistency", "retry"]
    questions: Literal["test", "novel"]
    name: str
    stage: str


def _model(model: Model) -> tuple[Evaluation, ...]:
    """The evaluations that both models can have."""
    title = f"{model.title()} model"
    vote, retry, novel = f"{model}-vote", f"{model}-retry", f"novel-{model}"
    return (
        Evaluation(model, title, model, "greedy", "test", model, {"base": "baseline"}.get(model, "tuned evaluation")),
        Evaluation(vote, f"{title}, vote", model, "self_consistency", "test", f"{model}, vote of samples", vote),
        Evaluation(retry, f"{title}, retry", model, "retry", "test", f"{model}, asked again on errors", retry),
        Evaluation(novel, f"New schemas, {model}", model, "greedy", "novel", f"{model}, new schemas", "new schemas"),
    )


_FEW_SHOT = Evaluation(
    "few-shot",
    "Base model, solved examples",
    "base",
    "few_shot",
    "test",
    "base, solved examples in the prompt",
    "few-shot",
)
EVALUATIONS = {evaluation.label: evaluation for evaluation in (_FEW_SHOT, *_model("base"), *_model("tuned"))}
# The two that a report is about.
SIDES: tuple[Model, Model] = ("base", "tuned")
# Those on the same questions by another strategy.
OTHER_STRATEGIES = tuple(
    label
    for label, evaluation in EVALUATIONS.items()
    if evaluation.questions == "test" and evaluation.strategy != "greedy"
)
