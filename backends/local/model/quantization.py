"""Base models that bitsandbytes quantises while they are loaded: configuration, and fixes afterwards."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import torch
from torch import nn

from backends.extras import missing_package
from backends.interface import BackendError

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig

# The parameter of mallopt in glibc's malloc.h.
M_MMAP_THRESHOLD = -3
# Allocations from this size on, in bytes, are mapped one by one.
MMAP_BYTES = 2**20
# A flag of bitsandbytes' `Linear4bit`.
AVX512_FLAG = "support_avx512bf16_for_cpu"


def pick_quantization(wanted: str, device: torch.device) -> str:
    """How to store the base; ``auto`` is NF4 on a CUDA GPU and unquantised elsewhere."""
    if wanted != "auto":
        return wanted
    return "nf4" if device.type == "cuda" else "none"


def quantization_config(kind: str, double: bool, dtype: torch.dtype, device: torch.device) -> BitsAndBytesConfig:
    """The configuration for loading with transformers.

    Args:
        kind: ``nf4`` or ``int8``.
        double: Quantise NF4's constants too.
        dtype: Dtype of the matrix products.
        device: The device of the model.

    Raises:
        BackendError: bitsandbytes is not installed, or does not support the device.
    """
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise BackendError(
            missing_package(
                f"local.quantization: {kind}", "bitsandbytes", "quantization", "set local.quantization=none"
            )
        ) from error
    if device.type == "mps":
        raise BackendError("local.quantization: bitsandbytes has no MPS kernels; set local.quantization=none.")
    from transformers import BitsAndBytesConfig

    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=dtype,
    )


def load_peft(*, quantised: bool) -> None:
    """Import PEFT, without bitsandbytes where nothing is quantised: that imports PyTorch's compiler, two seconds of it.

    PEFT imports bitsandbytes wherever it is installed. If a process loads a quantised model later, PEFT is updated.
    """
    left_out = not quantised and "bitsandbytes" not in sys.modules
    if left_out:
        # An import then fails as if there were no such package.
        sys.modules["bitsandbytes"] = None  # type: ignore[assignment]
    try:
        from peft import helpers, import_utils

        for is_available in (import_utils.is_bnb_available, import_utils.is_bnb_4bit_available):
            is_available.cache_clear()
            # Its result is cached.
            is_available()
    finally:
        if left_out:
            del sys.modules["bitsandbytes"]
    if not left_out:
        helpers.bnb = sys.modules.get("bitsandbytes")  # type: ignore[assignment]


def settle_on_cpu(model: nn.Module) -> None:
    """Keep a quantised model on a CPU as it was loaded, and use less memory.

    - Where the processor multiplies bfloat16, bitsandbytes' `Linear4bit` repacks its weights at the first pass without
      gradients: rounded, and for a kernel without a backward pass. Training would continue with other numbers and
      without most of its gradient, so the layers' flag for such processors is cleared.
    - Weights that are not quantised are views of the file, which stays mapped as a whole while any of it is used.
    - Between the activations that a pass saves, each weight is dequantised and released again, which fragments glibc's
      heap: large blocks are therefore mapped one by one, and returned at once.
    """
    for module in model.modules():
        if hasattr(module, AVX512_FLAG):
            setattr(module, AVX512_FLAG, False)
    # A tied parameter occurs once.
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.clone()
    # Other C libraries have no such function.
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MMAP_BYTES)


@contextmanager
def remember_quantisation(part: nn.Module) -> Iterator[None]:
    """Keep the attributes of NF4 weights while the parameters of a module are replaced by others of the same bits.

    bitsandbytes finds the constants in the layer; PEFT looks at the weight itself.
    """
    attributes = {
        module: {name: getattr(module.weight, name) for name in ("compress_statistics", "quant_type")}
        for module in part.modules()
        if hasattr(getattr(module, "weight", None), "quant_type")
    }
    yield
    for module, values in attributes.items():
        for name, value in values.items():
            setattr(module.weight, name, value)
