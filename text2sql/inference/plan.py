"""Which evaluations a run consists of: models, strategies and questions, in order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from text2sql.config import Config
from text2sql.data.example import Example
from text2sql.data.exercise_questions import EXERCISE_QUESTIONS
from text2sql.inference import strategies
from text2sql.inference.strategies import Greedy, Strategy, wanted_strategies
from text2sql.runs.models import MODELS, SIDES, STAGES, Model


@dataclass(frozen=True)
class Evaluation:
    """One model's answers to a list of questions.

    Attributes:
        label: Of the predictions' file, in the summary, on the command line.
        title: What to call it while it is under way.
        model: Which model answers.
        strategy: How.
        questions: What is asked.
    """

    label: str
    title: str
    model: Model
    strategy: Strategy
    questions: Sequence[Example]


@dataclass(frozen=True)
class Plan:
    """What a run does, in order.

    Attributes:
        before: Evaluations before training, of the base model.
        trains: Whether there is a training.
        after: Evaluations after it.
    """

    before: tuple[Evaluation, ...]
    trains: bool
    after: tuple[Evaluation, ...]


def plan_run(config: Config, test: Sequence[Example], stages: Collection[str] = STAGES) -> Plan:
    """The evaluations that a configuration asks for.

    Args:
        config: The resolved configuration.
        test: The held-out examples.
        stages: Which of `STAGES` are carried out.
    """
    settings = config.evaluation
    trains = "train" in stages and settings.adapter is None
    before = _evaluations("base", config, test) if "baseline" in stages else []
    after = _evaluations("tuned", config, test) if (trains or settings.adapter) and "evaluate" in stages else []
    if after and config.compares_start:
        after = [*_evaluations("start", config, test), *after]
    if settings.novel_questions:
        if after:
            after.append(_novel("tuned"))
        if any(evaluation.label == "base" for evaluation in before):
            after.append(_novel("base"))
    return Plan(tuple(before), trains, tuple(after))


def _evaluations(model: Model, config: Config, test: Sequence[Example]) -> list[Evaluation]:
    evaluations = []
    for strategy in wanted_strategies(model, config.evaluation):
        title = f"{model.title()} model, {strategy.title}" if strategy.title else f"{model.title()} model"
        evaluations.append(Evaluation(strategy.label(model), title, model, strategy, test))
    return evaluations


def _novel(model: Model) -> Evaluation:
    """The exercise's questions on new schemas, which nobody counts."""
    return Evaluation(f"novel-{model}", f"New schemas, {model}", model, Greedy(), EXERCISE_QUESTIONS)


@dataclass(frozen=True)
class KnownEvaluation:
    """What to call an evaluation that a run can have.

    Attributes:
        name: In tables.
        stage: Under which its time is counted.
        strategy: How the model answers.
        scored: Whether it counts; the few questions on new schemas are only looked at.
    """

    name: str
    stage: str
    strategy: type[Strategy]
    scored: bool = True


def known_evaluations() -> dict[str, KnownEvaluation]:
    """Every evaluation that a run can have, by its label."""
    known = {}
    for model, plain in zip(MODELS, ("baseline", "start evaluation", "tuned evaluation"), strict=True):
        for kind in strategies.STRATEGIES:
            if model in kind.models:
                label = kind.label(model)
                name = f"{model}, {kind.about}" if kind.about else model
                known[label] = KnownEvaluation(name, label if kind.name else plain, kind)
        if model in SIDES:
            known[f"novel-{model}"] = KnownEvaluation(f"{model}, new schemas", "new schemas", Greedy, scored=False)
    return known


def other_strategies() -> tuple[str, ...]:
    """Labels of the evaluations by another strategy than `Greedy`."""
    return tuple(label for label, evaluation in known_evaluations().items() if evaluation.strategy is not Greedy)
