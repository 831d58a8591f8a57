"""The interface of trained weights to the engine: an adapter's or the whole model's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from pydantic import JsonValue
    from transformers import PreTrainedModel

    from backends.facts import TrainingFacts

Method = Literal["lora", "full"]


class Spec(Protocol):
    """What defines a training client's weights besides their values; saved with every checkpoint."""

    @property
    def method(self) -> Method:
        """What is trained."""
        ...

    @property
    def seed(self) -> int:
        """Seed of the initial values and of the noise in training."""
        ...

    @property
    def rank(self) -> int | None:
        """The adapter's rank; None where there is no adapter."""
        ...

    @property
    def dropout(self) -> float:
        """Dropout in front of the adapter while training."""
        ...

    def as_dict(self) -> dict[str, JsonValue]:
        """The fields as plain JSON."""
        ...


class Pretrained(Protocol):
    """A part of a model that transformers reads from files."""

    def save_pretrained(self, directory: Path, /) -> object:
        """Write the files."""
        ...


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Trained weights at one point of training; snapshots compare by identity.

    Attributes:
        spec: What defines the weights besides their values.
        state: The weights by name, on the CPU.
    """

    spec: Spec
    state: dict[str, Tensor]


class Weights(Protocol):
    """The trained weights of the clients of one base model. Only the executor's thread calls these."""

    def add(self, name: str, spec: Spec, state: dict[str, Tensor] | None = None) -> None:
        """Create a client's weights, with the values of `state` if given.

        Raises:
            BackendError: The model has nothing to train that the spec selects, or `state` does not fit.
        """
        ...

    def remove(self, name: str) -> None:
        """Remove a client's weights, if they are there: those of an offloaded client have been removed."""
        ...

    def targets(self, spec: Spec) -> list[str]:
        """Names of the modules that are trained; empty if all are."""
        ...

    def describe(self, spec: Spec) -> TrainingFacts:
        """What is trained, for the record of a run.

        Raises:
            BackendError: The model has nothing to train that the spec selects.
        """
        ...

    def parameters(self, name: str) -> dict[str, Tensor]:
        """The trained parameters by the names under which they are saved; a tied one once."""
        ...

    def state(self, name: str) -> dict[str, Tensor]:
        """A copy of the values, on the CPU."""
        ...

    def load(self, name: str, state: dict[str, Tensor]) -> None:
        """Set the values (BackendError if `state` is of another model)."""
        ...

    def pretrained(self) -> tuple[Pretrained, ...]:
        """Configuration and tokenizer to save with the weights, so that other programs can load them."""
        ...

    def active(self, name: str | None) -> AbstractContextManager[PreTrainedModel]:
        """The model with a client's weights, to be trained; None: the bare base model."""
        ...

    def start_dropout(self) -> None:
        """Switch dropout on; `model.eval()` ends it."""
        ...

    def sampling(self, snapshot: Snapshot | None) -> AbstractContextManager[PreTrainedModel]:
        """The model with the weights of a snapshot, to be sampled from; None: the bare base model."""
        ...

    def keep_prepacked(self, max_copies: int, has_room: Callable[[], bool]) -> None:
        """Keep prepacked weights for later while the model is used for something else.

        Args:
            max_copies: How many, each as large as the base model.
            has_room: Whether memory is free.
        """
        ...
