"""The state of a training client on the device: weights, optimiser, accumulated gradient, step count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from tinker import types
from torch import Tensor

from backends.local.checkpoints.files import Checkpoint
from backends.local.model.causal import CausalModel
from backends.local.resumable import Resumable, ResumableJob
from backends.local.step.forward_backward import StepOutput, StepRequest, add_gradients, run_rows
from backends.local.step.micro_batches import TokenRow
from backends.local.step.noise import Noise
from backends.local.step.optim import Optimizer, check_params
from backends.local.weights.finite_weights import MAX_MAGNITUDE, all_finite
from backends.local.weights.protocol import Snapshot, Spec
from backends.losses import Loss

if TYPE_CHECKING:
    from backends.local.engine import Engine


@dataclass(frozen=True)
class DetachedState:
    """The tensors of a training client off the device.

    Attributes:
        weights: The trained weights by name, on the CPU.
        optimizer: The optimiser's tensors by name, on the CPU.
        gradients: The accumulated gradient, one tensor per parameter, on the CPU; None if there is none.
    """

    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    gradients: list[Tensor] | None


class TrainingState:
    """The trained weights of one client with their optimiser. Only the executor's thread calls this.

    Args:
        engine: The base model, in memory.
        name: The client's id.
        spec: What is trained.
        checkpoint: Weights and optimiser to start with; None: new weights.

    Raises:
        BackendError: The model has nothing to train that the spec selects, or the checkpoint does not fit.
    """

    def __init__(self, engine: Engine, name: str, spec: Spec, checkpoint: Checkpoint | None) -> None:
        self._engine, self._name, self.spec = engine, name, spec
        engine.weights.add(name, spec, checkpoint.weights if checkpoint else None)
        self._parameters = engine.weights.parameters(name)
        self._reset(checkpoint)

    def _reset(self, checkpoint: Checkpoint | None) -> None:
        """Start with no gradient and the checkpoint's optimiser, or a new one."""
        self._gradients: list[Tensor] | None = None
        self._optimizer = Optimizer(self._parameters, self._engine.options)
        # Optimiser steps.
        self._step = 0
        # Calls of forward_backward since the last optimiser step; with it, they seed the noise.
        self._calls = 0
        # The optimiser step after which the weights were not finite any more.
        self._diverged_at: int | None = None
        if checkpoint and checkpoint.optimizer is not None:
            self._optimizer.load_state(checkpoint.optimizer)
            self._step = checkpoint.step

    def load(self, checkpoint: Checkpoint) -> None:
        """Take over saved weights, and the optimiser if the checkpoint has it (BackendError if they do not fit)."""
        self._engine.weights.load(self._name, checkpoint.weights)
        self._reset(checkpoint)

    def score(
        self, rows: Sequence[TokenRow], loss: Loss, settings: Mapping[str, float], *, backward: bool
    ) -> ResumableJob[StepOutput]:
        """A job that computes loss, log-probabilities and, for `backward`, gradients; `accumulate` keeps these."""
        engine, noise = self._engine, self._noise() if backward else None
        request = StepRequest(loss, settings, backward, noise)

        def start(model: CausalModel) -> Resumable[StepOutput]:
            return run_rows(engine, model, lambda: list(self._parameters.values()), rows, request)

        dropout = noise.dropout if noise else 0.0
        return ResumableJob(
            engine.executor, partial(engine.training, self._name, backward=backward, dropout=dropout), start
        )

    def _noise(self) -> Noise | None:
        alpha, dropout = self._engine.options.neftune_alpha, self.spec.dropout
        if alpha is None and not dropout:
            return None
        return Noise((self.spec.seed, self._step, self._calls), alpha, dropout)

    def accumulate(self, gradients: list[Tensor] | None) -> None:
        """Add the gradients of one call, one tensor per parameter; None from a process that had no rows."""
        parts = gradients or [torch.zeros_like(p) for p in self._parameters.values()]
        self._gradients = add_gradients(self._gradients, parts)
        self._calls += 1

    def optim_step(self, params: types.AdamParams) -> float:
        """One AdamW step with the gradient accumulated in all processes, which is cleared.

        Returns:
            The global L2 norm of the gradient before clipping.

        Raises:
            ValueError: A hyperparameter is out of range, and the gradient is kept; or there is none; or it is not
                finite, and is dropped.
        """
        check_params(params)
        accumulated, self._gradients = self._gradients, None
        if accumulated is None:
            raise ValueError("optim_step needs a forward_backward since the last step; no gradient has accumulated.")
        norm = self._optimizer.step(self._engine.group.reduce_sum(accumulated), params)
        self._step, self._calls = self._step + 1, 0
        if self._diverged_at is None and not all_finite(self._optimizer.parameters):
            self._diverged_at = self._step
        return norm

    def discard_gradients(self) -> None:
        """Drop the accumulated gradient, as if nothing had been computed since the last step."""
        self._gradients, self._calls = None, 0

    def _check_finite(self) -> None:
        if self._diverged_at is not None:
            raise ValueError(
                f"The weights of {self._name} are not finite since optimiser step {self._diverged_at}, or beyond "
                f"{MAX_MAGNITUDE:g}, so they are neither saved nor sampled from. Go back to a checkpoint from before "
                "that step, with a smaller learning rate."
            )

    def snapshot(self) -> Snapshot:
        """A copy of the current weights, to be sampled from.

        Raises:
            ValueError: They are not finite, or far too large; the message says since which step.
        """
        self._check_finite()
        return Snapshot(self.spec, self._engine.weights.state(self._name))

    def checkpoint(self, *, optimizer: bool) -> Checkpoint:
        """A copy of the current weights, with the optimiser if requested, to be saved.

        Raises:
            ValueError: They are not finite, or far too large; the message says since which step.
        """
        self._check_finite()
        return Checkpoint(
            base_model=self._engine.base.name,
            spec=self.spec,
            weights=self._engine.weights.state(self._name),
            optimizer=self._optimizer.state() if optimizer else None,
            target_modules=self._engine.weights.targets(self.spec),
            step=self._step,
            pretrained=self._engine.weights.pretrained(),
        )

    def detach(self) -> DetachedState:
        """Move all tensors off the device; only `attach` may be called next."""
        state = DetachedState(
            weights=self._engine.weights.state(self._name),
            optimizer=self._optimizer.state(),
            gradients=None if self._gradients is None else [gradient.cpu() for gradient in self._gradients],
        )
        self._engine.weights.remove(self._name)
        self._parameters, self._gradients = {}, None
        del self._optimizer
        return state

    def attach(self, state: DetachedState) -> None:
        """Restore what `detach` moved off the device, bit for bit."""
        self._engine.weights.add(self._name, self.spec, state.weights)
        self._parameters = self._engine.weights.parameters(self._name)
        self._optimizer = Optimizer(self._parameters, self._engine.options)
        if state.optimizer:
            self._optimizer.load_state({name: torch.clone(value) for name, value in state.optimizer.items()})
        if state.gradients is not None:
            self._gradients = [gradient.to(self._engine.base.device) for gradient in state.gradients]
