"""Detects diverged weights: one bound for what is trained, saved and sampled from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Trained weights are below 1e3; a hundred times the largest number of float16 means that training has diverged.
MAX_MAGNITUDE = 6.5e6


def all_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether every number of floating-point tensors on one device is finite and at most `MAX_MAGNITUDE`."""
    nonempty = [tensor.detach() for tensor in tensors if tensor.numel()]
    if not nonempty:
        return True
    # With a NaN among the numbers, their maximum is NaN, which compares as False.
    return bool(torch.stack(torch._foreach_norm(nonempty, float("inf"))).max() <= MAX_MAGNITUDE)
