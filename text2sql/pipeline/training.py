"""The training of a run: its data, its rate, its validation questions, and going on where a server lost the model."""

from __future__ import annotations

from collections.abc import Sequence

from tinker import TinkerError
from tinker.lib.retryable_exception import RetryableException

from backends.interface import SamplingClient
from backends.planning.shape import model_shape
from text2sql.config import Config
from text2sql.console import console
from text2sql.data.dataset import Dataset
from text2sql.data.example import Example
from text2sql.data.prompts import Tokens
from text2sql.inference.generate import Request
from text2sql.inference.predict import Asker, judge_generations
from text2sql.runs.records import SAMPLES, CheckpointRecord, ValidationSample
from text2sql.runs.session import RunSession, lost_model
from text2sql.runs.summary import TrainingSummary
from text2sql.training.batches import TrainingData
from text2sql.training.lr_schedule import auto_learning_rate
from text2sql.training.trackers import open_trackers
from text2sql.training.trainer import Trainer, Validate


def train_model(
    session: RunSession, dataset: Dataset, train: list[Tokens], validation: list[Tokens]
) -> TrainingSummary:
    """Train to the end; where a server loses the model, as one that is restarted does, from the last checkpoint.

    Args:
        session: The run.
        dataset: Its examples.
        train: The training examples as tokens.
        validation: The validation examples as tokens.

    Raises:
        UserError: The training diverged, or a tracker's package is missing.
        BackendError: The backend failed.
    """
    config = session.config
    track = open_trackers(config, session.run.path)
    ids = [example.id for example in dataset.split.train]
    data = TrainingData(train, ids, validation, _levels(config, dataset))
    validate = _validator(session, dataset.split.validation[: config.training.validation_questions])
    peak = _peak_rate(config)
    taken_up: list[CheckpointRecord] = []
    while True:
        # A trainer goes on where the run's files say that the one before it got.
        trainer = Trainer(session, data, peak, validate, track)
        try:
            trainer.train()
            return trainer.summary()
        except (TinkerError, RetryableException) as error:
            saved = session.run.checkpoints()
            # Where nothing is saved, or nothing more than the last time, another try would end in the same way.
            if not session.service.capabilities.may_lose_model or not lost_model(error) or saved == taken_up:
                raise
            taken_up = saved
            console.print(f"The server broke off the training: {error}", markup=False)


def _levels(config: Config, dataset: Dataset) -> list[int] | None:
    """How hard the training examples are, where they are taught in that order."""
    if config.training.order == "shuffled":
        return None
    from text2sql.sql.hardness import LEVELS, hardness

    return [LEVELS.index(hardness(example.answer)) for example in dataset.split.train]


def _peak_rate(config: Config) -> float:
    """The configured peak of the learning rate; an automatic one is printed with its reason."""
    if config.training.learning_rate != "auto":
        return config.training.learning_rate
    shape = model_shape(config.trained_model)
    batch_size, adapter = config.training.batch_size, config.trains_adapter
    rate, reason = auto_learning_rate(shape.width, shape.family, batch_size, adapter=adapter)
    console.print(f"Learning rate: {reason}.")
    return rate


def _validator(session: RunSession, questions: Sequence[Example]) -> Validate | None:
    """Answers validation questions in the middle of training; None where there are none."""
    if not questions:
        return None
    shown = session.config.training.log_samples

    def validate(sampler: SamplingClient, step: int) -> float:
        answers = Asker(session, sampler, "validation").ask(Request(questions))
        predictions = judge_generations(questions, [own[0] for own in answers], session.config)
        for row in predictions[:shown]:
            console.print(f"  step {step}  {row.question}\n    wrote  {row.sql}\n    gold   {row.gold}", markup=False)
        session.run.append(SAMPLES, [ValidationSample(**dict(row), step=step) for row in predictions[:shown]])
        return sum(row.correct for row in predictions) / len(predictions)

    return validate
