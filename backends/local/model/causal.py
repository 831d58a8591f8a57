"""The interface of a causal language model here: transformers' own, compiled, or in lockstep with other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn
    from transformers import PretrainedConfig


class CausalOutput(Protocol):
    """The result of a forward pass."""

    @property
    def logits(self) -> Tensor:
        """``[B, T, V]``; ``[N, V]`` where `logits_to_keep` names N positions."""
        ...


class CausalModel(Protocol):
    """A causal language model as it is called."""

    @property
    def config(self) -> PretrainedConfig:
        """Its configuration."""
        ...

    def __call__(self, **inputs: Any) -> CausalOutput:
        """A forward pass; it takes what the model's own `forward` takes."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Its weights, adapters included."""
        ...

    def get_input_embeddings(self) -> nn.Module:
        """The layer that embeds token ids."""
        ...
