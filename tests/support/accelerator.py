"""An accelerator made of software, to find tensors that are on the wrong device where there is no GPU.

Its tensors say that they are on device ``accel``; what is asked of them is computed by the CPU. As on a GPU, tensors of
two devices do not mix, but for numbers (tensors without dimensions), indices, and copies from the one to the other.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "accel"
COPIES = {"copy_", "_to_copy", "_copy_from"}
INDEXING = {"index", "index_put_", "index_put", "_index_put_impl_", "_unsafe_index"}
# Names of the operations that have been computed.
operations: list[str] = []


class OnDevice(torch.Tensor):
    """A tensor on the device; `host` is the CPU's, which has the numbers."""

    host: torch.Tensor

    @staticmethod
    def __new__(cls, host: torch.Tensor) -> OnDevice:
        made: OnDevice = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, host.shape, host.stride(), host.storage_offset(), dtype=host.dtype, device=f"{NAME}:0"
        )
        made.host = host
        return made

    @property
    def data(self) -> Any:
        return torch.Tensor.data.__get__(self)  # type: ignore[attr-defined]

    @data.setter
    def data(self, value: Any) -> None:
        if not isinstance(value, OnDevice):
            raise RuntimeError(f"a tensor of {value.device} for the data of one on {NAME}")
        torch.Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.host = value.host

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.host.tolist()

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"OnDevice({self.host!r})"


def compute(func: Any, args: Any, kwargs: Any) -> Any:
    """Run one operation: check where its tensors are, compute it on the CPU, and put the results where they belong."""
    name = func.overloadpacket.__name__
    operations.append(name)
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    if any(isinstance(tensor, OnDevice) for tensor in given) and name not in COPIES:
        checked = tree_leaves((args[0], args[2:], kwargs)) if name in INDEXING else given
        strangers = [t for t in checked if isinstance(t, torch.Tensor) and not isinstance(t, OnDevice) and t.dim()]
        if strangers:
            raise RuntimeError(f"Expected all tensors to be on the same device: {func} on {NAME} and the CPU")
    wanted = kwargs.get("device")
    here = (
        any(isinstance(tensor, OnDevice) for tensor in given) if wanted is None else torch.device(wanted).type == NAME
    )
    on_host = tree_map(lambda leaf: leaf.host if isinstance(leaf, OnDevice) else leaf, (args, kwargs))
    if wanted is not None:
        on_host[1]["device"] = torch.device("cpu")
    out = func(*on_host[0], **on_host[1])
    if not here:
        return out
    wrapped = tree_map(lambda leaf: OnDevice(leaf) if type(leaf) is torch.Tensor else leaf, out)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if given else wrapped


class Module:
    """What PyTorch looks for in ``torch.accel``."""

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def set_device(self, device: Any) -> None:
        pass

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def synchronize(self, device: Any = None) -> None:
        pass


library: Any = None


def install() -> str:
    """Make the device known to PyTorch, for good in this process; returns its name."""
    global library
    _setup_privateuseone_for_python_backend(NAME, backend_module=Module())
    library = torch.library.Library("_", "IMPL")
    library.fallback(lambda func, *args, **kwargs: compute(func, args, kwargs), "PrivateUse1")
    # It remembers, for `with torch.device(...)`, what is exchanged next.
    _device_constructors()
    plain = torch.tensor

    # PyTorch's own goes past us.
    def tensor(data: Any, *, device: Any = None, **options: Any) -> torch.Tensor:
        if device is None or torch.device(device).type != NAME:
            return plain(data, device=device, **options)
        return plain(data, **options).to(device)

    torch.tensor = tensor
    return NAME
