"""The training of a run: data, learning rate, validation questions, and recovery where a server loses the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tinker import TinkerError
from tinker.lib.retryable_exception import RetryableException

from backends.interface import SamplingClient
from backends.planning.shape import model_shape
from text2sql.config import Config
from text2sql.console import console
from text2sql.data.dataset import Dataset
from text2sql.data.example import Example
from text2sql.data.prompts import Tokens
from text2sql.inference.generate import GenerationRequest
from text2sql.inference.predict import BudgetedGenerator, score_generations
from text2sql.rl.measures import summarize_verdicts
from text2sql.rl.reference import count_seen_in_training
from text2sql.rl.teacher import Teacher
from text2sql.rl.verdict_steps import VerdictSteps
from text2sql.runs.records import SAMPLES, CheckpointRecord, ValidationSample
from text2sql.runs.rollouts import RlStepMetrics
from text2sql.runs.session import RunSession, is_model_lost
from text2sql.runs.summary import TrainingSummary
from text2sql.training.batches import TrainingData, order_keys
from text2sql.training.lr_schedule import auto_learning_rate
from text2sql.training.metrics_log import Track
from text2sql.training.steps import Steps
from text2sql.training.supervised import SupervisedSteps
from text2sql.training.trainer import MeasureAccuracy, Trainer


@dataclass(frozen=True)
class TrainingResult:
    """A finished training.

    Attributes:
        summary: Its summary.
        sampler: The tuned model, if it was asked for.
    """

    summary: TrainingSummary
    sampler: SamplingClient | None


def train_model(
    session: RunSession,
    dataset: Dataset,
    train: list[Tokens],
    validation: list[Tokens],
    teacher: Teacher,
    *,
    to_sample: bool,
    track: Track,
) -> TrainingResult:
    """Train to the end; if a server loses the model, as one that restarts does, resume from the last checkpoint.

    Args:
        session: The run.
        dataset: Its examples.
        train: The training examples as tokens.
        validation: The validation examples as tokens.
        teacher: The teacher model, asked if the run distils one.
        to_sample: Whether to open the tuned model for sampling.
        track: Called with every record of metrics.

    Raises:
        UserError: The training diverged.
        BackendError: The backend failed.
    """
    config = session.config
    measure_accuracy = _accuracy_measure(session, dataset.split.validation[: config.training.validation_questions])
    learning_rate = _peak_learning_rate(config)
    resumed_from: list[CheckpointRecord] = []
    while True:
        # A trainer resumes from the checkpoints in the run's directory.
        steps = _make_steps(session, dataset, train, learning_rate, teacher)
        trainer = Trainer(session, steps, validation, measure_accuracy, track)
        try:
            chosen = trainer.train()
            sampler = trainer.checkpoints.open_sampler(chosen) if to_sample else None
            # No sampler: the checkpoint is damaged beyond repair, and the training resumes from the one before.
            if sampler or not to_sample:
                return TrainingResult(_with_verdict_summary(session, dataset, trainer.summary()), sampler)
        except (TinkerError, RetryableException) as error:
            saved = session.run.checkpoints()
            # With no new checkpoint since the last time, another attempt would end in the same way.
            if not session.service.capabilities.may_lose_model or not is_model_lost(error) or saved == resumed_from:
                raise
            resumed_from = saved
            console.print(f"The server broke off the training: {error}", markup=False)


def _make_steps(
    session: RunSession, dataset: Dataset, train: list[Tokens], learning_rate: float, teacher: Teacher
) -> Steps[Any]:
    """The training steps: from verdicts on the model's own answers, or from gold answers."""
    if session.config.rl.method is not None:
        return VerdictSteps(session, dataset.split.train, train, learning_rate, teacher)
    examples = dataset.split.train
    keys = order_keys(session.config, examples, dataset.known)
    data = TrainingData(train, [example.id for example in examples], keys)
    return SupervisedSteps(session, data, learning_rate)


def _with_verdict_summary(session: RunSession, dataset: Dataset, summary: TrainingSummary) -> TrainingSummary:
    """The summary of a training, with that of its verdicts where it learnt from them."""
    steps = [row for row in session.run.metrics() if isinstance(row, RlStepMetrics)]
    if not steps:
        return summary
    initial = session.run.recorded_initial_weights()
    seen = count_seen_in_training(initial, dataset.split.train) if initial else 0
    return summary.model_copy(update={"verdicts": summarize_verdicts(steps, session.config.rl, seen)})


def _peak_learning_rate(config: Config) -> float:
    """The peak learning rate; an automatic one is printed with its reason."""
    if config.training.learning_rate != "auto":
        return config.training.learning_rate
    shape = model_shape(config.trained_model)
    batch_size, adapter = config.training.batch_size, config.trains_adapter
    rate, reason = auto_learning_rate(shape.width, shape.family, batch_size, adapter=adapter)
    console.print(f"Learning rate: {reason}.")
    return rate


def _accuracy_measure(session: RunSession, questions: Sequence[Example]) -> MeasureAccuracy | None:
    """A function that answers the validation questions during training; None if there are none."""
    if not questions:
        return None
    logged = session.config.training.log_samples

    def measure_accuracy(sampler: SamplingClient, step: int) -> float:
        answers = BudgetedGenerator(session, sampler, "validation").generate(GenerationRequest(questions))
        predictions = score_generations(questions, [samples[0] for samples in answers], session.config)
        for row in predictions[:logged]:
            console.print(f"  step {step}  {row.question}\n    wrote  {row.sql}\n    gold   {row.gold}", markup=False)
        session.run.append(SAMPLES, [ValidationSample(**dict(row), step=step) for row in predictions[:logged]])
        return sum(row.correct for row in predictions) / len(predictions)

    return measure_accuracy
