"""What the training loop is made of: steps, and the update of the weights in which each of them ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from tinker import types

from backends.interface import BackendError, Future, NonFiniteGradient, TrainingClient
from text2sql.config import TrainingConfig
from text2sql.errors import UserError
from text2sql.runs.records import StepMetrics
from text2sql.training.lr_schedule import learning_rate

if TYPE_CHECKING:
    from backends.interface import CustomLoss

S = TypeVar("S")


class Steps(Protocol[S]):
    """What each step learns from, and how: gold answers, or verdicts on the model's own.

    Attributes:
        total: Steps of the whole run.
        peak: Peak learning rate.
        batch_size: Examples of a full step.
        epochs: Passes over the training examples.
        ahead: Steps that may be in flight while the next one is built.
        keeps_start: Whether the run keeps the weights that it begins with, to sample from.
    """

    total: int
    peak: float
    batch_size: int
    epochs: int
    ahead: int
    keeps_start: bool

    def examples_before(self, step: int) -> int:
        """How many examples the steps before this one take."""
        ...

    def submit(self, client: TrainingClient, step: int) -> S:
        """Send a step, counted from 0; its update is not waited for."""
        ...

    def collect(self, submitted: S, lap: Callable[[], float]) -> StepMetrics:
        """Wait for a step, and count its tokens.

        Args:
            submitted: The step.
            lap: Seconds since the step before; to be called when this one is done.
        """
        ...

    def settle(self) -> None:
        """Wait for what has been begun for later steps, so that a run can go on from here as if it had not ended."""
        ...

    def close(self) -> None:
        """Begin nothing more: the training is at its end, or has failed."""
        ...

    def reason_to_stop(self, done: Sequence[StepMetrics]) -> str | None:
        """Why there is nothing more to learn after these steps; None where there is."""
        ...


@dataclass(frozen=True)
class Update:
    """An update of the weights that the backend has been given and that nobody has waited for yet.

    Attributes:
        step: Counted from 0.
        names: What it learns from, for messages.
        learning_rate: Of the optimiser step.
        outputs: Results of its `forward_backward` calls.
        applied: Result of its `optim_step`.
    """

    step: int
    names: Sequence[str]
    learning_rate: float
    outputs: list[Future[types.ForwardBackwardOutput]]
    applied: Future[types.OptimStepResponse]

    def wait(self) -> tuple[float, float | None, list[dict[str, types.TensorData]]]:
        """Wait for it.

        Returns:
            The loss, the norm of the gradient where the backend says it, and the loss outputs of every datum.

        Raises:
            UserError: The loss or the gradient is not finite.
            BackendError: The backend's answer cannot be used.
        """
        try:
            outputs = [future.result() for future in self.outputs]
            loss = sum(output.metrics["loss:sum"] for output in outputs)
            if not math.isfinite(loss):
                raise NonFiniteGradient(f"the loss is {loss}")
            norm = (self.applied.result().metrics or {}).get("grad_norm:mean")
            if norm is not None and not math.isfinite(norm):
                raise NonFiniteGradient(f"the norm of the gradient is {norm}")
        except NonFiniteGradient as error:
            raise UserError(self._diverged(error)) from error
        except ValueError as error:
            # An answer that the SDK cannot use is a ValueError too.
            raise BackendError(f"Step {self.step + 1} failed: {error}. The checkpoints before it are kept.") from error
        return loss, norm, [datum for output in outputs for datum in output.loss_fn_outputs]

    def _diverged(self, error: Exception) -> str:
        names = ", ".join(self.names[:5])
        more = f" and {len(self.names) - 5} more" if len(self.names) > 5 else ""
        return (
            f"Training diverged at step {self.step + 1}: {error}. Its batch: {names}{more}. The checkpoints "
            "before it are kept. Lower training.learning_rate, or set training.grad_clip_norm=1, and say "
            "on_existing=new: what was learnt depends on them."
        )


@dataclass(frozen=True)
class Updater:
    """Sends updates: the loss, and AdamW at the rate of the schedule.

    Attributes:
        training: Schedule, Adam's settings, and in how many calls a batch is sent.
        total: Steps of the whole run.
        peak: Peak learning rate.
        loss: Of `forward_backward`; or a function, for `forward_backward_custom`.
        loss_config: Its settings, of the former.
        together: N data in a row belong to one another, and are sent in one call.
    """

    training: TrainingConfig
    total: int
    peak: float
    loss: str | CustomLoss
    loss_config: Mapping[str, float]
    together: int = 1

    def send(self, client: TrainingClient, data: list[types.Datum], step: int, names: Sequence[str]) -> Update:
        """Send an update; nothing is waited for."""
        training = self.training
        size = math.ceil(len(data) / training.parts / self.together) * self.together
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
