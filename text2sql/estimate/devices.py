"""The devices that a run can be estimated for, those of this machine among them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable

import numpy as np

from backends.planning.estimate import CPU_OVERHEAD, DEVICES, Device
from backends.planning.matmul_rates import rates
from text2sql.config import Config

# Rate of a training step on a CPU as a share of that of a large matrix product, measured by scripts/check_estimate.py.
SUSTAINED = 0.7


def find_device(name: str) -> Device:
    """The device with a name of `DEVICES`, or of this machine: the CPU for ``cpu``, a GPU if there is one for ``here``.

    The rates of a CPU are measured, in a fraction of a second.
    """
    if name in DEVICES:
        return DEVICES[name]
    if name == "here" and (gpu := _local_gpu()) is not None:
        return gpu
    return _cpu(*_measured_rates())


def device_of(config: Config) -> Device:
    """The device of this machine that a run on the local backend uses, without the rates of a CPU."""
    gpu = _local_gpu() if config.local.device in ("auto", "cuda") else None
    return gpu or _cpu(math.nan, math.nan)


def _cpu(flops: float, bandwidth: float) -> Device:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Device("cpu", memory, flops, bandwidth, "float32", CPU_OVERHEAD, rates())


def _local_gpu() -> Device | None:
    """The CUDA GPU of this machine, with the rates of the device in `DEVICES` that is closest in memory."""
    import torch

    if not torch.cuda.is_available():
        return None
    memory = torch.cuda.get_device_properties(0).total_memory
    closest = min(DEVICES.values(), key=lambda device: abs(device.memory - memory))
    name = torch.cuda.get_device_name(0)
    dtype = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    return Device(
        f"{name} (at a {closest.name}'s rates)", memory, closest.flops, closest.bandwidth, dtype, closest.overhead
    )


def _measured_rates() -> tuple[float, float]:
    """Measure the FLOP/s that training sustains on this CPU, and its memory bandwidth in bytes/s."""
    a = np.random.default_rng(0).standard_normal((1024, 1024), dtype=np.float32)
    product = min(_time(lambda: a @ a) for _ in range(4))
    large = np.ones(2**24)
    read = min(_time(large.sum) for _ in range(4))
    return SUSTAINED * 2 * 1024**3 / product, large.nbytes / read


def _time(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def unsupported_settings(config: Config, device: Device) -> list[str]:
    """Sentences on settings that a device cannot compute, or only slowly, each with what to set instead."""
    # GPUs before Ampere have float16, but no bfloat16.
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
