"""The token ids of a `ModelInput`."""

from __future__ import annotations

from tinker import types


def text_tokens(model_input: types.ModelInput) -> list[int]:
    """The ids of an input's chunks, one after the other.

    Raises:
        ValueError: A chunk is no text; the message continues a sentence that begins with what has the input.
    """
    if not isinstance(model_input, types.ModelInput):
        raise ValueError(f"has an input of type {type(model_input).__name__}; it must be a tinker.ModelInput")
    for chunk in model_input.chunks:
        if not isinstance(chunk, types.EncodedTextChunk):
            raise ValueError(f"has a chunk of type {chunk.type}; the models here read text tokens alone")
    return model_input.to_ints()
