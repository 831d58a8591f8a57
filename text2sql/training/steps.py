"""The steps of a training loop, and the update of the weights in which each of them ends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from tinker import types

from backends.interface import BackendError, Future, NonFiniteGradient, TrainingClient
from text2sql.config import TrainingConfig
from text2sql.runs.records import StepMetrics
from text2sql.training.divergence import training_diverged
from text2sql.training.lr_schedule import learning_rate

if TYPE_CHECKING:
    from backends.interface import CustomLoss

# Names of examples in a message.
MAX_SHOWN_NAMES = 5

# A step that was submitted.
S = TypeVar("S")


class Steps(Protocol[S]):
    """The steps of a training: what each learns from, gold answers or verdicts on the model's own, and how.

    Attributes:
        total: Steps of the whole run.
        peak: Peak learning rate.
        batch_size: Examples of a full step.
        epochs: Passes over the training examples.
        ahead: Number of steps that may be in flight while the next one is built.
        keeps_reference: Whether the run keeps the weights that it begins with, as a reference model to sample from.
    """

    total: int
    peak: float
    batch_size: int
    epochs: int
    ahead: int
    keeps_reference: bool

    def examples_before(self, step: int) -> int:
        """How many examples the steps before this one take."""
        ...

    def submit(self, client: TrainingClient, step: int) -> S:
        """Send a step, counted from 0; its update is not waited for."""
        ...

    def collect(self, submitted: S, since: float) -> StepMetrics:
        """Wait for a step, and measure it.

        Args:
            submitted: The step.
            since: Time on the monotonic clock at which the step before it was collected; its seconds count from there.
        """
        ...

    def settle(self) -> None:
        """Wait for background work for later steps, so that a run can go on from here as if it had not ended."""
        ...

    def close(self) -> None:
        """Begin no more background work: the training is at its end, or has failed."""
        ...

    def reason_to_stop(self, done: Sequence[StepMetrics]) -> str | None:
        """Why there is nothing more to learn after these steps; None where there is."""
        ...


@dataclass(frozen=True)
class UpdateResult:
    """What an update came to.

    Attributes:
        loss: Summed over its data.
        grad_norm: Norm of the gradient before clipping; None where the backend does not say.
        outputs: The loss outputs of every datum.
    """

    loss: float
    grad_norm: float | None
    outputs: list[dict[str, types.TensorData]]


@dataclass(frozen=True)
class Update:
    """An update of the weights that the backend has been given and that nobody has waited for yet.

    Attributes:
        step: Counted from 0.
        names: Names of the examples that it learns from, for messages.
        learning_rate: Learning rate of the optimiser step.
        outputs: Results to come of its `forward_backward` calls.
        applied: Result to come of its `optim_step`.
    """

    step: int
    names: Sequence[str]
    learning_rate: float
    outputs: list[Future[types.ForwardBackwardOutput]]
    applied: Future[types.OptimStepResponse]

    def wait(self) -> UpdateResult:
        """Wait for the update.

        Raises:
            UserError: The loss or the gradient is not finite.
            BackendError: The backend's answer cannot be used.
        """
        try:
            outputs = [future.result() for future in self.outputs]
            loss = sum(output.metrics["loss:sum"] for output in outputs)
            if not math.isfinite(loss):
                raise NonFiniteGradient(f"the loss is {loss}")
            grad_norm = (self.applied.result().metrics or {}).get("grad_norm:mean")
            if grad_norm is not None and not math.isfinite(grad_norm):
                raise NonFiniteGradient(f"the norm of the gradient is {grad_norm}")
        except NonFiniteGradient as error:
            raise training_diverged(self.step + 1, f"{error}. Its batch: {self._shown_names()}") from error
        except ValueError as error:
            # An answer that the SDK cannot use is a ValueError too.
            raise BackendError(f"Step {self.step + 1} failed: {error}. The checkpoints before it are kept.") from error
        return UpdateResult(loss, grad_norm, [datum for output in outputs for datum in output.loss_fn_outputs])

    def _shown_names(self) -> str:
        names = ", ".join(self.names[:MAX_SHOWN_NAMES])
        more = len(self.names) - MAX_SHOWN_NAMES
        return f"{names} and {more} more" if more > 0 else names


@dataclass(frozen=True)
class Updater:
    """Sends updates: the loss, and AdamW at the rate of the schedule.

    Attributes:
        training: Schedule, Adam's settings, and in how many calls a batch is sent.
        total: Steps of the whole run.
        peak: Peak learning rate.
        loss: Name of a loss of `forward_backward`; or a function, for `forward_backward_custom`.
        loss_config: Settings of the named loss.
        unit_size: Number of consecutive data that the loss takes together, and that are sent in one call.
    """

    training: TrainingConfig
    total: int
    peak: float
    loss: str | CustomLoss
    loss_config: Mapping[str, float]
    unit_size: int = 1

    def send(self, client: TrainingClient, data: list[types.Datum], step: int, names: Sequence[str]) -> Update:
        """Send an update; nothing is waited for."""
        training = self.training
        # A call holds whole units.
        size = math.ceil(len(data) / training.parts / self.unit_size) * self.unit_size
        outputs = [self._compute(client, data[i : i + size]) for i in range(0, len(data), size)]
        rate = learning_rate(step, self.total, self.peak, training)
        applied = client.optim_step(
            types.AdamParams(
                learning_rate=rate,
                beta1=training.beta1,
                beta2=training.beta2,
                eps=training.eps,
                weight_decay=training.weight_decay,
                grad_clip_norm=training.grad_clip_norm,
            )
        )
        return Update(step, names, rate, outputs, applied)

    def _compute(self, client: TrainingClient, data: list[types.Datum]) -> Future[types.ForwardBackwardOutput]:
        if isinstance(self.loss, str):
            return client.forward_backward(data, self.loss, dict(self.loss_config) or None)
        return client.forward_backward_custom(data, self.loss)
