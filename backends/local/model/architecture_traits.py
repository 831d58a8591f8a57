"""Traits of a model's architecture that decide how its rows may share a forward pass and a cache.

Attention can be confined to a row by a mask or by a kernel. A recurrent state (Mamba, gated delta nets, short
convolutions) takes in whatever precedes a row, be it another row or padding.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

ATTENTION_LAYERS = {"full_attention", "sliding_attention", "chunked_attention", "attention"}


def text_config(model: Any) -> Any:
    """The configuration of a model's language part, which most models consist of alone."""
    return model.config.get_text_config(decoder=True)


def attention_alone(model: Any) -> bool:
    """Whether only attention passes information from one position to another."""
    kinds = set(getattr(text_config(model), "layer_types", None) or ())
    stateful = bool(getattr(model, "_is_stateful", False)) or any(isinstance(m, nn.Conv1d) for m in model.modules())
    return not stateful and kinds <= ATTENTION_LAYERS


def attends_fully(model: Any) -> bool:
    """Whether all attention is over the whole row, without windows or chunks."""
    config = text_config(model)
    kinds = set(getattr(config, "layer_types", None) or ())
    return not getattr(config, "sliding_window", None) and kinds <= {"full_attention", "attention"}


def own_cache_in_every_layer(model: Any) -> bool:
    """Whether each layer has its own keys and values; some models have layers that use those of another."""
    return not getattr(text_config(model), "num_kv_shared_layers", 0)


def short_context(model: Any) -> int | None:
    """Tokens up to which a long-rope model (Phi-3, Phi-4-mini) uses its short factors; None for other models.

    A forward pass uses the factors of its longest row for all rows: shorter and longer rows may not share one
    (`transformers.modeling_rope_utils.dynamic_rope_update`).
    """
    config = text_config(model)
    parameters = getattr(config, "rope_parameters", None) or {}
    nested = [value for value in parameters.values() if isinstance(value, dict)] or [parameters]
    contexts = [rope["original_max_position_embeddings"] for rope in nested if rope.get("rope_type") == "longrope"]
    return min(contexts, default=None)


def cache_argument(forward: Any) -> str:
    """The name under which a forward pass takes the keys and values of earlier positions.

    Transformers renames it from `past_key_values` to `cache`, model by model.
    """
    return "cache" if "cache" in inspect.signature(forward).parameters else "past_key_values"
