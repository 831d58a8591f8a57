"""The training loop: batches -> forward_backward -> optim_step, with schedule, validation, checkpoints and early stop.

The loop knows nothing of the backend. It keeps one step in flight: the next batch is built and submitted while the last
one computes. All its state is in the run's files: the order of the data is a pure function of (seed, epoch), and the
validations so far are read from ``metrics.jsonl``. A run that was killed goes on from its last checkpoint to the same
numbers as one that was not.
"""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tinker import types

from backends.interface import BackendError, NonFiniteGradient, SamplingClient, ServiceClient, TrainingClient
from text2sql.config import Config
from text2sql.console import console, stage
from text2sql.data.datum import make_batch
from text2sql.data.prompts import Tokens
from text2sql.errors import UserError
from text2sql.runs.budget import BudgetReached, TokenBudget
from text2sql.runs.budget import Tokens as Spent
from text2sql.runs.directory import RunDirectory
from text2sql.runs.records import (
    CHECKPOINTS,
    METRICS,
    SAMPLES,
    CheckpointRecord,
    MetricsRow,
    StepMetrics,
    Validation,
)
from text2sql.runs.summary import TrainingSummary
from text2sql.training import checkpoint_recovery
from text2sql.training.early_stopping import best_step, choose_checkpoint, stopped_early, validation_metric
from text2sql.training.lr_schedule import learning_rate
from text2sql.training.warm_start import begin, find_start

Flying = tuple[int, float, list[int], Any, Any]  # step, learning rate, examples, futures of losses and of the update
Validate = Callable[[SamplingClient, int], float]


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What the loop trains and validates on.

    Attributes:
        train: The training examples.
        ids: Their names, for messages.
        validation: The validation examples.
        levels: How hard each training example is, for a curriculum; None for none.
    """

    train: list[Tokens]
    ids: list[str]
    validation: list[Tokens]
    levels: list[int] | None = None


def epoch_order(seed: int, epoch: int, count: int, levels: Sequence[int] | None = None) -> list[int]:
    """The order in which an epoch goes through the examples: shuffled, and where they have levels, low ones first."""
    order = list(range(count))
    random.Random(f"order-{seed}-{epoch}").shuffle(order)
    return order if levels is None else sorted(order, key=levels.__getitem__)


def total_steps(config: Config, examples: int) -> int:
    """Optimiser steps of the whole run; a last smaller batch of an epoch is a step too."""
    steps = math.ceil(examples / config.training.batch_size) * config.training.epochs
    return min(steps, config.training.max_steps or steps)


class Trainer:
    """One run's training.

    Args:
        run: Where metrics and checkpoints are recorded.
        service: Any backend.
        config: The resolved configuration.
        data: Tokenised examples.
        peak: Peak learning rate.
        validate: Answers validation questions with a sampling client at a step and returns the accuracy; None to
            validate on the loss alone.
        track: Receives every row of metrics.
        ledger: Counts the tokens and knows what may be spent.
    """

    def __init__(
        self,
        run: RunDirectory,
        service: ServiceClient,
        config: Config,
        data: TrainingData,
        peak: float,
        validate: Validate | None,
        track: Callable[[Mapping[str, Any]], None],
        budget: TokenBudget,
    ) -> None:
        self.run, self.service, self.config, self.data = run, service, config, data
        self.peak, self.validate, self.track, self.budget = peak, validate, track, budget
        self.total = total_steps(config, len(data.train))
        self._checkpoints = run.checkpoints()
        # What came after the last checkpoint is done again.
        self._start_step = self._checkpoints[-1].step if self._checkpoints else 0
        self._metrics = [row for row in run.metrics() if row.step <= self._start_step]
        self._order: tuple[int, list[int]] = (-1, [])

    def train(self) -> CheckpointRecord:
        """Train to the end, from the last checkpoint if there is one.

        Returns:
            The checkpoint to use, see `choose_checkpoint`.

        Raises:
            UserError: The loss stopped being a number.
        """
        self._take_up_leftovers()
        if self._is_finished():
            return self.chosen_checkpoint()
        client = self._start()
        self._clock = time.monotonic()
        flying: deque[Flying] = deque()
        with stage("Training", self._examples_before(self.total), self._examples_before(self._start_step)) as self._bar:
            try:
                self._loop(client, flying)
            except BudgetReached:
                self._land(flying)
                if self._metrics and not self._is_saved(self._metrics[-1].step):
                    self._checkpoint(client, self._metrics[-1].step)
                raise
        return self.chosen_checkpoint()

    def _loop(self, client: TrainingClient, flying: deque[Flying]) -> None:
        step = self._start_step
        if self._validation_missing():
            self._validation(client, step)
        while step < self.total and not stopped_early(self._metrics, self.config.training):
            flying.append(self._submit(client, step))
            step += 1
            due = self._validation_due(step), self._checkpoint_due(step)
            self._land(flying, 0 if any(due) else 1)
            if any(due):
                improved = due[0] and self._validation(client, step)
                if improved or due[1] or stopped_early(self._metrics, self.config.training):
                    self._checkpoint(client, step)

    def _land(self, flying: deque[Flying], leave: int = 0) -> None:
        """Finish the steps in flight, all but so many."""
        while len(flying) > leave:
            self._finish(*flying.popleft())

    # Starting and going on

    def _is_finished(self) -> bool:
        ended = self._start_step == self.total or stopped_early(self._metrics, self.config.training)
        return bool(self._checkpoints) and ended and not self._validation_missing()

    def _validation_missing(self) -> bool:
        """Whether the run was stopped (by its budget) between the last step and the validation that was due there."""
        step = self._start_step
        return step > 0 and self._validation_due(step) and not any(
            row.step == step and isinstance(row, Validation) for row in self._metrics
        )  # fmt: skip

    def _take_up_leftovers(self) -> None:
        """Go on from the latest checkpoint that a kill kept from being recorded; delete the rest of them."""
        found = checkpoint_recovery.find_leftovers(self.run, self.service)
        rows = self.run.metrics()
        later = {row.step for row in rows if isinstance(row, StepMetrics) and row.step > self._start_step}
        newest = checkpoint_recovery.newest_whole(found, later)
        if newest:
            self._start_step = newest.step
            self._metrics = [row for row in rows if row.step <= self._start_step]
            self._keep(newest)
        paths = [checkpoint.tinker_path for checkpoint in found]
        self._delete([path for path in paths if not newest or path not in (newest.state_path, newest.sampler_path)])

    def _start(self) -> TrainingClient:
        self.run.replace_rows(METRICS, [row for row in self.run.metrics() if row.step <= self._start_step])
        self.run.replace_rows(SAMPLES, [row for row in self.run.samples() if row.step <= self._start_step])
        start = None
        if self._checkpoints:
            console.print(f"Going on from step {self._start_step} of {self.total}.")
            last = self._checkpoints[-1]
            path, expires = last.state_path, last.expires
            if expires and datetime.fromisoformat(expires) < datetime.now(UTC):
                raise UserError(
                    f"The checkpoint of step {last.step} expired on {expires}: the run cannot go on from it. Start "
                    "anew with on_existing=overwrite, and with a longer training.checkpoint_ttl_days."
                )
            client = self.service.create_training_client_from_state_with_optimizer(path).result()
        elif start := find_start(self.config):
            client = begin(start, self.service, self.config, self.run)
        else:
            lora = self.config.lora
            client = self.service.create_lora_training_client(
                base_model=self.config.trained_model,
                rank=lora.rank,
                seed=self.config.seed,
                train_mlp=lora.train_mlp,
                train_attn=lora.train_attn,
                train_unembed=lora.train_unembed,
            ).result()
        checkpoint_recovery.note_client(self.run, client, start.record if start else None)
        return client

    # One step

    def _submit(self, client: TrainingClient, step: int) -> Flying:
        """Send a step's gradient calls and its optimiser step; nothing is waited for."""
        training = self.config.training
        indices = self._batch(step)
        self.budget.reserve(self._tokens(indices))
        data = make_batch([self.data.train[i] for i in indices])
        size = math.ceil(len(data) / training.parts)
        losses = [
            client.forward_backward(data[i : i + size], training.loss, training.loss_config or None)
            for i in range(0, len(data), size)
        ]
        rate = learning_rate(step, self.total, self.peak, training)
        optimised = client.optim_step(
            types.AdamParams(
                learning_rate=rate,
                beta1=training.beta1,
                beta2=training.beta2,
                eps=training.eps,
                weight_decay=training.weight_decay,
                grad_clip_norm=training.grad_clip_norm,
            )
        )
        return step, rate, indices, losses, optimised

    def _tokens(self, indices: Sequence[int]) -> Spent:
        """What a step is charged for: every token of its sequences."""
        return Spent(train=sum(len(self.data.train[i]) for i in indices))

    def _batch(self, step: int) -> list[int]:
        """Indices of the examples of a step."""
        size, count = self.config.training.batch_size, len(self.data.train)
        epoch, place = divmod(step, math.ceil(count / size))
        if self._order[0] != epoch:
            self._order = (epoch, epoch_order(self.config.seed, epoch, count, self.data.levels))
        return self._order[1][place * size : (place + 1) * size]

    def _examples_before(self, step: int) -> int:
        count = len(self.data.train)
        size = self.config.training.batch_size
        epoch, place = divmod(step, math.ceil(count / size))  # the last batch of an epoch may be smaller
        return epoch * count + place * size

    def _finish(self, step: int, rate: float, indices: list[int], losses: Any, optimised: Any) -> None:
        """Wait for a step and record it."""
        try:
            loss = sum(future.result().metrics["loss:sum"] for future in losses)
            if not math.isfinite(loss):
                raise NonFiniteGradient(f"the loss is {loss}")
            metrics = optimised.result().metrics or {}
            norm = metrics.get("grad_norm:mean")
            if norm is not None and not math.isfinite(norm):
                raise NonFiniteGradient(f"the norm of the gradient is {norm}")
        except NonFiniteGradient as error:
            raise UserError(self._diverged(step, indices, error)) from error
        except ValueError as error:  # also what the SDK makes of an answer that it cannot use
            raise BackendError(f"Step {step + 1} failed: {error}. The checkpoints before it are kept.") from error
        spent = self._tokens(indices)
        self.budget.spend("train", spent, spent)
        tokens = spent.train
        now = time.monotonic()
        seconds, self._clock = now - self._clock, now
        per_epoch = math.ceil(len(self.data.train) / self.config.training.batch_size)
        row = StepMetrics(
            step=step + 1,
            epoch=(step + 1) / per_epoch,
            loss=loss,
            learning_rate=rate,
            grad_norm=norm,
            examples=len(indices),
            tokens=tokens,
            seconds=seconds,
            tokens_per_second=tokens / max(seconds, 1e-9),
        )
        self._record(row)
        self._bar.advance(len(indices), tokens, loss=loss)

    def _record(self, row: MetricsRow) -> None:
        self._metrics.append(row)
        self.run.append(METRICS, [row])
        self.track(row.to_json())

    def _diverged(self, step: int, indices: Sequence[int], error: Exception) -> str:
        names = ", ".join(self.data.ids[i] for i in indices[:5])
        more = f" and {len(indices) - 5} more" if len(indices) > 5 else ""
        return (
            f"Training diverged at step {step + 1}: {error}. Its batch: {names}{more}. The checkpoints before it are "
            "kept. Lower training.learning_rate, or set training.grad_clip_norm=1 and on_existing=overwrite."
        )

    # Validation, early stopping, checkpoints

    def _validation_due(self, step: int) -> bool:
        every = self.config.training.validate_every
        return bool(self.data.validation) and (step == self.total or bool(every and step % every == 0))

    def _is_saved(self, step: int) -> bool:
        return bool(self._checkpoints) and self._checkpoints[-1].step == step

    def _checkpoint_due(self, step: int) -> bool:
        return step == self.total or step % self.config.training.checkpoint_every == 0

    def _validation(self, client: TrainingClient, step: int) -> bool:
        """Measure, record, and say whether this is the best so far."""
        loss, accuracy = self._validation_loss(client), None
        if not math.isfinite(loss):
            raise UserError(
                f"Training diverged: at step {step} the validation loss is {loss}. The checkpoints "
                "before it are kept. Lower training.learning_rate and say on_existing=overwrite."
            )
        if self.validate is not None:
            sampler = client.save_weights_and_get_sampling_client().result()
            accuracy = self.validate(sampler, step)
        row = Validation(step=step, validation_loss=loss, validation_accuracy=accuracy)
        self._record(row)
        console.print("  ".join(f"{key} {value:.4g}" for key, value in row.to_json().items()))
        self._clock = time.monotonic()  # validation is not training time
        return best_step(self._metrics, self.config.training) == step

    def _validation_loss(self, client: TrainingClient) -> float:
        """Mean loss per completion token over the validation examples."""
        data, size = make_batch(self.data.validation), self.config.training.batch_size
        spent = self.budget.reserve(Spent(train=sum(map(len, self.data.validation))))
        futures = [client.forward(data[i : i + size], "cross_entropy") for i in range(0, len(data), size)]
        loss = sum(future.result().metrics["loss:sum"] for future in futures)
        self.budget.spend("validation", spent, spent)
        return loss

    def _checkpoint(self, client: TrainingClient, step: int) -> None:
        """Save, record, and delete what is neither the last checkpoint nor the best."""
        name, ttl = checkpoint_recovery.checkpoint_name(step), self.config.checkpoint_ttl_seconds
        state = client.save_state(name, ttl_seconds=ttl)
        weights = client.save_weights_for_sampler(name, ttl_seconds=ttl)
        state_path, sampler_path = state.result().path, weights.result().path
        expires = None if ttl is None else (datetime.now(UTC) + timedelta(seconds=ttl)).isoformat(timespec="seconds")
        self._keep(
            CheckpointRecord(name=name, step=step, state_path=state_path, sampler_path=sampler_path, expires=expires)
        )
        self._clock = time.monotonic()  # nor is saving

    def _keep(self, row: CheckpointRecord) -> None:
        """Record a checkpoint as the last one."""
        rows, best = self._checkpoints, best_step(self._metrics, self.config.training)
        kept = [old for old in rows if old.step == best and old.step != row.step]
        self._checkpoints = [*kept, row]
        self.run.replace_rows(CHECKPOINTS, self._checkpoints)
        self._delete([path for old in rows if old not in kept for path in (old.state_path, old.sampler_path)])

    def _delete(self, paths: Sequence[str]) -> None:
        if paths:
            checkpoint_recovery.delete(self.service.create_rest_client(), paths)

    def chosen_checkpoint(self) -> CheckpointRecord:
        """The checkpoint that evaluation uses."""
        return choose_checkpoint(self._checkpoints, self._metrics, self.config.training)

    def summary(self) -> TrainingSummary:
        """What the report says about training, from the recorded metrics."""
        steps = [row for row in self._metrics if isinstance(row, StepMetrics)]
        seconds = sum(row.seconds for row in steps)
        tokens, examples = sum(row.tokens for row in steps), sum(row.examples for row in steps)
        done = steps[-1].step if steps else 0
        chosen = self.chosen_checkpoint()
        return TrainingSummary(
            steps=done,
            epochs=self.config.training.epochs,
            examples=examples,
            tokens=tokens,
            seconds=seconds,
            examples_per_second=examples / max(seconds, 1e-9),
            tokens_per_second=tokens / max(seconds, 1e-9),
            first_loss=steps[0].loss if steps else None,
            final_loss=steps[-1].loss if steps else None,
            learning_rate=self.peak,
            batch_size=self.config.training.batch_size,
            start_from=checkpoint_recovery.recorded_start(self.run),
            checkpoint_step=chosen.step,
            checkpoint_path=chosen.sampler_path,
            checkpoint_expires=chosen.expires,
            stopped_early=f"no better {validation_metric(self.config.training)} for some validations"
            if done < self.total
            else None,
        )
