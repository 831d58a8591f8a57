"""The dtype in which matrix products are fastest on this processor: measured once, since rules of thumb are wrong.

One Xeon multiplies bfloat16 at half the rate of float32, an EPYC at twice it, and both have the same instructions. The
measurement takes some 50 ms and is cached by processor, threads and PyTorch's version.
"""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from backends.interface import BackendError
from backends.options import LocalOptions
from backends.paths import cache_directory, written_aside

_log = logging.getLogger(__name__)

# Rows of the measured products, as in a training step.
ROWS = 512
# Input and output features of the measured products, those of a small model's MLP.
IN_FEATURES = 576
OUT_FEATURES = 1536
# Least duration of the measurement.
MIN_SECONDS = 0.05
# Least number of rounds after the first, which warms up.
MIN_ROUNDS = 8
# How many times as fast bfloat16 must be to be worth its rounding.
MIN_SPEEDUP = 1.3
# On a quiet machine, the best and the third best time differ by at most this factor.
MAX_SPREAD = 1.15


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of matrix products, in FLOP/s.

    Attributes:
        float32: Of float32 products.
        bfloat16: Of bfloat16 products, rounding of the input included.
    """

    float32: float
    bfloat16: float


def pick_matmul(options: LocalOptions, device: torch.device, dtype: torch.dtype, quantization: str) -> str:
    """The dtype of products with frozen weights by `local.matmul`; on a GPU it is that of the model.

    Raises:
        BackendError: bfloat16 products are requested where they are not offered.
    """
    obstacle = None
    if device.type != "cpu" or dtype != torch.float32:
        obstacle = f"it is for float32 on a CPU, and here is {str(dtype).removeprefix('torch.')} on {device.type}"
    elif quantization != "none" or options.method != "lora":
        obstacle = "it is for frozen weights that are not quantised"
    elif options.dora or options.compile or options.fsdp:
        obstacle = "it does not go with dora, compile and fsdp"
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
    return "bfloat16" if measured.bfloat16 > MIN_SPEEDUP * measured.float32 else "float32"


@cache
def rates() -> Rates:
    """The rates of this processor, from the cache or measured; cached only if the machine was quiet."""
    file = cache_directory("arithmetic") / f"{_cache_key()}.json"
    with suppress(OSError, ValueError, TypeError):
        return Rates(**json.loads(file.read_text()))
    measured, is_quiet = _measure()
    if is_quiet:
        with suppress(OSError), written_aside(file) as aside:
            aside.write_text(json.dumps(asdict(measured)))
    return measured


def _measure() -> tuple[Rates, bool]:
    """The rates, and whether the machine was quiet; other processes can only make a product slower."""
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(rows, IN_FEATURES, generator=generator) for rows in (ROWS, OUT_FEATURES))
    narrow = weight.to(torch.bfloat16)
    products: tuple[Callable[[], Tensor], ...] = (
        lambda: torch.mm(x, weight.t()),
        lambda: torch.mm(x.to(torch.bfloat16), narrow.t()).float(),
    )
    times: tuple[list[float], ...] = ([], [])
    until = time.perf_counter() + MIN_SECONDS
    # Alternating, so that other load affects both.
    while len(times[0]) <= MIN_ROUNDS or time.perf_counter() < until:
        for multiply, seconds in zip(products, times, strict=True):
            start = time.perf_counter()
            multiply()
            seconds.append(time.perf_counter() - start)
    fastest = [sorted(seconds[1:]) for seconds in times]
    flops = 2.0 * ROWS * IN_FEATURES * OUT_FEATURES
    is_quiet = all(seconds[2] < MAX_SPREAD * seconds[0] for seconds in fastest)
    return Rates(*(flops / seconds[0] for seconds in fastest)), is_quiet


def processor() -> str:
    """The processor's name, as the operating system gives it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cache_key() -> str:
    words = f"{processor()} {torch.__version__} {torch.get_num_threads()} {torch.backends.cpu.get_cpu_capability()}"
    return "-".join("".join(letter if letter.isalnum() or letter == "." else " " for letter in words).split())
