"""Training and sampling backends: the Tinker API, this machine, or a scripted one without tensors.

Every backend is an object with the methods of `tinker.ServiceClient`; `backends.interface` states them, and
`backends.capabilities` lists the backends and what they can do. This package imports nothing from `text2sql`, and
nothing heavy until a backend is opened.
"""

from __future__ import annotations

import difflib
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends import openmp
from backends.capabilities import BACKENDS, Backend, Capabilities
from backends.interface import BackendError, ServiceClient

if TYPE_CHECKING:
    from backends.options import BackendOptions

__all__ = [
    "BACKENDS",
    "BackendError",
    "Capabilities",
    "ServiceClient",
    "check_backend",
    "helps",
    "open_backend",
    "shares_work",
]


def open_backend(name: str, options: BackendOptions | None = None, *, checkpoints: Path | None = None) -> ServiceClient:
    """Open a backend by name.

    Args:
        name: A key of `BACKENDS`.
        options: The backend's own options (`backends.options`); its defaults when None.
        checkpoints: Directory of the checkpoints of a backend with `checkpoints_on_disk`; a temporary one when None.
            Other backends ignore it.

    Returns:
        A service client with the methods and semantics of `tinker.ServiceClient`. In a follower process
        (see `helps`) it does not return: the process exits when the first one has finished.

    Raises:
        BackendError: The name is unknown, or the backend cannot be opened here.
    """
    backend = _find(name)
    if backend.capabilities.runs_locally:
        openmp.limit_spin()
    return _load(backend.opener)(options, checkpoints=checkpoints)


def check_backend(name: str, options: BackendOptions | None, base_model: str | None) -> None:
    """Check quickly, before anything heavy is imported, whether a backend can be opened for a model.

    Args:
        name: A key of `BACKENDS`.
        options: The backend's own options; its defaults when None.
        base_model: The backend's own name of the model; None if no model is needed.

    Raises:
        BackendError: There is no such backend, or the device, the key, the server, a package or the model is not
            available. Slower checks are made by `open_backend`.
    """
    if preflight := _find(name).preflight:
        _load(preflight)(options, base_model)


def _find(name: str) -> Backend:
    if name not in BACKENDS:
        near = difflib.get_close_matches(name, BACKENDS, n=1)
        hint = f' Did you mean "{near[0]}"?' if near else ""
        raise BackendError(f'Unknown backend "{name}".{hint} Known backends: {", ".join(BACKENDS)}.')
    return BACKENDS[name]


def _load(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def helps() -> bool:
    """Whether this is a follower process of an `accelerate launch`; the program runs in the first process."""
    return int(os.environ.get("RANK", "0")) > 0


def shares_work() -> bool:
    """Whether this process is one of several of an `accelerate launch`."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1
