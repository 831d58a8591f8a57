"""Backends on the GPU; every test here needs one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def open_gpu(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens local backends on the first GPU; skips where there is none, or one without bfloat16."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU that PyTorch can use")
    from backends import open_backend
    from backends.options import LocalOptions

    open_service = []

    def open_(**options: Any) -> Any:
        if options.get("dtype") == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
            pytest.skip("this GPU has no bfloat16")
        chosen = LocalOptions(**{"device": "cuda", **options})
        service = open_backend("local", chosen, checkpoints=tmp_path / "checkpoints")
        open_service.append(service)
        return service

    yield open_
    for service in open_service:
        service.close()
    torch.cuda.empty_cache()
