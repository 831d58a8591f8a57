"""Full fine-tuning: every weight of one model, with the methods that `Adapters` has for many adapters.

The weights are float32 whatever the dtype of the matrix products. Tied weights stay tied, so that what is saved is an
ordinary Hugging Face model. A client has a model of its own; nothing is shared.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from backends.interface import BackendError
from backends.local.model.load import BaseModel


@dataclass(frozen=True, slots=True)
class FullSpec:
    """What defines a fully trained model apart from its weights: the seed of the noise in its training."""

    seed: int

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain JSON."""
        return asdict(self)


class FullWeights:
    """All weights of a model that belongs to one training client."""

    def __init__(self, base: BaseModel) -> None:
        self.base = base
        base.model.requires_grad_(True)
        self._swapped: tuple[dict[str, Tensor], dict[str, Tensor]] | None = None

    def add(self, name: str, spec: FullSpec, state: dict[str, Tensor] | None = None) -> None:
        """Begin with the weights of `state`, or with those that were loaded."""
        if state is not None:
            self.load(name, state)

    def remove(self, name: str) -> None:
        """Nothing is kept beside the model itself."""

    def targets(self, spec: FullSpec) -> list[str]:
        """No modules are singled out."""
        return []

    def parameters(self, name: str) -> dict[str, Tensor]:
        """The parameters by name, as in the model's state; a tied one once."""
        return dict(self.base.model.named_parameters())

    def state(self, name: str) -> dict[str, Tensor]:
        """A copy of the weights, on the CPU."""
        return {key: p.detach().to("cpu", copy=True) for key, p in self.parameters(name).items()}

    def load(self, name: str, state: dict[str, Tensor]) -> None:
        """Set the weights (BackendError if `state` is of another model)."""
        parameters = self.parameters(name)
        if {k: p.shape for k, p in parameters.items()} != {k: t.shape for k, t in state.items()}:
            raise BackendError(
                f'The saved weights do not fit the model "{self.base.name}" ({len(state)} saved tensors, '
                f"{len(parameters)} expected, or other shapes)."
            )
        for key, parameter in parameters.items():
            parameter.data.copy_(state[key])

    @contextmanager
    def active(self, name: str | None) -> Iterator[Any]:
        """The model."""
        yield self.base.model

    @contextmanager
    def swapped(self, state: dict[str, Tensor]) -> Iterator[Any]:
        """The model with other weights, and its own back afterwards; they stay on the device for the next time."""
        if self._swapped is None or self._swapped[0] is not state:
            self._swapped = None  # let go of the last ones first
            self._swapped = (state, {key: tensor.to(self.base.device) for key, tensor in state.items()})
        parameters = self.parameters("")
        own = {key: parameter.data for key, parameter in parameters.items()}
        try:
            for key, parameter in parameters.items():
                parameter.data = self._swapped[1][key]
            yield self.base.model
        finally:
            for key, parameter in parameters.items():
                parameter.data = own[key]
