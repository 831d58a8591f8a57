"""The training loop: step after step, with schedule, validation, checkpoints and early stop.

The loop knows nothing of the backend, and nothing of what a step learns from: `text2sql.training.steps`. It keeps as
many steps in flight as these allow: the next one is built and submitted while the last one computes. All its state is
in the run's files: the order of the data is a pure function of (seed, epoch), and the validations so far are read from
``metrics.jsonl``. A run that was killed goes on from its last checkpoint to the same numbers as one that was not.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Generic

from backends.checkpoint_paths import CheckpointPath
from backends.interface import SamplingClient, TrainingClient
from text2sql.config import TrainingConfig
from text2sql.console import ProgressBar, console, progress_bar
from text2sql.data.datum import make_batch
from text2sql.data.prompts import Tokens
from text2sql.errors import UserError
from text2sql.formats import pluralize
from text2sql.runs.budget import BudgetReached
from text2sql.runs.interruption import Interruption, defer_interruptions
from text2sql.runs.records import METRICS, CheckpointRecord, InitialWeightsRecord, Validation
from text2sql.runs.session import RunSession
from text2sql.runs.summary import TrainingSummary
from text2sql.runs.trained_model import choose_checkpoint
from text2sql.training import checkpoint_recovery
from text2sql.training.checkpoints import KeptCheckpoints
from text2sql.training.divergence import training_diverged
from text2sql.training.early_stopping import validation_metric
from text2sql.training.initial_weights import create_client_from, find_initial_weights
from text2sql.training.metrics_log import MetricsLog, Track
from text2sql.training.steps import S, Steps
from text2sql.training.supervised import charged_tokens

# Answers validation questions with a sampling client after a step, and returns the accuracy.
MeasureAccuracy = Callable[[SamplingClient, int], float]
# Comparable from run to run, whatever loss is trained on.
VALIDATION_LOSS = "cross_entropy"
STOPPING_MESSAGE = (
    "Stopping after the steps that are being computed; their checkpoint is kept. Once more stops at once."
)
# Name of the sampler checkpoint of the weights that a training began with.
REFERENCE_NAME = "start"


class Trainer(Generic[S]):
    """The training of one run.

    Args:
        session: The run.
        steps: The steps of the training.
        validation_examples: The validation examples as tokens.
        measure_accuracy: Answers the validation questions; None to validate on the loss alone.
        track: Receives every record of metrics.
    """

    def __init__(
        self,
        session: RunSession,
        steps: Steps[S],
        validation_examples: list[Tokens],
        measure_accuracy: MeasureAccuracy | None,
        track: Track,
    ) -> None:
        self.session, self.steps = session, steps
        self.validation_examples, self.measure_accuracy = validation_examples, measure_accuracy
        self.training: TrainingConfig = session.config.training
        self.metrics = MetricsLog(session.run, self.training, track)
        self.checkpoints = KeptCheckpoints(session)
        # When the last step was collected, or the last validation or checkpoint was done.
        self._last_step_at = time.monotonic()

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
        self._report_missing_metrics(done)
        if self._is_finished(done):
            return self.chosen_checkpoint()
        client = self._open_client()
        # A damaged checkpoint may have taken the run further back.
        done = self.checkpoints.step
        self.metrics.forget_after(done)
        self.metrics.rewrite(done)
        self._last_step_at = time.monotonic()
        in_flight: deque[S] = deque()
        examples = self.steps.examples_before
        with (
            defer_interruptions(STOPPING_MESSAGE) as interruption,
            progress_bar("Training", examples(self.steps.total), examples(done)) as bar,
        ):
            try:
                self._loop(client, done, in_flight, bar, interruption)
            except BudgetReached:
                self._finish_and_save(client, in_flight, bar)
                raise
            except (KeyboardInterrupt, OSError) as error:
                if lost := (self.metrics.last_step or 0) - self.checkpoints.step:
                    error.add_note(f"{pluralize(lost, 'step')} after the last checkpoint will be done again.")
                raise
            finally:
                self.steps.close()
        return self.chosen_checkpoint()

    def _loop(
        self, client: TrainingClient, step: int, in_flight: deque[S], bar: ProgressBar, interruption: Interruption
    ) -> None:
        if self._validation_missing(step):
            self._run_validation(client, step)
        while step < self.steps.total and not self._stopped_early:
            if interruption.requested:
                self._finish_and_save(client, in_flight, bar)
                interruption.raise_if_requested()
            in_flight.append(self.steps.submit(client, step))
            step += 1
            validation_due, checkpoint_due = self._validation_due(step), self._checkpoint_due(step)
            # Validation and saving are of the weights after this step, which has to be done then.
            self._finish(in_flight, bar, leave=0 if validation_due or checkpoint_due else self.steps.ahead)
            improved = validation_due and self._run_validation(client, step)
            if improved or checkpoint_due or self._stopped_early:
                self._save(client, step)
        interruption.raise_if_requested()

    def _finish_and_save(self, client: TrainingClient, in_flight: deque[S], bar: ProgressBar) -> None:
        """Finish the steps in flight, and save what they came to."""
        self._finish(in_flight, bar)
        last = self.metrics.last_step
        if last and last != self.checkpoints.step:
            self._save(client, last)

    # Starting and going on

    def _report_missing_metrics(self, done: int) -> None:
        """Say how many of the steps that were done have no record any more."""
        if missing := self.metrics.missing_steps(done):
            console.print(
                f"{self.session.run.file(METRICS)} has no record of {missing} of the {done} steps that were done: "
                "losses and times in the report are of the others. The weights are not affected."
                + (" Early stopping counts from here." if self.training.early_stopping else "")
            )

    def _is_finished(self, step: int) -> bool:
        if self.checkpoints.last is None:
            return False
        # Without its metrics a run does not know any more that it stopped early; but then the tuned model was asked.
        may_stop_early = self.training.early_stopping or self.session.config.rl.method
        if may_stop_early and self.metrics.missing_steps(step) and self.session.run.has_tuned_answers():
            return True
        return (step == self.steps.total or self._stopped_early is not None) and not self._validation_missing(step)

    @property
    def _stopped_early(self) -> str | None:
        """Why training ends before its last step; None where it does not."""
        if self.metrics.stopped_early:
            return f"no better {validation_metric(self.training)} for some validations"
        return self.steps.reason_to_stop(self.metrics.steps)

    def _validation_missing(self, step: int) -> bool:
        """Whether the validation after the last step is missing, because the budget ended the run before it."""
        return step > 0 and self._validation_due(step) and not self.metrics.is_validated(step)

    def _open_client(self) -> TrainingClient:
        """A client with the state of the last checkpoint, with another run's weights, or with a new adapter."""
        config, service = self.session.config, self.session.service
        initial = None
        if last := self.checkpoints.last:
            _check_expiry(last)
            client = self.checkpoints.open_last(
                lambda row: service.create_training_client_from_state_with_optimizer(row.state_path).result()
            )
            console.print(f"Going on from step {self.checkpoints.step} of {self.steps.total}.")
        elif initial := find_initial_weights(config):
            client = create_client_from(initial, service, config, self.session.run)
        else:
            client = service.create_lora_training_client(
                base_model=config.trained_model,
                rank=config.lora.rank,
                seed=config.seed,
                train_mlp=config.lora.train_mlp,
                train_attn=config.lora.train_attn,
                train_unembed=config.lora.train_unembed,
            ).result()
        self._record_client(client, initial.record if initial else None)
        return client

    def _record_client(self, client: TrainingClient, initial: InitialWeightsRecord | None) -> None:
        """Record the client, and keep the weights that it begins with where these are the reference model."""
        run = self.session.run
        if initial is None or not self.steps.keeps_reference:
            checkpoint_recovery.record_client(run, client, initial)
            return
        # Recorded before they are saved: a process that is killed in between leaves no weights that no file names.
        path = str(CheckpointPath(client.get_info().model_id, "sampler", REFERENCE_NAME))
        checkpoint_recovery.record_client(run, client, initial.model_copy(update={"sampler_path": path}))
        client.save_weights_for_sampler(REFERENCE_NAME, ttl_seconds=self.session.config.checkpoint_ttl_seconds).result()

    # One step

    def _finish(self, in_flight: deque[S], bar: ProgressBar, leave: int = 0) -> None:
        """Wait for the steps in flight, all but `leave` of them, and record them."""
        while len(in_flight) > leave:
            metrics = self.steps.collect(in_flight.popleft(), since=self._last_step_at)
            self._last_step_at += metrics.seconds
            self.metrics.record(metrics)
            bar.advance(metrics.examples, metrics.tokens, **metrics.shown)

    # Validation and checkpoints. Neither is training time: the next step's seconds count from their end.

    def _validation_due(self, step: int) -> bool:
        every = self.training.validate_every
        return bool(self.validation_examples) and (step == self.steps.total or bool(every and step % every == 0))

    def _checkpoint_due(self, step: int) -> bool:
        return step == self.steps.total or step % self.training.checkpoint_every == 0

    def _run_validation(self, client: TrainingClient, step: int) -> bool:
        """Measure, record, and return whether this is the best validation so far."""
        loss, accuracy = self._validation_loss(client), None
        if not math.isfinite(loss):
            raise training_diverged(step, f"the validation loss is {loss}")
        if self.measure_accuracy is not None:
            with _saving_weights(step):
                sampler = client.save_weights_and_get_sampling_client().result()
            accuracy = self.measure_accuracy(sampler, step)
        row = Validation(step=step, validation_loss=loss, validation_accuracy=accuracy)
        self.metrics.record(row)
        console.print("  ".join(f"{key} {value:.4g}" for key, value in row.to_json().items()))
        self._last_step_at = time.monotonic()
        return self.metrics.best_step == step

    def _validation_loss(self, client: TrainingClient) -> float:
        """Mean loss per completion token over the validation examples."""
        data, size = make_batch(self.validation_examples), self.training.batch_size
        tokens = self.session.budget.reserve(charged_tokens(self.validation_examples))
        futures = [client.forward(data[i : i + size], VALIDATION_LOSS) for i in range(0, len(data), size)]
        loss = sum(future.result().metrics["loss:sum"] for future in futures)
        self.session.budget.spend("validation", tokens, tokens)
        return loss

    def _save(self, client: TrainingClient, step: int) -> None:
        self.steps.settle()
        with _saving_weights(step):
            self.checkpoints.save(client, step, self.metrics.best_step)
        self._last_step_at = time.monotonic()

    # Results

    def chosen_checkpoint(self) -> CheckpointRecord:
        """The checkpoint that evaluation uses."""
        return choose_checkpoint(self.checkpoints.rows, self.training)

    def summary(self) -> TrainingSummary:
        """The results of the training, from the recorded metrics."""
        steps, chosen = self.metrics.steps, self.chosen_checkpoint()
        seconds = sum(row.seconds for row in steps)
        tokens, examples = sum(row.tokens for row in steps), sum(row.examples for row in steps)
        done = steps[-1].step if steps else 0
        return TrainingSummary(
            steps=done,
            epochs=self.steps.epochs,
            examples=examples,
            tokens=tokens,
            seconds=seconds,
            examples_per_second=examples / max(seconds, 1e-9),
            tokens_per_second=tokens / max(seconds, 1e-9),
            first_loss=steps[0].loss if steps else None,
            final_loss=steps[-1].loss if steps else None,
            learning_rate=self.steps.peak,
            batch_size=self.steps.batch_size,
            start_from=self.session.run.recorded_initial_weights(),
            checkpoint_step=chosen.step,
            checkpoint_path=chosen.sampler_path,
            checkpoint_expires=chosen.expires,
            stopped_early=self._stopped_early if done < self.steps.total else None,
        )


@contextmanager
def _saving_weights(step: int) -> Iterator[None]:
    """Raise UserError where a backend refuses to save weights, because they are not finite or absurdly large."""
    try:
        yield
    except ValueError as error:
        raise training_diverged(step, f"the weights were not saved. {str(error).removesuffix('.')}") from error


def _check_expiry(checkpoint: CheckpointRecord) -> None:
    expires = checkpoint.expires
    if expires and datetime.fromisoformat(expires) < datetime.now(UTC):
        raise UserError(
            f"The checkpoint of step {checkpoint.step} expired on {expires}: the run cannot go on from it. Start anew "
            "with on_existing=new, and with a longer training.checkpoint_ttl_days."
        )
