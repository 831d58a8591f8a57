"""The training loop: batches -> forward_backward -> optim_step, with schedule, validation, checkpoints and early stop.

The loop knows nothing of the backend. It keeps one step in flight: the next batch is built and submitted while the last
one computes. All its state is in the run's files: the order of the data is a pure function of (seed, epoch), and the
validations so far are read from ``metrics.jsonl``. A run that was killed goes on from its last checkpoint to the same
numbers as one that was not.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from tinker import types

from backends.interface import BackendError, Future, NonFiniteGradient, SamplingClient, TrainingClient
from text2sql.config import TrainingConfig
from text2sql.console import Stage, console, stage
from text2sql.data.datum import make_batch
from text2sql.data.prompts import Tokens
from text2sql.errors import UserError
from text2sql.runs.budget import BudgetReached, TokenCount
from text2sql.runs.records import METRICS, CheckpointRecord, StepMetrics, Validation
from text2sql.runs.session import RunSession
from text2sql.runs.summary import TrainingSummary
from text2sql.training import checkpoint_recovery
from text2sql.training.batches import Batches, TrainingData
from text2sql.training.checkpoints import KeptCheckpoints
from text2sql.training.early_stopping import choose_checkpoint, validation_metric
from text2sql.training.lr_schedule import learning_rate
from text2sql.training.metrics_log import MetricsLog, Track
from text2sql.training.warm_start import begin, find_start

Validate = Callable[[SamplingClient, int], float]
# Comparable from run to run, whatever loss is trained on.
VALIDATION_LOSS = "cross_entropy"


@dataclass(frozen=True)
class SubmittedBatch:
    """A step that the backend has been given and that nobody has waited for yet.

    Attributes:
        step: Counted from 0.
        indices: Which training examples are in it.
        learning_rate: Of its update.
        tokens: What it is charged for.
        losses: Results of its `forward_backward` calls, whose sum is the loss.
        update: Result of its `optim_step`.
    """

    step: int
    indices: list[int]
    learning_rate: float
    tokens: TokenCount
    losses: list[Future[types.ForwardBackwardOutput]]
    update: Future[types.OptimStepResponse]


class Trainer:
    """One run's training.

    Args:
        session: The run.
        data: Tokenised examples.
        peak: Peak learning rate.
        validate: Answers validation questions with a sampling client at a step and returns the accuracy; None to
            validate on the loss alone.
        track: Receives every record of metrics.
    """

    def __init__(
        self, session: RunSession, data: TrainingData, peak: float, validate: Validate | None, track: Track
    ) -> None:
        self.session, self.data, self.peak, self.validate = session, data, peak, validate
        self.training: TrainingConfig = session.config.training
        self.batches = Batches(session.config, data)
        self.metrics = MetricsLog(session.run, self.training, track)
        self.checkpoints = KeptCheckpoints(session)
        self._clock = time.monotonic()

    def train(self) -> CheckpointRecord:
        """Train to the end, from the last checkpoint if there is one.

        Returns:
            The checkpoint to use, see `choose_checkpoint`.

        Raises:
            UserError: The loss stopped being a number, or the last checkpoint has expired.
            BudgetReached: The next step could cost more than the run may; what was done is saved.
        """
        self.checkpoints.recover(self.metrics)
        done = self.checkpoints.step
        # What came after the last checkpoint is done again.
        self.metrics.forget_after(done)
        if missing := self.metrics.missing_steps(done):
            console.print(
                f"{self.session.run.file(METRICS)} has no record of {missing} of the {done} steps that were done: "
                "losses and times in the report are of the others. The weights are not affected."
            )
        if self._is_finished(done):
            return self.chosen_checkpoint()
        client = self._open_client()
        # A damaged checkpoint may have taken the run further back.
        done = self.checkpoints.step
        self.metrics.forget_after(done)
        self.metrics.rewrite(done)
        self._clock = time.monotonic()
        in_flight: deque[SubmittedBatch] = deque()
        examples = self.batches.examples_before
        with stage("Training", examples(self.batches.total), examples(done)) as bar:
            try:
                self._loop(client, done, in_flight, bar)
            except BudgetReached:
                self._finish(in_flight, bar)
                last = self.metrics.last_step
                if last and last != self.checkpoints.step:
                    self._save(client, last)
                raise
        return self.chosen_checkpoint()

    def _loop(self, client: TrainingClient, step: int, in_flight: deque[SubmittedBatch], bar: Stage) -> None:
        if self._validation_missing(step):
            self._validate(client, step)
        while step < self.batches.total and not self.metrics.stopped_early:
            in_flight.append(self._submit(client, step))
            step += 1
            validates, saves = self._validation_due(step), self._checkpoint_due(step)
            # Validation and saving are about the weights after this step: it has to be done.
            self._finish(in_flight, bar, leave=0 if validates or saves else 1)
            improved = validates and self._validate(client, step)
            if improved or saves or (validates and self.metrics.stopped_early):
                self._save(client, step)

    # Starting and going on

    def _is_finished(self, step: int) -> bool:
        ended = step == self.batches.total or self.metrics.stopped_early
        return self.checkpoints.last is not None and ended and not self._validation_missing(step)

    def _validation_missing(self, step: int) -> bool:
        """Whether the run was stopped (by its budget) between the last step and the validation that was due there."""
        return step > 0 and self._validation_due(step) and not self.metrics.is_validated(step)

    def _open_client(self) -> TrainingClient:
        """A client that goes on from the last checkpoint, from another run's weights, or from a new adapter."""
        config, service = self.session.config, self.session.service
        last, start = self.checkpoints.last, None
        if last:
            _check_expiry(last)
            client = self.checkpoints.open_last(
                lambda row: service.create_training_client_from_state_with_optimizer(row.state_path).result()
            )
            console.print(f"Going on from step {self.checkpoints.step} of {self.batches.total}.")
        elif start := find_start(config):
            client = begin(start, service, config, self.session.run)
        else:
            client = service.create_lora_training_client(
                base_model=config.trained_model,
                rank=config.lora.rank,
                seed=config.seed,
                train_mlp=config.lora.train_mlp,
                train_attn=config.lora.train_attn,
                train_unembed=config.lora.train_unembed,
            ).result()
        checkpoint_recovery.note_client(self.session.run, client, start.record if start else None)
        return client

    # One step

    def _submit(self, client: TrainingClient, step: int) -> SubmittedBatch:
        """Send a step's gradient calls and its optimiser step; nothing is waited for."""
        training, indices = self.training, self.batches.indices(step)
        batch = [self.data.train[i] for i in indices]
        tokens = self.session.budget.reserve(_charged(batch))
        data = make_batch(batch)
        size = math.ceil(len(data) / training.parts)
        losses = [
            client.forward_backward(data[i : i + size], training.loss, training.loss_config or None)
            for i in range(0, len(data), size)
        ]
        rate = learning_rate(step, self.batches.total, self.peak, training)
        update = client.optim_step(
            types.AdamParams(
                learning_rate=rate,
                beta1=training.beta1,
                beta2=training.beta2,
                eps=training.eps,
                weight_decay=training.weight_decay,
                grad_clip_norm=training.grad_clip_norm,
            )
        )
        return SubmittedBatch(step, indices, rate, tokens, losses, update)

    def _finish(self, in_flight: deque[SubmittedBatch], bar: Stage, leave: int = 0) -> None:
        """Wait for the steps in flight, all but `leave` of them, and record them."""
        while len(in_flight) > leave:
            submitted = in_flight.popleft()
            metrics = self._collect(submitted)
            self.metrics.record(metrics)
            bar.advance(metrics.examples, metrics.tokens, loss=metrics.loss)

    def _collect(self, submitted: SubmittedBatch) -> StepMetrics:
        """Wait for a step, and count its tokens."""
        step, tokens = submitted.step + 1, submitted.tokens
        try:
            loss = sum(future.result().metrics["loss:sum"] for future in submitted.losses)
            if not math.isfinite(loss):
                raise NonFiniteGradient(f"the loss is {loss}")
            norm = (submitted.update.result().metrics or {}).get("grad_norm:mean")
            if norm is not None and not math.isfinite(norm):
                raise NonFiniteGradient(f"the norm of the gradient is {norm}")
        except NonFiniteGradient as error:
            raise UserError(self._diverged(submitted, error)) from error
        except ValueError as error:
            # An answer that the SDK cannot use is a ValueError too.
            raise BackendError(f"Step {step} failed: {error}. The checkpoints before it are kept.") from error
        self.session.budget.spend("train", tokens, tokens)
        now = time.monotonic()
        seconds, self._clock = now - self._clock, now
        return StepMetrics(
            step=step,
            epoch=step / self.batches.per_epoch,
            loss=loss,
            learning_rate=submitted.learning_rate,
            grad_norm=norm,
            examples=len(submitted.indices),
            tokens=tokens.train,
            seconds=seconds,
            tokens_per_second=tokens.train / max(seconds, 1e-9),
        )

    def _diverged(self, submitted: SubmittedBatch, error: Exception) -> str:
        indices = submitted.indices
        names = ", ".join(self.data.ids[i] for i in indices[:5])
        more = f" and {len(indices) - 5} more" if len(indices) > 5 else ""
        return (
            f"Training diverged at step {submitted.step + 1}: {error}. Its batch: {names}{more}. The checkpoints "
            "before it are kept. Lower training.learning_rate, or set training.grad_clip_norm=1, and say "
            "on_existing=new: what was learnt depends on them."
        )

    # Validation and checkpoints. Neither is training time: the clock starts again after them.

    def _validation_due(self, step: int) -> bool:
        every = self.training.validate_every
        return bool(self.data.validation) and (step == self.batches.total or bool(every and step % every == 0))

    def _checkpoint_due(self, step: int) -> bool:
        return step == self.batches.total or step % self.training.checkpoint_every == 0

    def _validate(self, client: TrainingClient, step: int) -> bool:
        """Measure, record, and say whether this is the best so far."""
        loss, accuracy = self._validation_loss(client), None
        if not math.isfinite(loss):
            raise UserError(
                f"Training diverged: at step {step} the validation loss is {loss}. The checkpoints before it are kept. "
                "Lower training.learning_rate and say on_existing=new."
            )
        if self.validate is not None:
            with _broken_weights(step):
                sampler = client.save_weights_and_get_sampling_client().result()
            accuracy = self.validate(sampler, step)
        row = Validation(step=step, validation_loss=loss, validation_accuracy=accuracy)
        self.metrics.record(row)
        console.print("  ".join(f"{key} {value:.4g}" for key, value in row.to_json().items()))
        self._clock = time.monotonic()
        return self.metrics.best_step == step

    def _validation_loss(self, client: TrainingClient) -> float:
        """Mean loss per completion token over the validation examples."""
        data, size = make_batch(self.data.validation), self.training.batch_size
        tokens = self.session.budget.reserve(_charged(self.data.validation))
        futures = [client.forward(data[i : i + size], VALIDATION_LOSS) for i in range(0, len(data), size)]
        loss = sum(future.result().metrics["loss:sum"] for future in futures)
        self.session.budget.spend("validation", tokens, tokens)
        return loss

    def _save(self, client: TrainingClient, step: int) -> None:
        with _broken_weights(step):
            self.checkpoints.save(client, step, self.metrics.best_step)
        self._clock = time.monotonic()

    # What came of it

    def chosen_checkpoint(self) -> CheckpointRecord:
        """The checkpoint that evaluation uses."""
        return choose_checkpoint(self.checkpoints.rows, self.metrics.rows, self.training)

    def summary(self) -> TrainingSummary:
        """What the report says about training, from the recorded metrics."""
        steps, chosen = self.metrics.steps, self.chosen_checkpoint()
        seconds = sum(row.seconds for row in steps)
        tokens, examples = sum(row.tokens for row in steps), sum(row.examples for row in steps)
        done = steps[-1].step if steps else 0
        stopped = f"no better {validation_metric(self.training)} for some validations"
        return TrainingSummary(
            steps=done,
            epochs=self.training.epochs,
            examples=examples,
            tokens=tokens,
            seconds=seconds,
            examples_per_second=examples / max(seconds, 1e-9),
            tokens_per_second=tokens / max(seconds, 1e-9),
            first_loss=steps[0].loss if steps else None,
            final_loss=steps[-1].loss if steps else None,
            learning_rate=self.peak,
            batch_size=self.training.batch_size,
            start_from=checkpoint_recovery.recorded_start(self.session.run),
            checkpoint_step=chosen.step,
            checkpoint_path=chosen.sampler_path,
            checkpoint_expires=chosen.expires,
            stopped_early=stopped if done < self.batches.total else None,
        )


def _charged(examples: Sequence[Tokens]) -> TokenCount:
    """What a pass over examples is charged for: every token of their sequences."""
    return TokenCount(train=sum(map(len, examples)))


@contextmanager
def _broken_weights(step: int) -> Iterator[None]:
    """Say what to do where a backend refuses to save weights, because they are not numbers or absurdly large."""
    try:
        yield
    except ValueError as error:
        raise UserError(
            f"Training diverged: the weights of step {step} were not saved. {error} The checkpoints before it are "
            "kept. Lower training.learning_rate, or set training.grad_clip_norm=1, and say on_existing=new."
        ) from error


def _check_expiry(checkpoint: CheckpointRecord) -> None:
    expires = checkpoint.expires
    if expires and datetime.fromisoformat(expires) < datetime.now(UTC):
        raise UserError(
            f"The checkpoint of step {checkpoint.step} expired on {expires}: the run cannot go on from it. Start anew "
            "with on_existing=new, and with a longer training.checkpoint_ttl_days."
        )
