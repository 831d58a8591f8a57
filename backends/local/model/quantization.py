"""A base model that bitsandbytes quantises as it is loaded: how to ask for it, and what to fix afterwards."""

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

# Of glibc's malloc.h, and its value in bytes.
M_MMAP_THRESHOLD, LARGE = -3, 2**20
# The flag of bitsandbytes' `Linear4bit`.
AVX512 = "support_avx512bf16_for_cpu"


def pick_quantization(wanted: str, device: torch.device) -> str:
    """How to store the base; ``auto`` is NF4 on a CUDA GPU and unquantised elsewhere."""
    if wanted != "auto":
        return wanted
    return "nf4" if device.type == "cuda" else "none"


def quantization_config(kind: str, double: bool, dtype: torch.dtype, device: torch.device) -> BitsAndBytesConfig:
    """What transformers is to do while loading.

    Args:
        kind: ``nf4`` or ``int8``.
        double: Quantise NF4's constants too.
        dtype: Of the matrix products.
        device: Where the model goes.

    Raises:
        BackendError: bitsandbytes is not installed, or has nothing for the device.
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
    """Load PEFT, without bitsandbytes where nothing is quantised: that brings PyTorch's compiler, two seconds of it.

    PEFT takes it wherever it is installed. A process may load a quantised model after another; PEFT is then told.
    """
    left_out = not quantised and "bitsandbytes" not in sys.modules
    if left_out:
        # An import fails as if there were no such package.
        sys.modules["bitsandbytes"] = None  # type: ignore[assignment]
    try:
        from peft import helpers, import_utils

        for known in (import_utils.is_bnb_available, import_utils.is_bnb_4bit_available):
            known.cache_clear()
            # What it answers is kept.
            known()
    finally:
        if left_out:
            del sys.modules["bitsandbytes"]
    if not left_out:
        helpers.bnb = sys.modules.get("bitsandbytes")  # type: ignore[assignment]


def settle_on_cpu(model: nn.Module) -> None:
    """Keep a quantised model on a CPU as it was loaded, and in memory that it does not share.

    - Where the processor multiplies bfloat16, bitsandbytes' `Linear4bit` packs its weights anew at the first pass
      without a gradient: rounded, and for a kernel that has no backward pass. Training would go on with other numbers
      and without most of its gradient, so the layers' flag for such a processor is cleared.
    - What is not quantised is as loaded a view of the file, which stays mapped as a whole while any of it is used.
    - Between the activations that a pass saves, each weight is dequantised and released again, which leaves holes all
      over glibc's heap: large blocks are mapped one by one, and so given back at once.
    """
    for module in model.modules():
        if hasattr(module, AVX512):
            setattr(module, AVX512, False)
    # A tied one comes once.
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.clone()
    # Another C library has no such call.
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)


@contextmanager
def remember_quantisation(part: nn.Module) -> Iterator[None]:
    """While the parameters of a module are exchanged for others of the same bits: keep what NF4 weights say of theirs.

    bitsandbytes finds the constants again in the layer; PEFT looks at the weight itself.
    """
    said = {
        module: {name: getattr(module.weight, name) for name in ("compress_statistics", "quant_type")}
        for module in part.modules()
        if hasattr(getattr(module, "weight", None), "quant_type")
    }
    yield
    for module, facts in said.items():
        for name, value in facts.items():
            setattr(module.weight, name, value)
