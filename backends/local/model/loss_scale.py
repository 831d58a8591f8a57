"""The multiple of the loss that float16 gradients are computed of, so that small ones do not vanish."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FIRST = 2.0**16
# Passes without an overflow after which the scale is doubled.
GROWTH_INTERVAL = 2_000


class LossScale:
    """A power of two, so that scaling rounds nothing: halved where a gradient overflows, doubled after a quiet while.

    The rule and its numbers are those of `torch.amp.GradScaler`, which keeps them for an optimiser's step; here a pass
    that overflowed is computed again and no step is lost.

    Args:
        dtype: Of the matrix products; any but float16 needs no scale, and has none.

    Attributes:
        value: What the loss is to be multiplied by.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self._needed = dtype == torch.float16
        self.value = FIRST if self._needed else 1.0
        self._quiet = 0

    def undo(self, gradients: Sequence[Tensor]) -> bool:
        """Divide gradients by the scale, in place; False, with a smaller scale to try again, if one overflowed.

        At a scale of 1 it is not the scale that makes them overflow, and they are passed on as they are.
        """
        if not self._needed:
            return True
        if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
            self._quiet = 0
            if self.value <= 1:
                return True
            self.value /= 2
            return False
        torch._foreach_div_(list(gradients), self.value)
        self._quiet += 1
        if self._quiet == GROWTH_INTERVAL:
            self.value, self._quiet = self.value * 2, 0
        return True
