"""The dtype of products with frozen weights, by `local.matmul` and what this processor is fast at."""

from __future__ import annotations

import logging

import torch

from backends.interface import BackendError
from backends.options import LocalOptions
from backends.planning.matmul_rates import bfloat16_obstacle, rates

_log = logging.getLogger(__name__)


def pick_matmul(options: LocalOptions, device: torch.device, dtype: torch.dtype, quantization: str) -> str:
    """The dtype of products with frozen weights by `local.matmul`; on a GPU it is that of the model.

    Raises:
        BackendError: bfloat16 products are requested where they are not offered.
    """
    name = str(dtype).removeprefix("torch.")
    obstacle = bfloat16_obstacle(options, device=device.type, dtype=name, quantization=quantization)
    if obstacle and options.matmul == "bfloat16":
        raise BackendError(f"local.matmul: bfloat16 is not offered here: {obstacle}. Set local.matmul=float32.")
    if options.matmul == "float32" or obstacle:
        return "float32"
    measured = rates()
    if options.matmul == "bfloat16":
        if measured.bfloat16 < measured.float32:
            _log.warning(
                "local.matmul=bfloat16: this processor multiplies bfloat16 at %.0f %% of the rate of float32. "
                "The results are the same as elsewhere; local.matmul=float32 or auto is faster here.",
                100 * measured.bfloat16 / measured.float32,
            )
        return "bfloat16"
    return "bfloat16" if measured.prefers_bfloat16 else "float32"
