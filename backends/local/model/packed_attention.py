"""Attention over rows that lie end to end: each is attended to alone, by PyTorch's own kernel, so nothing is padded.

On a CPU a call of the kernel costs little compared with what padding costs in every other layer. A GPU has kernels that
do the same in one call (`attention: flash_attention_2`).

Rows that begin alike may have their beginning in common (`backends.planning.prefix_tree`): then every segment attends
to itself, and what continues it attends to it too, by one more call for all of that. The parts are put together by
their log-sum-exp, as ring attention does (Liu et al., 2023). Where there is no kernel that returns it, one mask over
all tokens says who attends to whom.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from backends.local.model.architecture_traits import attends_fully, attention_alone
from backends.local.model.causal import CausalModel
from backends.local.model.shared_attention import CascadeLevel, cascade_attention
from backends.planning.prefix_tree import Segment

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "sdpa_rows"
# Tokens of the rows that are tried.
LENGTH = 4
# What logits that are computed in another order in float32 differ by, at most, as a share of the largest.
SAME = 1e-3
# Attention kernels that take any mask.
MASKED = ("sdpa", "eager")

Inputs = Tensor | list[int] | list[Segment]


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    row_lengths: list[int] | None = None,
    tree: list[Segment] | None = None,
    cascade: list[CascadeLevel] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers' interface wants it, over ``[B, H, T, D]``, to ``[B, T, H, D]``.

    Args:
        module: The attention layer.
        query: ``[1, H, T, D]`` of packed rows, ``[B, H, T, D]`` of others.
        key: The same of fewer heads.
        value: Like `key`.
        attention_mask: For rows that are not packed.
        row_lengths: Tokens of each packed row, together T; None of rows that are not packed.
        tree: Instead, the segments of packed rows that have beginnings in common.
        cascade: Beginnings of rows that are sampled, held outside their keys and values.
        **kwargs: What else the interface passes on.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    if cascade is not None:
        layer: Any = module.layer_idx
        return cascade_attention(query, key, value, attention_mask, cascade, layer, scale), None
    if tree is not None:
        if query.shape[-1] == value.shape[-1] and not kwargs.get("dropout"):
            return _TreeAttention.apply(query, key, value, tree, scale).transpose(1, 2), None
        attention_mask = tree_mask(tree, query)
    if tree is not None or row_lengths is None:
        mixed: Tensor = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)[0]
        return mixed, None
    # Cut along the T of [1, T, H, D]: the gradients of the parts then come together in one copy.
    cut = (x.transpose(1, 2).split(row_lengths, dim=1) for x in (query, key, value))
    parts = [
        sdpa_attention_forward(module, q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), None, **kwargs)[0]
        for q, k, v in zip(*cut, strict=True)
    ]
    return torch.cat(parts, dim=1), None


class _TreeAttention(torch.autograd.Function):
    """Attention ``[1, H, T, D]`` of segments to themselves and to what they continue."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, tree: list[Segment], scale: float) -> Tensor:
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        # Laid out [1, T, H, D], as the next layer reads it.
        mixed = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
        total = torch.empty(mixed.shape[:-1], dtype=torch.float32)  # [1, H, T]
        for start, end, _ in tree:
            own = (x[:, :, start:end] for x in (query, key, value))
            mixed[:, :, start:end], total[:, :, start:end] = kernel(*own, 0.0, True, scale=scale)
        for start, end, subtree_end in tree:
            if end == subtree_end:
                continue
            seen = (x[:, :, start:end] for x in (key, value))
            part, sums = kernel(query[:, :, end:subtree_end], *seen, 0.0, False, scale=scale)
            so_far = total[:, :, end:subtree_end]
            share = torch.sigmoid(sums - so_far).unsqueeze(-1).to(part.dtype)
            mixed[:, :, end:subtree_end].lerp_(part, share)
            total[:, :, end:subtree_end] = torch.logaddexp(so_far, sums)
        ctx.save_for_backward(query, key, value, mixed, total)
        ctx.tree, ctx.scale = tree, scale
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, mixed, total = ctx.saved_tensors
        dq, dk, dv = (torch.empty_like(x) for x in (query, key, value))

        def part(queries: slice, keys: slice, causal: bool) -> tuple[Tensor, Tensor, Tensor]:
            # With the whole's output and log-sum-exp, the kernel's gradients are those of this part of it.
            of_query = (x[:, :, queries] for x in (mixed, total))
            seen = (x[:, :, keys] for x in (key, value))
            found: tuple[Tensor, Tensor, Tensor] = kernel(
                grad[:, :, queries], query[:, :, queries], *seen, *of_query, 0.0, causal, scale=ctx.scale
            )
            return found

        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        for start, end, _ in ctx.tree:
            own = slice(start, end)
            dq[:, :, own], dk[:, :, own], dv[:, :, own] = part(own, own, True)
        for start, end, subtree_end in ctx.tree:
            if end < subtree_end:
                parts = part(slice(end, subtree_end), slice(start, end), False)
                for total_, found, at in zip(
                    (dq, dk, dv), parts, (slice(end, subtree_end), *[slice(start, end)] * 2), strict=True
                ):
                    total_[:, :, at] += found
        return dq, dk, dv, None, None


def tree_mask(tree: Sequence[Segment], like: Tensor) -> Tensor:
    """Who attends to whom ``[1, 1, T, T]``: 0 or -inf, in the dtype and on the device of `like`."""
    sees = torch.zeros(tree[-1].end, tree[-1].end, dtype=torch.bool, device=like.device)
    for start, end, subtree_end in tree:
        sees[start:subtree_end, start:end] = True
    mask = torch.zeros(sees.shape, dtype=like.dtype, device=like.device)
    return mask.masked_fill_(~sees.tril_(), -torch.inf)[None, None]


def inputs(
    model: CausalModel, row_lengths: list[int], positions: Tensor, tree: list[Segment] | None = None
) -> dict[str, Inputs]:
    """What a forward pass takes in addition to the packed tokens ``[1, T]``.

    Args:
        model: The model.
        row_lengths: Tokens of each row.
        positions: The tokens' places in their rows ``[1, T]``.
        tree: The rows' segments, if they have beginnings in common.
    """
    if model.config._attn_implementation != NAME:
        if tree is None:
            # Flash attention finds the rows by the positions.
            return {"position_ids": positions}
        weight = model.get_input_embeddings().get_parameter("weight")
        return {"position_ids": positions, "attention_mask": tree_mask(tree, weight)}
    # A finished mask, so that transformers makes none of T x T.
    no_mask = positions.new_empty(1, 1, 1, 1)
    rows: dict[str, Inputs] = {"row_lengths": row_lengths} if tree is None else {"tree": tree}
    return {"position_ids": positions, "attention_mask": no_mask, **rows}


def use(model: PreTrainedModel) -> bool:
    """Let a model attend by rows; False for one whose rows would not stay apart so.

    That is one whose attention looks at no more than a window or is its own, or in which more than attention takes
    information from one position to another.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    plain = model._supports_attention_backend and model.config._attn_implementation == "sdpa"
    if not (plain and attention_alone(model) and attends_fully(model)):
        return False
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    if not _rows_stay_apart(model):
        model.set_attn_implementation("sdpa")
        return False
    return True


def may_share(model: PreTrainedModel) -> bool:
    """Whether continuations in this model can attend to a beginning that they have in common."""
    masked = model.config._attn_implementation in (NAME, *MASKED)
    return masked and attention_alone(model) and attends_fully(model) and _beginnings_are_shared(model)


def _rows_stay_apart(model: Any) -> bool:
    """Whether a packed row comes out the same whatever lies in front of it: tried, since classes claim it wrongly."""
    row = list(range(LENGTH))
    after = [_try(model, [*before, *row], [*row, *row], [LENGTH, LENGTH]) for before in (row, row[::-1])]
    return _difference(after[0], after[1], LENGTH) <= SAME


def _beginnings_are_shared(model: Any) -> bool:
    """Whether a continuation comes out the same next to another one of its beginning as alone: tried, too."""
    half, end = LENGTH // 2, LENGTH + LENGTH // 2
    row = list(range(LENGTH))
    tokens, places = [*row[:half], *row[half:][::-1], *row[half:]], [*row, *row[half:]]
    continuations = [Segment(half, LENGTH, LENGTH), Segment(LENGTH, end, end)]
    shared, without = (
        _try(model, tokens, places, [LENGTH, LENGTH], [beginning, *continuations])
        for beginning in (Segment(0, half, end), Segment(0, half, half))
    )
    alone = _try(model, row, row, [LENGTH], [Segment(0, LENGTH, LENGTH)])
    if shared is None:
        return False
    # Sixteen bits round by more than float32, but by little beside what the beginning makes of a continuation.
    allowed = SAME if model.dtype == torch.float32 else _difference(without, alone, half) / 4
    return _difference(shared, alone, half) <= allowed


@torch.no_grad()
def _try(
    model: Any, tokens: list[int], places: list[int], lengths: list[int], tree: list[Segment] | None = None
) -> Tensor | None:
    """Logits ``[T, V]`` of packed tokens; None of a model with its own attention, which does not know rows."""
    device = model.get_input_embeddings().weight.device
    ids, positions = (torch.tensor([numbers], device=device) for numbers in (tokens, places))
    try:
        output = model(input_ids=ids, use_cache=False, **inputs(model, lengths, positions, tree))
    except (RuntimeError, TypeError, ValueError):
        return None
    logits: Tensor = output.logits[0].float()
    return logits


def _difference(one: Tensor | None, other: Tensor | None, last: int) -> float:
    """By how much the logits of the last N positions differ at most, as a share of the largest; inf without any."""
    if one is None or other is None:
        return float("inf")
    apart = float((one[-last:] - other[-last:]).abs().max())
    return apart / float(other[-last:].abs().max()) if apart else 0.0
