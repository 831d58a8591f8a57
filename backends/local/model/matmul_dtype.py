"""Which arithmetic is fastest on this processor: measured when it is first asked for, since rules of thumb are wrong.

One Xeon multiplies bfloat16 at half the rate of float32, an EPYC at twice it, and both have the same instructions. The
measurement takes some 50 ms and is kept by processor, threads and PyTorch's version.
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

# Rows of a training step's products, and a small model's widths.
ROWS, WIDTHS = 512, (576, 1536)
# Seconds and rounds of the measurement, at least.
SECONDS, ROUNDS = 0.05, 8
# How much faster bfloat16 must be to be worth its rounding.
CLEARLY = 1.3
# Of a quiet machine the best times agree to this.
AGREED = 1.15


@dataclass(frozen=True, slots=True)
class Rates:
    """Matrix products in FLOP/s.

    Attributes:
        float32: As in training.
        bfloat16: The same, rounding of the input included.
    """

    float32: float
    bfloat16: float


def pick_matmul(options: LocalOptions, device: torch.device, dtype: torch.dtype, quantization: str) -> str:
    """What `local.matmul` comes to here: ``float32`` or ``bfloat16``; elsewhere than on a CPU `dtype` says it.

    Raises:
        BackendError: bfloat16 products are asked for where they are not offered.
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
    found = rates()
    if options.matmul == "bfloat16":
        if found.bfloat16 < found.float32:
            _log.warning(
                "local.matmul=bfloat16: this processor multiplies bfloat16 at %.0f %% of the rate of float32. "
                "The results are the same as elsewhere; local.matmul=float32 or auto is faster here.",
                100 * found.bfloat16 / found.float32,
            )
        return "bfloat16"
    return "bfloat16" if found.bfloat16 > CLEARLY * found.float32 else "float32"


@cache
def rates() -> Rates:
    """The rates of this processor, measured unless the cache has them; kept only of a machine that was quiet."""
    file = cache_directory("arithmetic") / f"{_name()}.json"
    with suppress(OSError, ValueError, TypeError):
        return Rates(**json.loads(file.read_text()))
    found, quiet = _measure()
    if quiet:
        with suppress(OSError), written_aside(file) as aside:
            aside.write_text(json.dumps(asdict(found)))
    return found


def _measure() -> tuple[Rates, bool]:
    """The rates, and whether other work has left them undisturbed: it only ever makes a product slower."""
    width, out = WIDTHS
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(rows, width, generator=generator) for rows in (ROWS, out))
    narrow = weight.to(torch.bfloat16)
    products: tuple[Callable[[], Tensor], ...] = (
        lambda: torch.mm(x, weight.t()),
        lambda: torch.mm(x.to(torch.bfloat16), narrow.t()).float(),
    )
    times: tuple[list[float], ...] = ([], [])
    until = time.perf_counter() + SECONDS
    # In turns, so that what disturbs one disturbs the other; the first round warms up.
    while len(times[0]) <= ROUNDS or time.perf_counter() < until:
        for multiply, taken in zip(products, times, strict=True):
            start = time.perf_counter()
            multiply()
            taken.append(time.perf_counter() - start)
    best = [sorted(taken[1:]) for taken in times]
    flops = 2.0 * ROWS * width * out
    return Rates(*(flops / taken[0] for taken in best)), all(taken[2] < AGREED * taken[0] for taken in best)


def processor() -> str:
    """The processor's name, as the system says it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _name() -> str:
    words = f"{processor()} {torch.__version__} {torch.get_num_threads()} {torch.backends.cpu.get_cpu_capability()}"
    return "-".join("".join(letter if letter.isalnum() or letter == "." else " " for letter in words).split())
