"""How fast this processor multiplies matrices of each dtype: measured once, since rules of thumb are wrong.

One Xeon multiplies bfloat16 at half the rate of float32, an EPYC at twice it, and both have the same instructions. The
measurement takes some 50 ms and is cached by processor, threads and PyTorch's version.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from backends.options import LocalOptions
from backends.paths import cache_directory, written_aside

if TYPE_CHECKING:
    from torch import Tensor

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

    @property
    def prefers_bfloat16(self) -> bool:
        """Whether bfloat16 is worth its rounding."""
        return self.bfloat16 > MIN_SPEEDUP * self.float32


def bfloat16_obstacle(options: LocalOptions, *, device: str, dtype: str, quantization: str) -> str | None:
    """Why products with frozen weights in bfloat16 are not offered (`local.matmul`); None if they are.

    Args:
        options: Options of the local backend.
        device: Type of the device, as PyTorch names it.
        dtype: What the model computes in.
        quantization: How its weights are stored.
    """
    if device != "cpu" or dtype != "float32":
        return f"it is for float32 on a CPU, and here is {dtype} on {device}"
    if quantization != "none" or options.method != "lora":
        return "it is for frozen weights that are not quantised"
    if options.dora or options.compile or options.fsdp:
        return "it does not go with dora, compile and fsdp"
    return None


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
    import torch

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
    import torch

    words = f"{processor()} {torch.__version__} {torch.get_num_threads()} {torch.backends.cpu.get_cpu_capability()}"
    return "-".join("".join(letter if letter.isalnum() or letter == "." else " " for letter in words).split())
