"""Random training data for backend tests."""

from __future__ import annotations

import numpy as np
from tinker import types


def random_datums(count: int, vocabulary: int, seed: int = 0, longest: int = 40) -> list[types.Datum]:
    """Datums of different lengths: a random prompt of weight 0, a random completion of positive weights."""
    rng = np.random.default_rng(seed)
    data = []
    for _ in range(count):
        length = int(rng.integers(6, longest))
        ids = rng.integers(0, vocabulary, size=length + 1)
        weights = rng.uniform(0.2, 1.0, size=length).astype(np.float32)
        weights[: int(rng.integers(1, length - 2))] = 0
        data.append(cross_entropy_datum(ids, weights))
    return data


def cross_entropy_datum(ids: np.ndarray, weights: np.ndarray) -> types.Datum:
    """A datum from a token sequence ``[T + 1]`` and the weights of its last T tokens."""
    return types.Datum(
        model_input=types.ModelInput.from_ints([int(i) for i in ids[:-1]]),
        loss_fn_inputs={
            "target_tokens": types.TensorData.from_numpy(np.asarray(ids[1:], dtype=np.int64)),
            "weights": types.TensorData.from_numpy(np.asarray(weights, dtype=np.float32)),
        },
    )


def texts(first: int, count: int, length: int) -> list[types.Datum]:
    """Datums of one length whose texts begin with a token, by which they can be told apart."""
    rng = np.random.default_rng(first)
    ids = [np.r_[first, rng.integers(0, 600, length)] for _ in range(count)]
    return [cross_entropy_datum(row, np.ones(length, dtype=np.float32)) for row in ids]
