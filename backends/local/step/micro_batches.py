"""From `tinker.Datum` to micro-batches, and back.

Micro-batches are cut by a budget of tokens from the rows sorted by length. Their rows lie end to end where attention
keeps them apart, else they are padded, of which sorting leaves little to do. Padding goes to the right and needs no
attention mask: causal attention never looks at it. Sorting stays inside one call, so what the optimiser sees does not
depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tinker import types
from torch import Tensor

from backends.losses import TARGETS, Loss
from backends.planning.batch_plan import plan_batches


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One datum, checked.

    Attributes:
        index: Place in the caller's list.
        tokens: Input ids ``[T]``.
        targets: Target ids ``[T, K]``; K is 1 for ordinary targets.
        inputs: The loss's float inputs, each ``[T, K]``.
        scored: Positions that the loss depends on, bool ``[T]``.
        one_dimensional: Whether the caller's targets had shape ``(T,)``, which the outputs then have too.
    """

    index: int
    tokens: Tensor
    targets: Tensor
    inputs: dict[str, Tensor]
    scored: Tensor
    one_dimensional: bool


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rows of similar length, padded together; or packed end to end, and then B is 1 and T the sum of their lengths.

    Attributes:
        rows: Their rows, in the order of the tensors.
        tokens: Input ids ``[B, T]``, padded on the right with 0.
        keep: Positions whose logits are computed, bool ``[B, T]``, N of them true.
        positions: Of packed tokens in their rows ``[1, T]``, from which the attention kernel knows where rows
            begin; else None.
        targets: Target ids at the kept positions ``[N, K]``.
        inputs: Loss inputs at the kept positions, each ``[N, K]``.
    """

    rows: list[TokenRow]
    tokens: Tensor
    keep: Tensor
    targets: Tensor
    inputs: dict[str, Tensor]
    positions: Tensor | None = None

    def masks(self) -> list[Tensor]:
        """Each row's part of `keep` ``[T]``, on the CPU."""
        keep, lengths = self.keep.cpu(), [len(row.tokens) for row in self.rows]
        if self.positions is not None:
            return list(keep[0].split(lengths))
        return [mask[:length] for mask, length in zip(keep, lengths, strict=True)]


def make_rows(data: Sequence[types.Datum], loss: Loss, vocabulary: int, max_length: int) -> list[TokenRow]:
    """Check the data of one call.

    Args:
        data: The caller's data.
        loss: What they are for.
        vocabulary: Token ids are below it.
        max_length: Most tokens of one datum.

    Raises:
        ValueError: The list is empty, or a datum has a missing, unknown, misshapen, out-of-range or non-finite input.
            The message names the datum by its place.
    """
    if not data:
        raise ValueError("No data provided")
    rows = []
    for index, datum in enumerate(data):
        try:
            rows.append(_row(index, datum, loss, vocabulary, max_length))
        except ValueError as error:
            raise ValueError(f"Datum {index} {error}.") from error
    return rows


def _row(index: int, datum: types.Datum, loss: Loss, vocabulary: int, max_length: int) -> TokenRow:
    """One datum; what is wrong with it continues a sentence that begins with its name."""
    tokens = np.asarray(datum.model_input.to_ints(), dtype=np.int64)
    length = len(tokens)
    if not 0 < length <= max_length:
        raise ValueError(f"has {length} tokens; the model takes 1 to {max_length}")
    loss.check_inputs(datum.loss_fn_inputs)
    targets = _dense(datum.loss_fn_inputs[TARGETS])
    if targets.ndim not in (1, 2) or targets.shape[0] != length:
        raise ValueError(f"has {TARGETS} of shape {targets.shape} for {length} input tokens")
    for name, ids in (("model_input", tokens), (TARGETS, targets)):
        if ids.size and not (ids.min() >= 0 and ids.max() < vocabulary):
            raise ValueError(f"has a token id in {name} outside 0..{vocabulary - 1}")
    inputs = _inputs(datum, loss, targets.shape)
    return TokenRow(
        index=index,
        tokens=torch.from_numpy(tokens),
        targets=torch.from_numpy(np.ascontiguousarray(targets.reshape(length, -1))),
        inputs=inputs,
        scored=(inputs[loss.scored_by] != 0).any(dim=1) if loss.scored_by else torch.ones(length, dtype=torch.bool),
        one_dimensional=targets.ndim == 1,
    )


def _inputs(datum: types.Datum, loss: Loss, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """The loss's float inputs, each ``[T, K]``, from arrays of the targets' shape, ``(T,)`` or ``(T, K)``."""
    length = shape[0]
    inputs = {}
    for name in loss.inputs:
        if name in datum.loss_fn_inputs:
            values = _dense(datum.loss_fn_inputs[name]).astype(np.float32)
            if values.shape != shape:
                raise ValueError(f"has {name} of shape {values.shape}; {TARGETS} has {shape}")
            if not np.isfinite(values).all():
                raise ValueError(f"has a value in {name} that is not finite")
            inputs[name] = torch.from_numpy(values.reshape(length, -1))
        elif (default := loss.optional[name]) is not None:
            inputs[name] = torch.full((length, math.prod(shape[1:])), default)
    return inputs


def _dense(data: types.TensorData) -> np.ndarray:
    if data.sparse_crow_indices is not None:
        return data.to_torch().to_dense().numpy()
    return data.to_numpy()


def micro_batches(
    rows: Sequence[TokenRow], budget: int, *, everything: bool, device: torch.device, packing: bool = False
) -> list[MicroBatch]:
    """Cut the rows into micro-batches, the longest first (what does not fit in memory fails at once).

    Args:
        rows: Checked rows.
        budget: Tokens in a micro-batch, with their padding; a longer row gets one to itself.
        everything: Compute the logits of every position, not of the scored ones alone.
        device: Where the tensors go.
        packing: Put rows end to end instead of padding them; the attention kernel must keep them apart.
    """
    rows = sorted(rows, key=lambda row: row.index)
    lengths = [len(row.tokens) for row in rows]
    plan = plan_batches(lengths, budget, packing=packing, kinds=[_kind(row) for row in rows])
    return [_collate([rows[place] for place in places], everything, device, packing) for places in plan]


def _kind(row: TokenRow) -> tuple[int, tuple[str, ...]]:
    """Rows go together if they have equally many targets at a position, and the same inputs."""
    return row.targets.shape[1], tuple(sorted(row.inputs))


def _collate(rows: list[TokenRow], everything: bool, device: torch.device, packing: bool) -> MicroBatch:
    kept = [torch.ones_like(row.scored) if everything else row.scored for row in rows]
    positions = torch.cat([torch.arange(len(row.tokens)) for row in rows])[None] if packing else None  # [1, T]
    return MicroBatch(
        rows=rows,
        tokens=joined([row.tokens for row in rows], packing).to(device),  # [B, T]
        keep=joined(kept, packing).to(device),  # [B, T], padding is False
        positions=None if positions is None else positions.to(device),
        targets=torch.cat([row.targets[mask] for row, mask in zip(rows, kept, strict=True)]).to(device),  # [N, K]
        inputs={
            name: torch.cat([row.inputs[name][mask] for row, mask in zip(rows, kept, strict=True)]).to(device)
            for name in rows[0].inputs
        },
    )


def joined(parts: list[Tensor], packing: bool) -> Tensor:
    """Tensors ``[T, ...]`` end to end in one row, or under each other, padded with 0."""
    return torch.cat(parts)[None] if packing else torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
