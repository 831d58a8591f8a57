"""What the local clients of one base model share: the model, its adapters, the device thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from backends.local.distributed import Team
from backends.local.futures import Executor
from backends.local.model.fsdp import lockstep
from backends.local.model.load import BaseModel
from backends.local.weights.full import FullSpec, FullWeights
from backends.local.weights.lora import Adapters, LoraSpec
from backends.options import LocalOptions, tokens_at_once

SAMPLER_SLOT = "sampler"
RELEASE = "release"


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Trained weights frozen at one point of training."""

    spec: LoraSpec | FullSpec
    state: dict[str, Tensor]


class Engine:
    """One base model in memory and everything that runs on it. Only the executor's thread touches tensors."""

    def __init__(
        self, base: BaseModel, options: LocalOptions, executor: Executor, team: Team, *, full: bool = False
    ) -> None:
        self.base = base
        self.options = options
        self.executor = executor
        self.team = team
        self.adapters: Any = FullWeights(base) if full else Adapters(base)
        self.vocabulary = base.model.get_input_embeddings().weight.shape[0]
        self._sampling: Snapshot | None = None
        self._compiled = torch.compile(base.model, dynamic=True) if options.compile else None
        self._fitting = 0  # tokens that fit in memory, once more have been tried
        self._checkpointing = options.gradient_checkpointing == "on"
        # float16 gradients underflow: they are computed of a multiple of the loss, which is halved when one overflows.
        self.loss_scale = 2.0**16 if base.dtype == torch.float16 else 1.0

    def start_checkpointing(self) -> bool:
        """Recompute activations from now on; False where that is forbidden, or done already."""
        if self._checkpointing or self.options.gradient_checkpointing == "off":
            return False
        self._checkpointing = True
        self._recompute()
        return True

    @property
    def micro_batch_tokens(self) -> int:
        """Tokens in one forward pass of training, with their padding."""
        on_gpu = self.base.device.type != "cpu"
        tokens = tokens_at_once(self.options, on_gpu=on_gpu, threads=torch.get_num_threads())
        return min(tokens, self._fitting) if self._fitting else tokens

    def limit_micro_batches(self, tokens: int) -> None:
        """Take no more tokens into one forward pass from now on: more did not fit in memory."""
        self._fitting = tokens

    @contextmanager
    def training(self, adapter: str, *, backward: bool, dropout: float = 0.0) -> Iterator[Any]:
        """The model with a training client's weights, under autocast.

        Args:
            adapter: The training client's name.
            backward: Whether each pass is followed by one backward.
            dropout: If not 0, the dropout of the adapter is on.
        """
        with self.adapters.active(adapter) as model, self.base.autocast():
            try:
                self._recompute()
                if dropout:
                    self.adapters.start_dropout()
                with self._together(model if self._compiled is None else self._compiled, backward=backward) as shared:
                    yield shared
            finally:
                model.eval()

    @contextmanager
    def _together(self, model: Any, *, backward: bool) -> Iterator[Any]:
        """The model; with FSDP, in step with the other processes."""
        if not self.options.fsdp:
            yield model
            return
        with lockstep(model, self.team, backward=backward) as shared:
            yield shared

    def _recompute(self) -> None:
        """Switch recomputed activations on; transformers heeds them in training mode only."""
        if self._checkpointing:
            self.base.model.activation_checkpointing_enable({"use_reentrant": False})
            self.base.model.train()

    def release(self, adapter: str) -> None:
        """Let go of what a client has in every process before the next job, once nobody holds the client."""
        self.executor.before_next(partial(self._release, adapter))

    def _release(self, adapter: str) -> None:
        self.team.tell(RELEASE, adapter)
        self.adapters.remove(adapter)

    @contextmanager
    def inference(self, snapshot: Snapshot | None) -> Iterator[Any]:
        """The model with a snapshot's adapter, or bare.

        A float32 base gets the adapter merged in for the time, which is faster and exact to rounding; another base
        keeps it apart, since merging into low precision would change the weights that were trained, and so does one
        that is split over the processes.
        """
        if snapshot is None:
            with (
                self.adapters.active(None) as model,
                self.base.autocast(),
                self._together(model, backward=False) as shared,
            ):
                yield shared
            return
        if not isinstance(snapshot.spec, LoraSpec):
            with self.adapters.swapped(snapshot.state) as model, self.base.autocast():
                yield model
            return
        if self._sampling is not snapshot:
            if self._sampling is not None:
                self.adapters.remove(SAMPLER_SLOT)
                self._sampling = None
            self.adapters.add(SAMPLER_SLOT, snapshot.spec, snapshot.state)
            self._sampling = snapshot
        plain = self.base.dtype == torch.float32 and self.base.quantization == "none" and not self.options.fsdp
        mergeable = plain and not snapshot.spec.dora  # whose weight is not base plus product
        with (
            (self.adapters.merged if mergeable else self.adapters.active)(SAMPLER_SLOT) as model,
            self.base.autocast(),
            self._together(model, backward=False) as shared,
        ):
            yield shared
