"""The devices that a run may be estimated for, this machine's among them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

import numpy as np

from backends.planning.estimate import CPU_OVERHEAD, DEVICES, Device
from text2sql.config import Config

# What a training step on a CPU reaches of a large matrix product's rate, as scripts/check_estimate.py measures it.
SUSTAINED = 0.7


def find_device(name: str) -> Device:
    """The device of a name of `DEVICES`, or this machine's: its processor for ``cpu``, a GPU before it for ``here``.

    The rates of a processor are measured, in a fraction of a second.
    """
    if name in DEVICES:
        return DEVICES[name]
    if name == "here" and (gpu := _gpu_here()) is not None:
        return gpu
    return _processor(*_measured_rates())


def device_of(config: Config) -> Device:
    """The device on this machine that a run of the local backend will use, without the rates of a processor."""
    gpu = _gpu_here() if config.local.device in ("auto", "cuda") else None
    return gpu or _processor(math.nan, math.nan)


def _processor(flops: float, bandwidth: float) -> Device:
    return Device(
        "cpu", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), flops, bandwidth, "float32", CPU_OVERHEAD
    )


def _gpu_here() -> Device | None:
    """The CUDA GPU of this machine, at the rates of the named one that it is most like in memory."""
    import torch

    if not torch.cuda.is_available():
        return None
    memory = torch.cuda.get_device_properties(0).total_memory
    like = min(DEVICES.values(), key=lambda device: abs(device.memory - memory))
    name = torch.cuda.get_device_name(0)
    dtype = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    return Device(f"{name} (at a {like.name}'s rates)", memory, like.flops, like.bandwidth, dtype, like.overhead)


def _measured_rates() -> tuple[float, float]:
    """FLOP/s that training sustains and bytes/s of this CPU, in a fraction of a second."""
    a = np.random.default_rng(0).standard_normal((1024, 1024), dtype=np.float32)
    product = min(_timed(lambda: a @ a) for _ in range(4))
    large = np.ones(2**24)
    read = min(_timed(large.sum) for _ in range(4))
    return SUSTAINED * 2 * 1024**3 / product, large.nbytes / read


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def unsupported_settings(config: Config, device: Device) -> list[str]:
    """What a device cannot compute as the configuration asks for it, or only slowly; with the way on."""
    # The GPUs before Ampere are those that have float16 alone.
    if not (device.is_gpu and device.dtype == "float16"):
        return []
    problems = []
    if config.local.dtype == "bfloat16":
        problems.append(
            f"local.dtype=bfloat16: a {device.name} has no bfloat16. PyTorch emulates it, many times slower, and some "
            "kernels refuse it. Set local.dtype=auto, which is float16 there."
        )
    if config.local.attention == "flash_attention_2":
        problems.append(
            f"local.attention=flash_attention_2: its kernels do not run on a {device.name}. Set local.attention=auto."
        )
    return problems
