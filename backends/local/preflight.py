"""Checks in milliseconds, without PyTorch, whether this machine supports the options of the local backend.

What only PyTorch knows (number and capabilities of GPUs) is checked when the model is loaded.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import runpy
import sys
from pathlib import Path

from backends.base_models import check_available
from backends.extras import missing_package
from backends.interface import BackendError
from backends.options import BackendOptions, LocalOptions

DEVICE = re.compile(r"auto|(cpu|cuda|mps)(:\d+)?")
# Name of the driver's library.
CUDA_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def check_local(options: BackendOptions | None, base_model: str | None) -> None:
    """Check that device, packages and base model are available; for a model on the Hub, the Hub is asked.

    Args:
        options: `LocalOptions`, or None for its defaults.
        base_model: Hub id, directory or packaged name; None if no model is needed.

    Raises:
        BackendError: One of them is not available; the message says what to do.
    """
    local = LocalOptions.read(options)
    _check_device(local.device)
    _check_packages(local)
    if base_model is not None:
        check_available(base_model)
    if local.sampler:
        from backends.local.vllm_client import VllmClient

        VllmClient(local.sampler).base_model()


def _check_device(wanted: str) -> None:
    """Raise BackendError for an unknown device, and for one that this machine or this PyTorch does not have."""
    if not DEVICE.fullmatch(wanted):
        raise BackendError(no_device(wanted))
    if wanted.startswith("mps") and sys.platform != "darwin":
        raise BackendError('local.device: "mps" is not available here; set local.device=auto or cpu.')
    if wanted.startswith("cuda") and (why := _why_no_gpu()):
        raise BackendError(no_gpu(wanted, why))


def no_device(wanted: str) -> str:
    """The message for an unknown device."""
    return f'local.device: "{wanted}" is not a device; use auto, cpu, cuda, cuda:N or mps.'


def no_gpu(wanted: str, reason: str) -> str:
    """The message for a missing GPU."""
    return (
        f'local.device: "{wanted}" asks for a CUDA GPU, but there is no such GPU ({reason}). '
        "Set local.device=auto or cpu, or install a CUDA build of PyTorch and check `nvidia-smi`."
    )


def _why_no_gpu() -> str:
    """Why PyTorch cannot have a GPU; empty if it may have one."""
    spec = importlib.util.find_spec("torch")
    version = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    if version is None or not version.is_file():
        return ""
    build = runpy.run_path(str(version))
    if build.get("hip"):
        return ""
    if not build.get("cuda"):
        return f"PyTorch {build.get('__version__')} is built for the CPU alone"
    try:
        ctypes.CDLL(CUDA_DRIVER)
    except OSError:
        return "NVIDIA's driver is not installed"
    return ""


def _check_packages(options: LocalOptions) -> None:
    """Raise BackendError if an option needs bitsandbytes, which is not installed."""
    if importlib.util.find_spec("bitsandbytes") is not None:
        return
    if options.quantization in ("nf4", "int8"):
        raise BackendError(
            missing_package(
                f"local.quantization: {options.quantization}",
                "bitsandbytes",
                "quantization",
                "set local.quantization=none",
            )
        )
    if options.optimizer == "paged_adamw_8bit":
        raise BackendError(
            missing_package(
                f"local.optimizer: {options.optimizer}", "bitsandbytes", "quantization", "set local.optimizer=adamw"
            )
        )
