"""Randomness in training: NEFTune's noise on the embeddings, and dropout in front of the adapters.

The noise is a pure function of (seed of the client, step, call, datum), so a run that continues from a checkpoint gets
the noise of one that was never interrupted, and no generator state has to be saved. NEFTune's noise does not depend on
how rows share micro-batches either; dropout does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backends.local.step.micro_batches import MicroBatch, TokenRow, join_rows


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of one `forward_backward` call.

    Attributes:
        key: (seed of the client, optimiser step, call within the step).
        neftune_alpha: Strength of the noise on the embeddings; None for none.
        dropout: Probability of dropout.
    """

    key: tuple[int, int, int]
    neftune_alpha: float | None = None
    dropout: float = 0.0

    def embedding_noise(self, batch: MicroBatch, like: Tensor) -> Tensor:
        """NEFTune's noise for a micro-batch ``[B, T, D]``: uniform in ±alpha / sqrt(length * D) (Jain et al., 2023).

        The length is the row's own, so padding changes nothing.
        """
        width, parts = like.shape[-1], []
        for row in batch.rows:
            length = len(row.tokens)
            generator = torch.Generator().manual_seed(self._seed(row.index, 0))
            scale = (self.neftune_alpha or 0.0) / math.sqrt(length * width)
            parts.append((torch.rand(length, width, generator=generator) * 2 - 1) * scale)
        return join_rows(parts, packing=batch.position_ids is not None).to(like)

    @contextmanager
    def seeded(self, rows: list[TokenRow], device: torch.device) -> Iterator[None]:
        """Seed PyTorch's global generators, which dropout uses, for a micro-batch, and restore them afterwards."""
        if not self.dropout:
            yield
            return
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self._seed(rows[0].index, 1))
            yield

    def _seed(self, row: int, purpose: int) -> int:
        return int(np.random.SeedSequence([*self.key, row, purpose]).generate_state(1, np.uint64)[0] >> np.uint64(1))
