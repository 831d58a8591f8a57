"""Attention over rows that lie end to end: each is attended to alone, by PyTorch's own kernel, so nothing is padded.

On a CPU a call of the kernel costs little compared with what padding costs in every other layer. A GPU has kernels that
do the same in one call (`attention: flash_attention_2`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from backends.local.model.causal import CausalModel
from backends.local.model.mixers import attends_fully, attention_alone

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NAME = "sdpa_rows"
# Tokens of the rows that are tried.
LENGTH = 4


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    row_lengths: list[int] | None = None,
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
        **kwargs: What else the interface passes on.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if row_lengths is None:
        mixed: Tensor = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)[0]
        return mixed, None
    # Cut along the T of [1, T, H, D]: the gradients of the parts then come together in one copy.
    cut = (x.transpose(1, 2).split(row_lengths, dim=1) for x in (query, key, value))
    parts = [
        sdpa_attention_forward(module, q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), None, **kwargs)[0]
        for q, k, v in zip(*cut, strict=True)
    ]
    return torch.cat(parts, dim=1), None


def inputs(model: CausalModel, row_lengths: list[int], positions: Tensor) -> dict[str, Tensor | list[int]]:
    """What a forward pass takes in addition to the packed tokens ``[1, T]``, with their places in their rows."""
    # Flash attention finds the rows by the positions.
    if model.config._attn_implementation != NAME:
        return {"position_ids": positions}
    # A finished mask, so that transformers makes none of T x T.
    no_mask = positions.new_empty(1, 1, 1, 1)
    return {"position_ids": positions, "row_lengths": row_lengths, "attention_mask": no_mask}


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


@torch.no_grad()
def _rows_stay_apart(model: Any) -> bool:
    """Whether a packed row comes out the same whatever lies in front of it: tried, since classes claim it wrongly."""
    device = model.get_input_embeddings().weight.device
    positions = torch.arange(LENGTH, device=device).repeat(2)[None]  # [1, 2 * LENGTH]
    row = torch.arange(LENGTH, device=device)
    after: list[Tensor] = []
    for before in (row, row.flip(0)):
        packed = torch.cat([before, row])[None]
        try:
            output = model(input_ids=packed, use_cache=False, **inputs(model, [LENGTH, LENGTH], positions))
        except (RuntimeError, TypeError, ValueError):
            # It has its own attention, which does not know rows.
            return False
        after.append(output.logits[0, LENGTH:].float())
    return float((after[0] - after[1]).abs().max()) <= 1e-3 * float(after[0].abs().max())
