"""What the local backend asks of a causal language model, be it transformers' own, compiled, or in step with others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn
    from transformers import PretrainedConfig


class CausalOutput(Protocol):
    """What a forward pass returns."""

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
        """A forward pass of what the model's own `forward` takes."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Its weights, adapters included."""
        ...

    def get_input_embeddings(self) -> nn.Module:
        """The layer that embeds token ids."""
        ...
