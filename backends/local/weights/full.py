"""Full fine-tuning: every weight of one model is trained, instead of an adapter.

The weights are float32 whatever the dtype of the matrix products. Tied weights stay tied, so that what is saved is an
ordinary Hugging Face model. Every client has a model to itself; nothing is shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from backends.facts import TrainingFacts
from backends.interface import BackendError
from backends.local.model.load import LoadedModel
from backends.local.weights.protocol import Method, Pretrained, Snapshot, Spec

if TYPE_CHECKING:
    from pydantic import JsonValue
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class FullSpec:
    """What defines a fully trained model besides its weights: the seed of the noise in training."""

    method: ClassVar[Method] = "full"
    rank: ClassVar[None] = None
    dropout: ClassVar[float] = 0.0

    seed: int

    def as_dict(self) -> dict[str, JsonValue]:
        """The fields as plain JSON."""
        return asdict(self)


def describe_full(base: LoadedModel) -> TrainingFacts:
    """What full fine-tuning trains: all weights, a tied one counted once."""
    count = sum(parameter.numel() for parameter in base.model.parameters())
    return TrainingFacts(adapted_modules=[], trained_parameters=count, trained_percent=100.0)


class FullWeights:
    """All weights of a model that belongs to one training client."""

    def __init__(self, base: LoadedModel) -> None:
        self.base = base
        base.model.requires_grad_(True)
        # The snapshot that was sampled last, and its weights on the device.
        self._sampled: tuple[Snapshot, dict[str, Tensor]] | None = None

    def add(self, name: str, spec: Spec, state: dict[str, Tensor] | None = None) -> None:
        """Start with the weights of `state`, or with those that were loaded."""
        if state is not None:
            self.load(name, state)

    def remove(self, name: str) -> None:
        """Do nothing: there are no weights outside of the model."""

    def targets(self, spec: Spec) -> list[str]:
        """No names: all modules are trained."""
        return []

    def describe(self, spec: Spec) -> TrainingFacts:
        """What is trained: all weights."""
        return describe_full(self.base)

    def parameters(self, name: str) -> dict[str, Tensor]:
        """The parameters by name, as in the model's state dict; a tied one once."""
        return dict(self.base.model.named_parameters())

    def state(self, name: str) -> dict[str, Tensor]:
        """A copy of the weights, on the CPU."""
        return {key: p.detach().to("cpu", copy=True) for key, p in self.parameters(name).items()}

    def load(self, name: str, state: dict[str, Tensor]) -> None:
        """Set the weights (BackendError if `state` is that of another model)."""
        parameters = self.parameters(name)
        if {k: p.shape for k, p in parameters.items()} != {k: t.shape for k, t in state.items()}:
            raise BackendError(
                f'The saved weights do not fit the model "{self.base.name}" ({len(state)} saved tensors, '
                f"{len(parameters)} expected, or other shapes)."
            )
        for key, parameter in parameters.items():
            parameter.data.copy_(state[key])

    def pretrained(self) -> tuple[Pretrained, ...]:
        """The model's configuration and the tokenizer, which make the weights a Hugging Face model."""
        return (self.base.model.config, self.base.tokenizer)

    @contextmanager
    def active(self, name: str | None) -> Iterator[PreTrainedModel]:
        """The model."""
        yield self.base.model

    def start_dropout(self) -> None:
        """Do nothing: dropout is in front of adapters only."""

    @contextmanager
    def sampling(self, snapshot: Snapshot | None) -> Iterator[PreTrainedModel]:
        """The model with a snapshot's weights, which are exchanged for the trained ones meanwhile; None: as it is.

        The snapshot's weights stay on the device until another snapshot is sampled.
        """
        if snapshot is None:
            yield self.base.model
            return
        if self._sampled is None or self._sampled[0] is not snapshot:
            # Release the previous ones first: memory may not hold three models.
            self._sampled = None
            self._sampled = (snapshot, {key: tensor.to(self.base.device) for key, tensor in snapshot.state.items()})
        parameters = self.parameters("")
        trained = {key: parameter.data for key, parameter in parameters.items()}
        try:
            for key, parameter in parameters.items():
                parameter.data = self._sampled[1][key]
            yield self.base.model
        finally:
            for key, parameter in parameters.items():
                parameter.data = trained[key]

    def keep_prepacked(self, max_copies: int, has_room: Callable[[], bool]) -> None:
        """Do nothing: the weights of a whole model are not prepacked."""
