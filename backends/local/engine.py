"""The engine that all local clients of one base model share: the model, its adapters, the device thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch

from backends.facts import TrainingFacts
from backends.local.distributed import ProcessGroup
from backends.local.futures import Executor
from backends.local.model.causal import CausalModel
from backends.local.model.fsdp import lockstep
from backends.local.model.load import LoadedModel
from backends.local.model.loss_scale import LossScale
from backends.local.prefix_cache import PrefixCache
from backends.local.vllm_client import VllmClient
from backends.local.weights.full import FullWeights
from backends.local.weights.lora import LoraWeights
from backends.local.weights.protocol import Snapshot, Weights
from backends.options import LocalOptions
from backends.planning.batch_plan import tokens_at_once


class Engine:
    """One base model in memory and everything that computes with it. Only the executor's thread touches tensors.

    Args:
        base: The base model.
        options: Options of the local backend; `method` says what is trained.
        executor: The device's thread.
        group: The processes that share the work.
    """

    def __init__(self, base: LoadedModel, options: LocalOptions, executor: Executor, group: ProcessGroup) -> None:
        self.base = base
        self.options = options
        self.executor = executor
        self.group = group
        self.weights: Weights = (
            FullWeights(base) if options.method == "full" else LoraWeights(base, sharded=options.fsdp)
        )
        self.vocabulary = base.model.get_input_embeddings().get_parameter("weight").shape[0]
        # A compiled module has the model's attributes as well.
        self._compiled = cast(CausalModel, torch.compile(base.model, dynamic=True)) if options.compile else None
        # Prefixes of prompts under the weights that were sampled last.
        self.prefix_cache = PrefixCache(options.prefix_cache_mb * 2**20)
        # The server that samples in place of this process.
        self.vllm = VllmClient(options.sampler, options.sampler_directory) if options.sampler else None
        # The largest mean difference of its log-probabilities from ours, in nats.
        self.sampler_logprob_gap = 0.0
        # What the latest training client trains, for the record of a run.
        self.training_facts: TrainingFacts | None = None
        # Most tokens of a forward pass, once more did not fit in memory; None before that.
        self._token_limit: int | None = None
        self._recomputes = options.gradient_checkpointing == "on"
        self.loss_scale = LossScale(base.dtype)

    def start_checkpointing(self) -> bool:
        """Recompute activations from now on; False if that is disabled, or done already."""
        if self._recomputes or self.options.gradient_checkpointing == "off":
            return False
        self._recomputes = True
        self._enable_checkpointing()
        return True

    @property
    def micro_batch_tokens(self) -> int:
        """Most tokens in one forward pass of training, padding included."""
        on_gpu = self.base.device.type != "cpu"
        tokens = tokens_at_once(self.options, on_gpu=on_gpu, threads=torch.get_num_threads())
        return tokens if self._token_limit is None else min(tokens, self._token_limit)

    def limit_micro_batches(self, tokens: int) -> None:
        """Limit the tokens in one forward pass from now on, since more did not fit in memory."""
        self._token_limit = tokens

    @contextmanager
    def training(self, adapter: str, *, backward: bool, dropout: float = 0.0) -> Iterator[CausalModel]:
        """The model with a training client's weights, under autocast.

        Args:
            adapter: The training client's name.
            backward: Whether each pass is followed by one backward.
            dropout: If not 0, switch the adapter's dropout on.
        """
        # Free the memory for training.
        self.prefix_cache.clear()
        with self.weights.active(adapter) as model, self.base.autocast():
            try:
                self._enable_checkpointing()
                if dropout:
                    self.weights.start_dropout()
                called = model if self._compiled is None else self._compiled
                with self._in_lockstep(called, backward=backward) as synchronized:
                    yield synchronized
            finally:
                model.eval()

    @contextmanager
    def _in_lockstep(self, model: CausalModel, *, backward: bool) -> Iterator[CausalModel]:
        """The model; with FSDP, in lockstep with the other processes."""
        if not self.options.fsdp:
            yield model
            return
        with lockstep(model, self.group, backward=backward) as synchronized:
            yield synchronized

    def _enable_checkpointing(self) -> None:
        """Recompute activations if that is wanted; transformers does so only in training mode."""
        if self._recomputes:
            self.base.model.activation_checkpointing_enable({"use_reentrant": False})
            self.base.model.train()

    def release(self, replica_id: str) -> None:
        """Free the weights of a client in every process before the next job; for when the client is garbage."""
        self.executor.before_next(partial(self._release, replica_id))

    def _release(self, replica_id: str) -> None:
        self.group.broadcast_discard(replica_id)
        self.weights.remove(replica_id)

    @contextmanager
    def inference(self, snapshot: Snapshot | None) -> Iterator[CausalModel]:
        """The model with a snapshot's weights, under autocast; None: the bare base model."""
        self.prefix_cache.use_weights(snapshot)
        with (
            self.weights.sampling(snapshot) as model,
            self.base.autocast(),
            self._in_lockstep(model, backward=False) as shared,
        ):
            yield shared
