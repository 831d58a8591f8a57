"""From `tinker.Datum` to micro-batches, and back.

Micro-batches are cut by a budget of tokens from the rows sorted by length. Their rows lie end to end where attention
keeps them apart, else they are padded, of which sorting leaves little to do. Padding goes to the right and needs no
attention mask: causal attention never looks at it. Where the model lets continuations attend to a beginning that lies
elsewhere, what several rows begin with is computed once (`backends.planning.prefix_tree`). Sorting stays inside one
call, so what the optimiser sees does not depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from tinker import types
from torch import Tensor

from backends.losses import SEQUENCE, TARGETS, Loss
from backends.planning.batch_plan import Kind, plan_batches
from backends.planning.prefix_tree import Segment, build_segments, cut_micro_batches, sort_by_prefix


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

    Packed rows may have beginnings in common, whose tokens then lie there once.

    Attributes:
        rows: Their rows, in the order of the tensors.
        tokens: Input ids ``[B, T]``, padded on the right with 0.
        keep: Positions whose logits are computed, bool ``[B, T]``, M of them true.
        kept: Each row's positions that are scored, bool ``[T]`` on the CPU, N of them true in all.
        targets: Target ids at the rows' kept positions ``[N, K]``.
        inputs: Loss inputs at the rows' kept positions, each ``[N, K]``, and which row each is of (`SEQUENCE`) ``[N]``.
        positions: Of packed tokens in their rows ``[1, T]``, from which the attention kernel knows where rows
            begin; else None.
        tree: Which packed tokens are attended to by which; None unless beginnings are shared.
        logit_rows: Which of the M logits is each of the N kept positions' ``[N]``; None if they are the same.
    """

    rows: list[TokenRow]
    tokens: Tensor
    keep: Tensor
    kept: list[Tensor]
    targets: Tensor
    inputs: dict[str, Tensor]
    positions: Tensor | None = None
    tree: list[Segment] | None = None
    logit_rows: Tensor | None = None


class Scored(TypedDict):
    """The fields of a micro-batch that are about its kept positions."""

    targets: Tensor
    inputs: dict[str, Tensor]


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
    rows: Sequence[TokenRow],
    budget: int,
    *,
    everything: bool,
    device: torch.device,
    packing: bool = False,
    sharing: bool = False,
    short_context: int | None = None,
) -> list[MicroBatch]:
    """Cut the rows into micro-batches, the longest first (what does not fit in memory fails at once).

    Args:
        rows: Checked rows.
        budget: Tokens in a micro-batch, with their padding; a longer row gets one to itself.
        everything: Compute the logits of every position, not of the scored ones alone.
        device: Where the tensors go.
        packing: Put rows end to end instead of padding them; the attention kernel must keep them apart.
        sharing: Compute what several rows begin with once, if that pays.
        short_context: Rows beyond it and others never share a micro-batch; None for no such bound.
    """
    rows = sorted(rows, key=lambda row: row.index)
    by_kind: dict[Kind, list[TokenRow]] = {}
    for row in rows:
        by_kind.setdefault(_kind(row, short_context), []).append(row)
    made = []
    for kind in sorted(by_kind):
        alike = by_kind[kind]
        if sharing:
            order, shared = sort_by_prefix([row.tokens.numpy() for row in alike])
            if any(shared):
                alike = [alike[place] for place in order]
                plan = cut_micro_batches([len(row.tokens) for row in alike], shared, budget)
                made += [
                    _collate_tree(alike[p.start : p.stop], shared[p.start : p.stop], everything, device) for p in plan
                ]
                continue
        plan_ = plan_batches([len(row.tokens) for row in alike], budget, packing=packing)
        made += [_collate([alike[place] for place in places], everything, device, packing) for places in plan_]
    return made


def _kind(row: TokenRow, short_context: int | None) -> Kind:
    """Rows go together if they have equally many targets at a position, the same inputs, and one rotary embedding."""
    long = short_context is not None and len(row.tokens) > short_context
    return row.targets.shape[1], tuple(sorted(row.inputs)), long


def _collate(rows: list[TokenRow], everything: bool, device: torch.device, packing: bool) -> MicroBatch:
    kept = _kept(rows, everything)
    positions = torch.cat([torch.arange(len(row.tokens)) for row in rows])[None] if packing else None  # [1, T]
    return MicroBatch(
        rows=rows,
        tokens=joined([row.tokens for row in rows], packing).to(device),  # [B, T]
        keep=joined(kept, packing).to(device),  # [B, T], padding is False
        kept=kept,
        positions=None if positions is None else positions.to(device),
        **_scored(rows, kept, device),
    )


def _collate_tree(rows: list[TokenRow], shared: Sequence[int], everything: bool, device: torch.device) -> MicroBatch:
    """Rows in tree order, each of which takes `shared` tokens over from the row before."""
    kept = _kept(rows, everything)
    places: list[Tensor] = []
    count = 0
    for row, taken in zip(rows, [0, *shared[1:]], strict=True):
        new = torch.arange(count, count + len(row.tokens) - taken)
        places.append(torch.cat([places[-1][:taken], new]) if taken else new)
        count += len(new)
    tokens, positions, keep = (torch.zeros(count, dtype=dtype) for dtype in (torch.long, torch.long, torch.bool))
    for row, at, mask in zip(rows, places, kept, strict=True):
        tokens[at], positions[at] = row.tokens, torch.arange(len(at))
        keep[at[mask]] = True
    numbers = keep.cumsum(0) - 1
    return MicroBatch(
        rows=rows,
        tokens=tokens[None].to(device),  # [1, T]
        keep=keep[None].to(device),
        kept=kept,
        positions=positions[None].to(device),
        tree=build_segments([len(row.tokens) for row in rows], shared),
        logit_rows=torch.cat([numbers[at[mask]] for at, mask in zip(places, kept, strict=True)]).to(device),  # [N]
        **_scored(rows, kept, device),
    )


def _kept(rows: Sequence[TokenRow], everything: bool) -> list[Tensor]:
    return [torch.ones_like(row.scored) if everything else row.scored for row in rows]


def _scored(rows: Sequence[TokenRow], kept: Sequence[Tensor], device: torch.device) -> Scored:
    """Targets and loss inputs of the kept positions, row after row."""
    pairs = list(zip(rows, kept, strict=True))
    inputs = {name: torch.cat([row.inputs[name][mask] for row, mask in pairs]).to(device) for name in rows[0].inputs}
    lengths = torch.tensor([int(mask.sum()) for mask in kept])
    inputs[SEQUENCE] = torch.repeat_interleave(torch.arange(len(rows)), lengths).to(device)  # [N]
    return {"targets": torch.cat([row.targets[mask] for row, mask in pairs]).to(device), "inputs": inputs}  # [N, K]


def joined(parts: list[Tensor], packing: bool) -> Tensor:
    """Tensors ``[T, ...]`` end to end in one row, or under each other, padded with 0."""
    return torch.cat(parts)[None] if packing else torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
