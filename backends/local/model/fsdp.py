"""A base model whose weights are split over the processes (FSDP), for one that does not fit a single card.

Each process keeps its part of every layer; PyTorch's `fully_shard` gathers a layer's weights from all of them when the
layer is computed, forward and backward, and releases them afterwards. Only the frozen base is split: adapters, their
gradients and the optimiser are as large as ever and whole in every process.

Since gathering needs everybody, all processes make the same number of passes through the model: who has finished
makes empty ones until all have.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import tinker
import torch

from backends.interface import BackendError
from backends.local.distributed import ProcessGroup
from backends.local.futures import CLOSED
from backends.local.model.causal import CausalModel, CausalOutput
from backends.local.model.quantization import remember_quantisation

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel

IDLE, BUSY, LEAVING = range(3)


def check_group(group: ProcessGroup) -> None:
    """Raise BackendError if one process is to share a model with no other."""
    if group.size == 1:
        raise BackendError(
            "local.fsdp splits the base over several processes, and this is a single one. Start it with "
            "`accelerate launch` or torchrun (docs/local_backend.md, Several devices), or set local.fsdp=false; "
            "local.quantization=nf4 alone may make the base small enough for one card."
        )


def shard(model: PreTrainedModel, device: torch.device, size: int) -> None:
    """Keep this process's part of a frozen model that is still in main memory, layer by layer; NF4 weights as they are.

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
    """A sharded model that is called when every process is ready for a pass; otherwise like the model.

    Args:
        model: The model.
        group: The processes.
    """

    def __init__(self, model: CausalModel, group: ProcessGroup) -> None:
        self._model, self._group = model, group
        # Whether some process has left, and all know it.
        self.parted = False

    def __call__(self, **inputs: Any) -> CausalOutput:
        """A pass, as the model makes it (TinkerError if another process is closing)."""
        self.meet(BUSY)
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

    def meet(self, state: int) -> int:
        """Wait for the others, and learn what the busiest of them is at."""
        found = self._group.reduce_max(state)
        self.parted = found == LEAVING
        if found == LEAVING != state:
            raise tinker.TinkerError(CLOSED)
        return found


@contextmanager
def lockstep(model: CausalModel, group: ProcessGroup, *, backward: bool) -> Iterator[Lockstep]:
    """The sharded model for as many passes as this process likes, then empty ones while others still need it.

    Args:
        model: The model.
        group: The processes.
        backward: Whether each pass is followed by one backward.
    """
    stepping = Lockstep(model, group)
    try:
        yield stepping
    except tinker.TinkerError as error:
        if str(error) != CLOSED:
            group.abort(error)
        if not stepping.parted:
            stepping.meet(LEAVING)
        raise
    except Exception as error:
        group.abort(error)
    while stepping.meet(IDLE) == BUSY:
        _empty_pass(model, backward)


def _empty_pass(model: CausalModel, backward: bool) -> None:
    token = torch.zeros(1, 1, dtype=torch.long, device=next(model.parameters()).device)
    with torch.set_grad_enabled(backward):
        logits = model(input_ids=token, use_cache=False).logits
        if backward:
            trained = [p for p in model.parameters() if p.requires_grad]
            torch.autograd.grad(logits.sum(), trained, allow_unused=True)
