"""Attention over packed rows: each row is attended to alone, by PyTorch's own kernel, so nothing is padded.

On a CPU one more call of the kernel costs little compared with what padding costs in every other layer. A GPU has
kernels that do the same in one call (`attention: flash_attention_2`).

Packed rows may share prefixes (`backends.planning.prefix_tree`): then every segment attends to itself, and everything
that continues it attends to it too, in one more call. The parts are merged by their log-sum-exps, as in ring attention
(Liu et al., 2023). Without a kernel that returns these, one mask over all tokens says which attend to which.
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

# The name under which transformers knows this implementation.
NAME = "sdpa_rows"
# Tokens of the rows with which a model is probed.
PROBE_LENGTH = 4
# Logits computed in float32 in another order differ by at most this share of the largest.
TOLERANCE = 1e-3
# Attention implementations that take any mask.
MASKED = ("sdpa", "eager")

ModelInput = Tensor | list[int] | list[Segment]


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
        key: Keys, of the shape of `query` with a divisor of its heads.
        value: Values, of the shape of `key`.
        attention_mask: For rows that are not packed.
        row_lengths: Tokens of each packed row, T in sum; None of rows that are not packed.
        tree: Instead, the segments of packed rows that share prefixes.
        cascade: Prefixes of rows that are decoded, stored outside of their keys and values.
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
        output: Tensor = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)[0]
        return output, None
    # Split along the T of [1, T, H, D]: the gradients of the parts are then concatenated in one copy.
    rows = (x.transpose(1, 2).split(row_lengths, dim=1) for x in (query, key, value))
    outputs = [
        sdpa_attention_forward(module, q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), None, **kwargs)[0]
        for q, k, v in zip(*rows, strict=True)
    ]
    return torch.cat(outputs, dim=1), None


class _TreeAttention(torch.autograd.Function):
    """Attention ``[1, H, T, D]`` of segments to themselves and to the segments that they continue."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, tree: list[Segment], scale: float) -> Tensor:
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        # Laid out as [1, T, H, D], as the next layer reads it.
        output = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
        log_sums = torch.empty(output.shape[:-1], dtype=torch.float32)  # [1, H, T]
        for start, end, _ in tree:
            segment = (x[:, :, start:end] for x in (query, key, value))
            output[:, :, start:end], log_sums[:, :, start:end] = kernel(*segment, 0.0, True, scale=scale)
        for start, end, subtree_end in tree:
            if end == subtree_end:
                continue
            prefix = (x[:, :, start:end] for x in (key, value))
            part, part_log_sums = kernel(query[:, :, end:subtree_end], *prefix, 0.0, False, scale=scale)
            so_far = log_sums[:, :, end:subtree_end]
            weight = torch.sigmoid(part_log_sums - so_far).unsqueeze(-1).to(part.dtype)
            output[:, :, end:subtree_end].lerp_(part, weight)
            log_sums[:, :, end:subtree_end] = torch.logaddexp(so_far, part_log_sums)
        ctx.save_for_backward(query, key, value, output, log_sums)
        ctx.tree, ctx.scale = tree, scale
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, output, log_sums = ctx.saved_tensors
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        dq, dk, dv = (torch.empty_like(x) for x in (query, key, value))

        def gradients(queries: slice, keys: slice, causal: bool) -> tuple[Tensor, Tensor, Tensor]:
            # Given output and log-sum-exp of the whole attention, the kernel computes the gradients of this part of it.
            whole = (x[:, :, queries] for x in (output, log_sums))
            keys_values = (x[:, :, keys] for x in (key, value))
            parts: tuple[Tensor, Tensor, Tensor] = kernel(
                grad[:, :, queries], query[:, :, queries], *keys_values, *whole, 0.0, causal, scale=ctx.scale
            )
            return parts

        for start, end, _ in ctx.tree:
            segment = slice(start, end)
            dq[:, :, segment], dk[:, :, segment], dv[:, :, segment] = gradients(segment, segment, True)
        for start, end, subtree_end in ctx.tree:
            if end < subtree_end:
                segment, continuations = slice(start, end), slice(end, subtree_end)
                dq_part, dk_part, dv_part = gradients(continuations, segment, False)
                dq[:, :, continuations] += dq_part
                dk[:, :, segment] += dk_part
                dv[:, :, segment] += dv_part
        return dq, dk, dv, None, None


def tree_mask(tree: Sequence[Segment], like: Tensor) -> Tensor:
    """Attention mask ``[1, 1, T, T]`` of a tree: 0 or -inf, in the dtype and on the device of `like`."""
    visible = torch.zeros(tree[-1].end, tree[-1].end, dtype=torch.bool, device=like.device)
    for start, end, subtree_end in tree:
        visible[start:subtree_end, start:end] = True
    mask = torch.zeros(visible.shape, dtype=like.dtype, device=like.device)
    return mask.masked_fill_(~visible.tril_(), -torch.inf)[None, None]


def model_inputs(
    model: CausalModel, row_lengths: list[int], position_ids: Tensor, tree: list[Segment] | None = None
) -> dict[str, ModelInput]:
    """Inputs of a forward pass in addition to the packed tokens ``[1, T]``.

    Args:
        model: The model.
        row_lengths: Tokens of each row.
        position_ids: The tokens' positions in their rows ``[1, T]``.
        tree: The rows' segments, if they share prefixes.
    """
    if model.config._attn_implementation != NAME:
        if tree is None:
            # Flash attention finds the rows by the positions.
            return {"position_ids": position_ids}
        weight = model.get_input_embeddings().get_parameter("weight")
        return {"position_ids": position_ids, "attention_mask": tree_mask(tree, weight)}
    # A finished mask, so that transformers builds none of T x T.
    no_mask = position_ids.new_empty(1, 1, 1, 1)
    rows: dict[str, ModelInput] = {"row_lengths": row_lengths} if tree is None else {"tree": tree}
    return {"position_ids": position_ids, "attention_mask": no_mask, **rows}


def enable(model: PreTrainedModel) -> bool:
    """Use this attention in a model; False, and nothing changed, if packed rows would not stay separate in it.

    That is a model whose attention has a window or an implementation of its own, or in which more than attention
    passes information from one position to another.
    """
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    plain = model._supports_attention_backend and model.config._attn_implementation == "sdpa"
    if not (plain and attention_alone(model) and attends_fully(model)):
        return False
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    if not _keeps_rows_separate(model):
        model.set_attn_implementation("sdpa")
        return False
    return True


def supports_shared_prefixes(model: PreTrainedModel) -> bool:
    """Whether continuations in this model can attend to a common prefix that is computed once."""
    masked = model.config._attn_implementation in (NAME, *MASKED)
    return masked and attention_alone(model) and attends_fully(model) and _shares_prefixes(model)


def _keeps_rows_separate(model: Any) -> bool:
    """Whether a packed row has the same logits whatever row precedes it: probed, since classes claim it wrongly."""
    row = list(range(PROBE_LENGTH))
    logits = [_probe(model, [*first, *row], [*row, *row], [PROBE_LENGTH, PROBE_LENGTH]) for first in (row, row[::-1])]
    return _relative_difference(logits[0], logits[1], PROBE_LENGTH) <= TOLERANCE


def _shares_prefixes(model: Any) -> bool:
    """Whether the logits of a continuation are the same beside another one of its prefix as alone: probed, too."""
    half, end = PROBE_LENGTH // 2, PROBE_LENGTH + PROBE_LENGTH // 2
    row = list(range(PROBE_LENGTH))
    tokens, position_ids = [*row[:half], *row[half:][::-1], *row[half:]], [*row, *row[half:]]
    lengths = [PROBE_LENGTH, PROBE_LENGTH]
    continuations = [Segment(half, PROBE_LENGTH, PROBE_LENGTH), Segment(PROBE_LENGTH, end, end)]
    shared, without = (
        _probe(model, tokens, position_ids, lengths, [prefix, *continuations])
        for prefix in (Segment(0, half, end), Segment(0, half, half))
    )
    alone = _probe(model, row, row, [PROBE_LENGTH], [Segment(0, PROBE_LENGTH, PROBE_LENGTH)])
    if shared is None:
        return False
    # 16-bit dtypes round more than float32, but far less than a missing prefix changes.
    is_float32 = model.dtype == torch.float32
    tolerance = TOLERANCE if is_float32 else _relative_difference(without, alone, half) / 4
    return _relative_difference(shared, alone, half) <= tolerance


@torch.no_grad()
def _probe(
    model: Any, tokens: list[int], position_ids: list[int], lengths: list[int], tree: list[Segment] | None = None
) -> Tensor | None:
    """Logits ``[T, V]`` of packed tokens; None of a model with its own attention, which does not know rows."""
    device = model.get_input_embeddings().weight.device
    ids, positions = (torch.tensor([values], device=device) for values in (tokens, position_ids))
    try:
        output = model(input_ids=ids, use_cache=False, **model_inputs(model, lengths, positions, tree))
    except (RuntimeError, TypeError, ValueError):
        return None
    logits: Tensor = output.logits[0].float()
    return logits


def _relative_difference(first: Tensor | None, second: Tensor | None, last: int) -> float:
    """The largest difference of logits at the last positions, as a share of the largest logit; inf without logits."""
    if first is None or second is None:
        return float("inf")
    difference = float((first[-last:] - second[-last:]).abs().max())
    return difference / float(second[-last:].abs().max()) if difference else 0.0
