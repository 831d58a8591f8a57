"""Loss scaling: float16 gradients are computed of a multiple of the loss, so that small ones do not underflow."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

INITIAL_SCALE = 2.0**16
# Passes without an overflow after which the scale is doubled.
GROWTH_INTERVAL = 2_000


class LossScale:
    """A power of two, so that scaling is exact: halved when a gradient overflows, doubled after many that do not.

    The rule and its numbers are those of `torch.amp.GradScaler`, which skips the optimiser step after an overflow; here
    the pass is computed again and no step is lost.

    Args:
        dtype: Dtype of the matrix products; only float16 needs a scale.

    Attributes:
        value: The factor of the loss.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self._needed = dtype == torch.float16
        self.value = INITIAL_SCALE if self._needed else 1.0
        self._passes_without_overflow = 0

    def undo(self, gradients: Sequence[Tensor]) -> bool:
        """Divide gradients by the scale, in place; False, with a smaller scale for the next try, if one overflowed.

        At a scale of 1 the overflow is not due to the scale, and the gradients are left as they are.
        """
        if not self._needed:
            return True
        if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
            self._passes_without_overflow = 0
            if self.value <= 1:
                return True
            self.value /= 2
            return False
        torch._foreach_div_(list(gradients), self.value)
        self._passes_without_overflow += 1
        if self._passes_without_overflow == GROWTH_INTERVAL:
            self.value, self._passes_without_overflow = self.value * 2, 0
        return True
