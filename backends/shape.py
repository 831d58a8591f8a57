"""A model's family and width, from its configuration alone; no weights are loaded."""

from __future__ import annotations

from typing import NamedTuple

from backends.interface import BackendError


class Shape(NamedTuple):
    """``model_type`` and hidden size of a Hugging Face configuration."""

    family: str
    width: int


def model_shape(base_model: str) -> Shape:
    """Look a model's shape up.

    Args:
        base_model: Hub id, directory, or packaged name.

    Raises:
        BackendError: The configuration cannot be had (a gated model without a token, no network).
    """
    from transformers import AutoConfig

    from backends.local.pretrained import locate

    try:
        config = AutoConfig.from_pretrained(locate(base_model))
    except (OSError, ValueError) as error:
        raise BackendError(
            f'The configuration of "{base_model}" cannot be read, which training.learning_rate=auto needs '
            f"({str(error).splitlines()[0]}). Set training.learning_rate to a number."
        ) from error
    return Shape(config.model_type, config.get_text_config().hidden_size)


def tokenizer_location(base_model: str) -> str:
    """Hub id or directory of a model's tokenizer (BackendError if a packaged model is not installed)."""
    from backends.local.pretrained import locate

    return locate(base_model)
