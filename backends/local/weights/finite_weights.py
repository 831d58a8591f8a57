"""When trained weights are a model's no more: one bound for what is trained, saved and sampled from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Trained weights are below 1e3. A hundred times the largest number of float16 says that a step was far too long.
LARGEST = 6.5e6


def all_finite(tensors: Sequence[Tensor]) -> bool:
    """Whether every number is finite and within `LARGEST`; of floating-point tensors on one device."""
    present = [tensor.detach() for tensor in tensors if tensor.numel()]
    if not present:
        return True
    # The maximum of numbers with NaN among them is NaN, which is below nothing.
    return bool(torch.stack(torch._foreach_norm(present, float("inf"))).max() <= LARGEST)
