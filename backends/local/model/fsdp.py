"""A base model whose weights are sharded over the processes (FSDP), for one that does not fit a single GPU.

Each process keeps its part of every layer; PyTorch's `fully_shard` gathers a layer's weights from all of them when the
layer is computed, forward and backward, and releases them afterwards. Only the frozen base is sharded: adapters, their
gradients and the optimiser are complete in every process.

Since gathering needs all processes, they make the same number of forward passes: a process that has finished makes
empty ones until all have.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from backends.interface import BackendError
from backends.local.distributed import ProcessGroup
from backends.local.futures import BackendClosed
from backends.local.model.causal import CausalModel, CausalOutput
from backends.local.model.quantization import remember_quantisation

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel

# What a process is about to do: nothing, a forward pass, or to leave.
IDLE, BUSY, LEAVING = range(3)


def check_group(group: ProcessGroup) -> None:
    """Raise BackendError if there is a single process, with which no model can be shared."""
    if group.size == 1:
        raise BackendError(
            "local.fsdp splits the base over several processes, and this is a single one. Start it with "
            "`accelerate launch` or torchrun (docs/local_backend.md, Several devices), or set local.fsdp=false; "
            "local.quantization=nf4 alone may make the base small enough for one card."
        )


def shard(model: PreTrainedModel, device: torch.device, size: int) -> None:
    """Shard a frozen model that is still in main memory, layer by layer; NF4 weights stay as they are.

    Args:
        model: A Hugging Face causal language model; its output layer shares no parameter with its embedding.
        device: Where the parts, and later the gathered layers, go.
        size: Number of processes.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (size,))
    for part in (model.get_input_embeddings(), *model.get_decoder().layers, model.get_output_embeddings(), model):
        with remember_quantisation(part):
            fully_shard(part, mesh=mesh, reshard_after_forward=True)


class Lockstep:
    """A sharded model whose forward passes wait until every process is ready for one; otherwise like the model.

    Args:
        model: The model.
        group: The processes.
    """

    def __init__(self, model: CausalModel, group: ProcessGroup) -> None:
        self._model, self._group = model, group
        # Whether some process has left, and all know it.
        self.someone_left = False

    def __call__(self, **inputs: Any) -> CausalOutput:
        """A forward pass of the model (BackendClosed if another process is closing)."""
        self.synchronize(BUSY)
        return self._model(**inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    @property
    def config(self) -> PretrainedConfig:
        """The model's configuration."""
        return self._model.config

    def parameters(self) -> Iterator[nn.Parameter]:
        """This process's parts of the model's weights."""
        return self._model.parameters()

    def get_input_embeddings(self) -> nn.Module:
        """The model's layer that embeds token ids."""
        return self._model.get_input_embeddings()

    def synchronize(self, state: int) -> int:
        """Wait for the others; returns the largest state of all processes."""
        largest = self._group.reduce_max(state)
        self.someone_left = largest == LEAVING
        if largest == LEAVING != state:
            raise BackendClosed
        return largest


@contextmanager
def lockstep(model: CausalModel, group: ProcessGroup, *, backward: bool) -> Iterator[Lockstep]:
    """The sharded model for as many passes as this process needs, then empty ones while others still compute.

    Args:
        model: The model.
        group: The processes.
        backward: Whether each pass is followed by one backward.
    """
    stepping = Lockstep(model, group)
    try:
        yield stepping
    except BackendClosed:
        if not stepping.someone_left:
            stepping.synchronize(LEAVING)
        raise
    except Exception as error:
        group.abort(error)
    while stepping.synchronize(IDLE) == BUSY:
        _empty_pass(model, backward)


def _empty_pass(model: CausalModel, backward: bool) -> None:
    token = torch.zeros(1, 1, dtype=torch.long, device=next(model.parameters()).device)
    with torch.set_grad_enabled(backward):
        logits = model(input_ids=token, use_cache=False).logits
        if backward:
            trained = [p for p in model.parameters() if p.requires_grad]
            torch.autograd.grad(logits.sum(), trained, allow_unused=True)
