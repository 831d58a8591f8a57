"""Conversion of `tinker.Datum` to micro-batches of tensors.

Micro-batches are cut by a budget of tokens from the rows sorted by length. Their rows are packed end to end where the
attention keeps them apart; else they are padded, of which sorting leaves little to do. Padding goes to the right and
needs no attention mask: causal attention never looks at it. Where the model's attention supports it, common prefixes of
several rows are computed once (`backends.planning.prefix_tree`). Rows are sorted within one call only, so what the
optimiser sees does not depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from tinker import types
from torch import Tensor

from backends.local.model_input import text_tokens
from backends.losses import SEQUENCE, TARGETS, Loss
from backends.planning.batch_plan import Kind, plan_batches
from backends.planning.prefix_tree import Segment, build_segments, cut_micro_batches, sort_by_prefix

# Of an empty list, numpy makes an array of floats.
EMPTY = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One datum, checked.

    Attributes:
        index: Index in the caller's list.
        tokens: Input ids ``[T]``.
        targets: Target ids ``[T, K]``; K is 1 for ordinary targets.
        inputs: The loss's float inputs, each ``[T, K]``.
        scored: Which positions the loss depends on, bool ``[T]``.
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
    """Rows padded to one length; or packed end to end, and then B is 1 and T the sum of their lengths.

    Packed rows may have common prefixes, whose tokens then occur once.

    Attributes:
        rows: The rows, in the order of the tensors.
        tokens: Input ids ``[B, T]``, padded on the right with 0.
        logits_to_keep: Positions whose logits are computed, bool ``[B, T]``, M of them true.
        scored_masks: Each row's scored positions, bool ``[T]`` on the CPU, N of them true in all.
        targets: Target ids at the scored positions ``[N, K]``.
        inputs: Loss inputs at the scored positions, each ``[N, K]``, and the row of each position (`SEQUENCE`) ``[N]``.
        position_ids: Positions of packed tokens in their rows ``[1, T]``, which tell the attention kernel where rows
            begin; None of padded rows.
        tree: Which packed tokens attend to which; None unless prefixes are shared.
        logit_rows: Index of the logits, 0 to M - 1, of each scored position ``[N]``; None if M is N, in order.
    """

    rows: list[TokenRow]
    tokens: Tensor
    logits_to_keep: Tensor
    scored_masks: list[Tensor]
    targets: Tensor
    inputs: dict[str, Tensor]
    position_ids: Tensor | None = None
    tree: list[Segment] | None = None
    logit_rows: Tensor | None = None


class ScoredPositions(NamedTuple):
    """Targets ``[N, K]`` and loss inputs of the scored positions of a micro-batch."""

    targets: Tensor
    inputs: dict[str, Tensor]


def make_rows(data: Sequence[types.Datum], loss: Loss, vocabulary: int, max_length: int) -> list[TokenRow]:
    """Check the data of one call.

    Args:
        data: The caller's data.
        loss: The loss that they are for.
        vocabulary: Size of the vocabulary.
        max_length: Most tokens of one datum.

    Raises:
        ValueError: The list is empty, or a datum has a missing, unknown, misshapen, out-of-range or non-finite input.
            The message names the datum by its index.
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
    """Check one datum; an error's message continues a sentence that begins with the datum."""
    if not isinstance(datum, types.Datum):
        raise ValueError(f"is of type {type(datum).__name__}; it must be a tinker.Datum")
    tokens = _ids("model_input", np.asarray(text_tokens(datum.model_input) or EMPTY), vocabulary)
    length = len(tokens)
    if not 0 < length <= max_length:
        raise ValueError(f"has {length} tokens; the model takes 1 to {max_length}")
    loss.check_inputs(datum.loss_fn_inputs)
    targets = _ids(TARGETS, _dense(TARGETS, datum.loss_fn_inputs[TARGETS]), vocabulary)
    if targets.ndim not in (1, 2) or targets.shape[0] != length or not targets.size:
        raise ValueError(f"has {TARGETS} of shape {targets.shape} for {length} input tokens")
    inputs = _inputs(datum, loss, targets.shape)
    return TokenRow(
        index=index,
        tokens=torch.from_numpy(tokens),
        targets=torch.from_numpy(np.ascontiguousarray(targets.reshape(length, -1))),
        inputs=inputs,
        scored=(inputs[loss.scored_by] != 0).any(dim=1) if loss.scored_by else torch.ones(length, dtype=torch.bool),
        one_dimensional=targets.ndim == 1,
    )


def _ids(name: str, ids: np.ndarray, vocabulary: int) -> np.ndarray:
    """Token ids, checked: a float is no id, not even a whole one, since it may have been another number before."""
    # Numbers beyond 64 bits are objects to numpy.
    if ids.dtype.kind not in "iuO":
        raise ValueError(f"has {name} of type {ids.dtype}; token ids are int64")
    if ids.size and not (ids.min() >= 0 and ids.max() < vocabulary):
        raise ValueError(f"has a token id in {name} outside 0..{vocabulary - 1}")
    return ids.astype(np.int64)


def _inputs(datum: types.Datum, loss: Loss, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """The loss's float inputs, each ``[T, K]``, from arrays of the targets' shape, ``(T,)`` or ``(T, K)``."""
    length = shape[0]
    inputs = {}
    for name in loss.inputs:
        if name in datum.loss_fn_inputs:
            values = _dense(name, datum.loss_fn_inputs[name])
            if values.shape != shape:
                raise ValueError(f"has {name} of shape {values.shape}; {TARGETS} has {shape}")
            # A number that float32 does not hold is infinite in it.
            with np.errstate(over="ignore"):
                values = values.astype(np.float32)
            if not np.isfinite(values).all():
                raise ValueError(f"has a value in {name} that is not finite")
            inputs[name] = torch.from_numpy(values.reshape(length, -1))
        elif (default := loss.optional[name]) is not None:
            inputs[name] = torch.full((length, math.prod(shape[1:])), default)
    return inputs


def _dense(name: str, data: types.TensorData) -> np.ndarray:
    if not isinstance(data, types.TensorData):
        raise ValueError(f"has {name} of type {type(data).__name__}; it must be a tinker.TensorData")
    try:
        return data.to_numpy()
    except (RuntimeError, IndexError, ValueError, TypeError, AssertionError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ValueError(f"has {name} that is no sparse tensor of shape {data.shape}: {reason}") from error


def make_micro_batches(
    rows: Sequence[TokenRow],
    budget: int,
    *,
    score_all: bool,
    device: torch.device,
    packing: bool = False,
    sharing: bool = False,
    short_context: int | None = None,
) -> list[MicroBatch]:
    """Cut the rows into micro-batches, the longest first, so that running out of memory happens at once.

    Args:
        rows: Checked rows.
        budget: Tokens in a micro-batch, with their padding; a longer row gets one to itself.
        score_all: Compute the logits of all positions, not only of those that the loss depends on.
        device: Where the tensors go.
        packing: Pack rows end to end instead of padding them; the attention kernel must keep them apart.
        sharing: Compute common prefixes once, if that pays.
        short_context: Rows within it and longer ones never share a micro-batch; None for no such bound.
    """
    rows = sorted(rows, key=lambda row: row.index)
    by_kind: dict[Kind, list[TokenRow]] = {}
    for row in rows:
        by_kind.setdefault(_kind(row, short_context), []).append(row)
    batches = []
    for kind in sorted(by_kind):
        members = by_kind[kind]
        if sharing:
            order, shared = sort_by_prefix([row.tokens.numpy() for row in members])
            if any(shared):
                members = [members[i] for i in order]
                cuts = cut_micro_batches([len(row.tokens) for row in members], shared, budget)
                batches += [
                    _collate_tree(members[c.start : c.stop], shared[c.start : c.stop], score_all, device) for c in cuts
                ]
                continue
        plan = plan_batches([len(row.tokens) for row in members], budget, packing=packing)
        batches += [_collate([members[i] for i in indices], score_all, device, packing) for indices in plan]
    return batches


def _kind(row: TokenRow, short_context: int | None) -> Kind:
    """Rows can share a micro-batch if number of targets, loss inputs and rotary embedding agree."""
    long = short_context is not None and len(row.tokens) > short_context
    return row.targets.shape[1], tuple(sorted(row.inputs)), long


def _collate(rows: list[TokenRow], score_all: bool, device: torch.device, packing: bool) -> MicroBatch:
    masks = _scored_masks(rows, score_all)
    position_ids = torch.cat([torch.arange(len(row.tokens)) for row in rows])[None] if packing else None  # [1, T]
    targets, inputs = _scored_positions(rows, masks, device)
    return MicroBatch(
        rows=rows,
        tokens=join_rows([row.tokens for row in rows], packing).to(device),  # [B, T]
        logits_to_keep=join_rows(masks, packing).to(device),  # [B, T], padding is False
        scored_masks=masks,
        targets=targets,
        inputs=inputs,
        position_ids=None if position_ids is None else position_ids.to(device),
    )


def _collate_tree(rows: list[TokenRow], shared: Sequence[int], score_all: bool, device: torch.device) -> MicroBatch:
    """Pack rows in tree order, each of which shares its first `shared` tokens with its predecessor."""
    masks = _scored_masks(rows, score_all)
    # Of each row, where its tokens are in the packed row, [T].
    columns: list[Tensor] = []
    count = 0
    for row, taken in zip(rows, [0, *shared[1:]], strict=True):
        new = torch.arange(count, count + len(row.tokens) - taken)
        columns.append(torch.cat([columns[-1][:taken], new]) if taken else new)
        count += len(new)
    tokens, position_ids = torch.zeros(count, dtype=torch.long), torch.zeros(count, dtype=torch.long)
    keep = torch.zeros(count, dtype=torch.bool)
    for row, at, mask in zip(rows, columns, masks, strict=True):
        tokens[at], position_ids[at] = row.tokens, torch.arange(len(at))
        keep[at[mask]] = True
    logit_indices = keep.cumsum(0) - 1
    targets, inputs = _scored_positions(rows, masks, device)
    return MicroBatch(
        rows=rows,
        tokens=tokens[None].to(device),  # [1, T]
        logits_to_keep=keep[None].to(device),
        scored_masks=masks,
        targets=targets,
        inputs=inputs,
        position_ids=position_ids[None].to(device),
        tree=build_segments([len(row.tokens) for row in rows], shared),
        logit_rows=torch.cat([logit_indices[at[mask]] for at, mask in zip(columns, masks, strict=True)]).to(device),
    )


def _scored_masks(rows: Sequence[TokenRow], score_all: bool) -> list[Tensor]:
    return [torch.ones_like(row.scored) if score_all else row.scored for row in rows]


def _scored_positions(rows: Sequence[TokenRow], masks: Sequence[Tensor], device: torch.device) -> ScoredPositions:
    """Targets and loss inputs of the scored positions, row after row."""
    pairs = list(zip(rows, masks, strict=True))
    inputs = {name: torch.cat([row.inputs[name][mask] for row, mask in pairs]).to(device) for name in rows[0].inputs}
    lengths = torch.tensor([int(mask.sum()) for mask in masks])
    inputs[SEQUENCE] = torch.repeat_interleave(torch.arange(len(rows)), lengths).to(device)  # [N]
    targets = torch.cat([row.targets[mask] for row, mask in pairs]).to(device)  # [N, K]
    return ScoredPositions(targets, inputs)


def join_rows(parts: list[Tensor], packing: bool) -> Tensor:
    """Tensors ``[T, ...]`` packed end to end as one row, or stacked and padded with 0."""
    return torch.cat(parts)[None] if packing else torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)
