"""The shape of a model from its configuration, without loading weights.

``model_shapes.json`` has the shapes of common models, so that gated or remote models can be estimated without the Hub.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from backends.interface import BackendError


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes that memory and time depend on.

    Attributes:
        family: ``model_type``.
        width: Hidden size.
        inner: Size inside the MLP.
        layers: Number of layers.
        queries: Attention heads times their size.
        keys: Key/value heads times their size.
        vocabulary: Rows of the embedding.
        tied: Whether the output layer is the embedding.
        context: Longest sequence.
    """

    family: str
    width: int
    inner: int
    layers: int
    queries: int
    keys: int
    vocabulary: int
    tied: bool
    context: int

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer's matrices."""
        return 2 * self.width * (self.queries + self.keys) + 3 * self.width * self.inner

    @property
    def head_parameters(self) -> int:
        """Parameters of the output layer; the embedding has as many."""
        return self.width * self.vocabulary

    @property
    def parameters(self) -> int:
        """All parameters, norms included; without the biases and head norms of some families (under a thousandth)."""
        embeddings = self.head_parameters * (1 if self.tied else 2)
        return self.layers * (self.layer_parameters + 2 * self.width) + embeddings + self.width

    def lora_parameters(self, rank: int, *, attn: bool, mlp: bool, unembed: bool) -> int:
        """Parameters of an adapter of Tinker's target modules: ``rank * (in + out)`` for each."""
        per_layer = attn * (2 * (self.width + self.queries) + 2 * (self.width + self.keys))
        per_layer += mlp * 3 * (self.width + self.inner)
        return rank * (self.layers * per_layer + unembed * (self.width + self.vocabulary))


def model_shape(base_model: str) -> ModelShape:
    """The shape of a model in a directory, of a known one, or of one on the Hub.

    Args:
        base_model: Hub id, directory, or packaged name.

    Raises:
        BackendError: The configuration is not available (a gated model without a token, no network), or lacks sizes
            of a Llama.
    """
    values = _config_values(base_model)
    heads = values.get("num_attention_heads")
    try:
        size = values.get("head_dim") or values["hidden_size"] // values["num_attention_heads"]
        return ModelShape(
            family=values["model_type"],
            width=values["hidden_size"],
            inner=values["intermediate_size"],
            layers=values["num_hidden_layers"],
            queries=values["num_attention_heads"] * size,
            keys=(values.get("num_key_value_heads") or heads) * size,
            vocabulary=values["vocab_size"],
            tied=bool(values.get("tie_word_embeddings", False)),
            context=values.get("max_position_embeddings") or 2048,
        )
    except KeyError as error:
        raise BackendError(f'base_model: the configuration of "{base_model}" has no {error}; it is no Llama.') from None


@cache
def known_shapes() -> Mapping[str, Mapping[str, Any]]:
    """The configurations in ``model_shapes.json``, by model."""
    models: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("model_shapes.json").read_text())["models"]
    return models


def _config_values(base_model: str) -> Mapping[str, Any]:
    file = Path(base_model) / "config.json"
    if file.is_file():
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return values
    if base_model in known_shapes():
        return known_shapes()[base_model]
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(base_model)
    except (OSError, ValueError) as error:
        raise BackendError(
            f'base_model: the configuration of "{base_model}" cannot be read ({str(error).splitlines()[0]}). Give the '
            "directory of a downloaded model, or one of: " + ", ".join(known_shapes()) + "."
        ) from error
    return dict(config.get_text_config().to_dict())
