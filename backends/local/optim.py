"""AdamW with the hyperparameters of each step, as `tinker.types.AdamParams` gives them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tinker import types
from torch import Tensor

from backends.interface import NonFiniteGradient


class Optimizer:
    """`torch.optim.AdamW` over one adapter, told its hyperparameters at every step (decoupled weight decay)."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        self._adamw = torch.optim.AdamW(self.parameters, fused=self.parameters[0].device.type in ("cpu", "cuda"))

    def step(self, gradients: Sequence[Tensor], params: types.AdamParams) -> float:
        """Apply one step.

        Args:
            gradients: One per parameter, of its shape.
            params: Hyperparameters; `grad_clip_norm` > 0 scales the gradient down to that global norm.

        Returns:
            The global L2 norm of the gradient before clipping.

        Raises:
            ValueError: A hyperparameter is out of range.
            NonFiniteGradient: The gradient is not finite; the step is not applied.
        """
        _check(params)
        norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients])))
        if not norm < float("inf"):
            raise NonFiniteGradient(f"the norm of the gradient is {norm}; the optimiser step was not applied")
        scale = params.grad_clip_norm / norm if 0 < params.grad_clip_norm < norm else 1.0
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient * scale if scale != 1.0 else gradient
        self._adamw.param_groups[0].update(
            lr=params.learning_rate,
            betas=(params.beta1, params.beta2),
            eps=params.eps,
            weight_decay=params.weight_decay,
        )
        self._adamw.step()
        for parameter in self.parameters:
            parameter.grad = None
        return norm

    def state(self) -> dict[str, Tensor]:
        """The moments and step counts, as flat tensors named ``{index}.{field}``; empty before the first step."""
        states = self._adamw.state_dict()["state"]
        return {f"{i}.{field}": torch.as_tensor(value) for i, s in states.items() for field, value in s.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned."""
        nested: dict[int, dict[str, Tensor]] = {}
        for name, value in state.items():
            index, _, field = name.partition(".")
            nested.setdefault(int(index), {})[field] = value
        self._adamw.load_state_dict({"state": nested, "param_groups": self._adamw.state_dict()["param_groups"]})


def _check(params: types.AdamParams) -> None:
    if not params.learning_rate >= 0:
        raise ValueError(f"learning_rate is {params.learning_rate}; it must be 0 or more.")
    for name in ("beta1", "beta2"):
        if not 0 <= getattr(params, name) < 1:
            raise ValueError(f"{name} is {getattr(params, name)}; it must be in [0, 1).")
    if not params.eps > 0:  # B starts at zero, so A's first gradient is zero: 0 / 0 without eps
        raise ValueError(f"eps is {params.eps}; it must be more than 0.")
    if not params.weight_decay >= 0 or not params.grad_clip_norm >= 0:
        raise ValueError("weight_decay and grad_clip_norm must be 0 or more.")
