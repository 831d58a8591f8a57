"""Steps that learn from gold answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from backends.interface import TrainingClient
from text2sql.data.datum import make_batch
from text2sql.data.prompts import Tokens
from text2sql.runs.budget import TokenCount
from text2sql.runs.records import StepMetrics
from text2sql.runs.session import RunSession
from text2sql.training.batches import Batches, TrainingData
from text2sql.training.steps import Update, Updater


@dataclass(frozen=True)
class SubmittedBatch:
    """A step that the backend has been given and that nobody has waited for yet.

    Attributes:
        step: Counted from 0.
        indices: Which training examples are in it.
        tokens: What it is charged for.
        update: The update of the weights.
    """

    step: int
    indices: list[int]
    tokens: TokenCount
    update: Update


class SupervisedSteps:
    """Steps of a batch of gold answers each; the next batch is built while the last one computes.

    Args:
        session: The run.
        data: Tokenised examples.
        peak: Peak learning rate.
    """

    ahead = 1
    keeps_reference = False

    def __init__(self, session: RunSession, data: TrainingData, peak: float) -> None:
        training = session.config.training
        self._session, self._data = session, data
        self.batches = Batches(session.config, data)
        self.total, self.peak = self.batches.total, peak
        self.batch_size, self.epochs = training.batch_size, training.epochs
        self._updater = Updater(training, self.total, peak, training.loss, training.loss_config)

    def examples_before(self, step: int) -> int:
        """How many examples the steps before this one take; the last batch of an epoch may be smaller."""
        return self.batches.examples_before(step)

    def submit(self, client: TrainingClient, step: int) -> SubmittedBatch:
        """Send a step's gradient calls and its optimiser step; nothing is waited for."""
        indices = self.batches.indices(step)
        batch = [self._data.train[i] for i in indices]
        tokens = self._session.budget.reserve(charged_tokens(batch))
        names = [self._data.ids[i] for i in indices]
        update = self._updater.send(client, make_batch(batch), step, names)
        return SubmittedBatch(step, indices, tokens, update)

    def collect(self, submitted: SubmittedBatch, since: float) -> StepMetrics:
        """Wait for a step, and count its tokens."""
        result = submitted.update.wait()
        step, tokens = submitted.step + 1, submitted.tokens
        self._session.budget.spend("train", tokens, tokens)
        seconds = time.monotonic() - since
        return StepMetrics(
            step=step,
            epoch=step / self.batches.per_epoch,
            loss=result.loss,
            learning_rate=submitted.update.learning_rate,
            grad_norm=result.grad_norm,
            examples=len(submitted.indices),
            tokens=tokens.train,
            seconds=seconds,
            tokens_per_second=tokens.train / max(seconds, 1e-9),
        )

    def settle(self) -> None:
        """Do nothing: there is no background work."""

    def close(self) -> None:
        """Do nothing: there is no background work."""

    def reason_to_stop(self, done: Sequence[StepMetrics]) -> str | None:
        """None: a supervised training goes through all its epochs."""
        return None


def charged_tokens(examples: Sequence[Tokens]) -> TokenCount:
    """The tokens that a pass over examples is charged for: every token of their sequences."""
    return TokenCount(train=sum(map(len, examples)))
