"""The plan of a run: its evaluations (models, strategies and questions) before and after training."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from text2sql.config import Config
from text2sql.data.example import Example
from text2sql.data.exercise_questions import EXERCISE_QUESTIONS
from text2sql.inference import strategies
from text2sql.inference.strategies import Greedy, Strategy, configured_strategies
from text2sql.runs.models import MODELS, SIDES, STAGES, Model, run_trains


@dataclass(frozen=True)
class Evaluation:
    """One model's answers to a list of questions.

    Attributes:
        label: Name of the evaluation in file names, in the summary and on the command line.
        title: Title of its progress bar.
        model: The model that answers.
        strategy: The answering strategy.
        questions: The questions.
    """

    label: str
    title: str
    model: Model
    strategy: Strategy
    questions: Sequence[Example]


@dataclass(frozen=True)
class Plan:
    """The evaluations and the training of a run, in order.

    Attributes:
        before: Evaluations of the base model before training.
        trains: Whether the run trains.
        after: Evaluations after training.
    """

    before: tuple[Evaluation, ...]
    trains: bool
    after: tuple[Evaluation, ...]


def plan_run(config: Config, test: Sequence[Example], stages: Collection[str] = STAGES) -> Plan:
    """Plan the evaluations that a configuration asks for.

    Args:
        config: The resolved configuration.
        test: The held-out examples.
        stages: Those of `STAGES` that are carried out.
    """
    settings = config.evaluation
    trains = run_trains(config, stages)
    has_tuned = trains or bool(settings.adapter)
    before = _evaluations("base", config, test) if "baseline" in stages else []
    after = _evaluations("tuned", config, test) if has_tuned and "evaluate" in stages else []
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
    for strategy in configured_strategies(model, config.evaluation):
        title = f"{model.title()} model, {strategy.title}" if strategy.title else f"{model.title()} model"
        evaluations.append(Evaluation(strategy.label(model), title, model, strategy, test))
    return evaluations


def _novel(model: Model) -> Evaluation:
    """The evaluation of the few questions on new schemas, which is shown but not scored."""
    return Evaluation(f"novel-{model}", f"New schemas, {model}", model, Greedy(), EXERCISE_QUESTIONS)


@dataclass(frozen=True)
class KnownEvaluation:
    """The names of an evaluation that a run can have.

    Attributes:
        name: Name in tables.
        stage: The stage under which its time is reported.
        strategy: Class of the answering strategy.
        scored: Whether it is scored; the few questions on new schemas are only shown.
    """

    name: str
    stage: str
    strategy: type[Strategy]
    scored: bool = True


def known_evaluations() -> dict[str, KnownEvaluation]:
    """Every evaluation that a run can have, by label."""
    known = {}
    for model, greedy_stage in zip(MODELS, ("baseline", "start evaluation", "tuned evaluation"), strict=True):
        for strategy in strategies.STRATEGIES:
            if model in strategy.models:
                label = strategy.label(model)
                name = f"{model}, {strategy.about}" if strategy.about else model
                known[label] = KnownEvaluation(name, label if strategy.name else greedy_stage, strategy)
        if model in SIDES:
            known[f"novel-{model}"] = KnownEvaluation(f"{model}, new schemas", "new schemas", Greedy, scored=False)
    return known


def other_strategies() -> tuple[str, ...]:
    """Labels of the evaluations with another strategy than `Greedy`."""
    return tuple(label for label, evaluation in known_evaluations().items() if evaluation.strategy is not Greedy)
