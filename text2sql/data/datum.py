"""Tokens as `tinker.Datum`, with the one normalisation of the loss that this project uses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tinker import types

from text2sql.data.prompts import Tokens


def make_batch(batch: Sequence[Tokens]) -> list[types.Datum]:
    """A batch whose summed loss is the mean loss per completion token.

    Backends sum ``-weight * logprob`` and average nothing, so the weights do: 0 on the prompt, 1/N on every completion
    token, where N counts the completion tokens of the whole batch. However a batch is cut into calls or micro-batches,
    its parts then add up to the same loss and the same gradient. Weights come from positions, never from token ids.

    Args:
        batch: Examples of one optimiser step.

    Returns:
        Data with input ids ``[T]``, targets shifted by one ``[T]`` and weights ``[T]``, T being prompt and completion
        less one.
    """
    scored = sum(len(tokens.completion) for tokens in batch)
    return [_datum(tokens, 1.0 / scored) for tokens in batch]


def _datum(tokens: Tokens, weight: float) -> types.Datum:
    ids = np.concatenate([tokens.prompt, tokens.completion]).astype(np.int64)
    weights = np.zeros(len(ids) - 1, dtype=np.float32)
    # Position i predicts token i + 1.
    weights[len(tokens.prompt) - 1 :] = weight
    return types.Datum(
        model_input=types.ModelInput.from_ints(ids[:-1].tolist()),
        loss_fn_inputs={
            "target_tokens": types.TensorData.from_numpy(ids[1:]),
            "weights": types.TensorData.from_numpy(weights),
        },
    )
