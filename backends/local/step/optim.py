"""AdamW with the hyperparameters of each step, as `tinker.types.AdamParams` gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import ModuleType

import torch
from tinker import types
from torch import Tensor

from backends.extras import missing_package
from backends.interface import BackendError, NonFiniteGradient
from backends.options import LocalOptions


class Optimizer:
    """AdamW over one client's parameters, given its hyperparameters at every step (decoupled weight decay).

    Args:
        parameters: The parameters by name; with LoRA+ the matrices B, and DoRA's magnitudes, have a higher learning
            rate.
        options: `optimizer` and `lora_plus_ratio` are used.
    """

    def __init__(self, parameters: Mapping[str, Tensor], options: LocalOptions) -> None:
        self.parameters = list(parameters.values())
        ratio = options.lora_plus_ratio
        # Factor of the learning rate of each group.
        self._ratios = [1.0] if ratio is None else [1.0, ratio]
        fast = [name for name, p in parameters.items() if ratio is not None and ("lora_B" in name or p.ndim == 1)]
        groups: list[dict[str, list[Tensor]]] = [{"params": [p for name, p in parameters.items() if name not in fast]}]
        if ratio is not None:
            groups.append({"params": [parameters[name] for name in fast]})
        self._eight_bit = options.optimizer == "paged_adamw_8bit"
        if self._eight_bit:
            self._adamw: torch.optim.Optimizer = _bitsandbytes().optim.PagedAdamW8bit(groups)
        else:
            self._adamw = torch.optim.AdamW(groups, fused=self.parameters[0].device.type in ("cpu", "cuda"))

    def step(self, gradients: Sequence[Tensor], params: types.AdamParams) -> float:
        """Apply one step.

        Args:
            gradients: One per parameter, of its shape.
            params: Checked hyperparameters; `grad_clip_norm` > 0 scales the gradient down to that global norm.

        Returns:
            The global L2 norm of the gradient before clipping.

        Raises:
            NonFiniteGradient: The gradient is not finite; the step is not applied.
        """
        norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients])))
        if not norm < float("inf"):
            raise NonFiniteGradient(f"the norm of the gradient is {norm}; the optimiser step was not applied")
        scale = params.grad_clip_norm / norm if 0 < params.grad_clip_norm < norm else 1.0
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient * scale if scale != 1.0 else gradient
        for group, ratio in zip(self._adamw.param_groups, self._ratios, strict=True):
            group.update(
                lr=params.learning_rate * ratio,
                betas=(params.beta1, params.beta2),
                eps=params.eps,
                weight_decay=params.weight_decay,
            )
        self._adamw.step()
        for parameter in self.parameters:
            parameter.grad = None
        return norm

    def state(self) -> dict[str, Tensor]:
        """A copy of moments and steps, on the CPU, by ``{index of the parameter}.{field}``; empty before any step."""
        flat = {}
        for index, parameter in enumerate(self.parameters):
            for field, value in self._adamw.state.get(parameter, {}).items():
                # A copy, since bitsandbytes shares some tensors between parameters.
                flat[f"{index}.{field}"] = torch.as_tensor(value).to("cpu", copy=True)
        return flat

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Restore what `state` returned.

        Raises:
            BackendError: It was written by the other kind of optimiser.
        """
        fields = {name.partition(".")[2] for name in state}
        if state and ("exp_avg" in fields) == self._eight_bit:
            raise BackendError("The checkpoint was written with another local.optimizer; set it as it was.")
        grouped = [id(p) for group in self._adamw.param_groups for p in group["params"]]
        nested: dict[int, dict[str, Tensor | int]] = {}
        for name, value in state.items():
            index, _, field = name.partition(".")
            # Bitsandbytes counts steps with a Python number.
            is_number = self._eight_bit and field == "step"
            # PyTorch numbers parameters group by group.
            group_index = grouped.index(id(self.parameters[int(index)]))
            nested.setdefault(group_index, {})[field] = int(value) if is_number else value
        self._adamw.load_state_dict({"state": nested, "param_groups": self._adamw.state_dict()["param_groups"]})


def check_optimizer(config: types.OptimizerConfig | None) -> None:
    """Refuse the configuration of an optimiser that is not available here; None is the default, AdamW.

    Raises:
        ValueError: It is not `tinker.types.AdamOptimizerConfig`.
    """
    if config is not None and not isinstance(config, types.AdamOptimizerConfig):
        raise ValueError(f'optimizer is "{config.type}"; only AdamW is available here.')


def _bitsandbytes() -> ModuleType:
    try:
        import bitsandbytes
    except ImportError as error:
        raise BackendError(
            missing_package(
                "local.optimizer: paged_adamw_8bit", "bitsandbytes", "quantization", "set local.optimizer=adamw"
            )
        ) from error
    return bitsandbytes


def check_params(params: types.AdamParams) -> None:
    """Refuse hyperparameters that are out of range.

    Raises:
        ValueError: One is; the message names it.
    """
    for name in ("learning_rate", "weight_decay", "grad_clip_norm"):
        if not 0 <= getattr(params, name) < math.inf:
            raise ValueError(f"{name} is {getattr(params, name)}; it must be a finite number, 0 or more.")
    for name in ("beta1", "beta2"):
        if not 0 <= getattr(params, name) < 1:
            raise ValueError(f"{name} is {getattr(params, name)}; it must be in [0, 1).")
    # B starts at zero, so A's first gradient is zero: 0 / 0 without eps.
    if not 0 < params.eps < math.inf:
        raise ValueError(f"eps is {params.eps}; it must be a finite number above 0.")
