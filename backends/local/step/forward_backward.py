"""One call of `forward` or `forward_backward`: micro-batch by micro-batch, and what to do when one does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tinker
import torch
from accelerate.utils.memory import should_reduce_batch_size
from tinker import types
from torch import Tensor
from torch.autograd.function import once_differentiable

from backends.local.model import packed_attention
from backends.local.model.architecture_traits import short_context
from backends.local.model.causal import CausalModel
from backends.local.resumable import Resumable
from backends.local.step import micro_batches
from backends.local.step.micro_batches import MicroBatch, TokenRow
from backends.local.step.noise import Noise
from backends.losses import Loss

if TYPE_CHECKING:
    from backends.local.engine import Engine

# A temporary is as large as this many rows of logits: it stays in the cache, and memory never holds all of them twice.
LOGIT_ROWS = 64


@dataclass(frozen=True, slots=True)
class StepRequest:
    """What one call computes of its rows.

    Attributes:
        loss: The loss.
        settings: Its settings, defaults included.
        backward: Whether gradients are asked for.
        noise: Noise of this call, which is for training alone; None for none.
    """

    loss: Loss
    settings: Mapping[str, float]
    backward: bool
    noise: Noise | None = None


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What came of the rows of one call.

    Attributes:
        loss: Summed over rows and tokens.
        logprobs: Of the targets, in the order of the rows: ``[T]``, or ``[T, K]`` for several targets at a position.
        gradients: Of the loss, one per parameter; None of a forward pass alone.
    """

    loss: float
    logprobs: list[Tensor]
    gradients: list[Tensor] | None


def run_rows(
    engine: Engine,
    model: CausalModel,
    parameters: Callable[[], Sequence[Tensor]],
    rows: Sequence[TokenRow],
    request: StepRequest,
) -> Resumable[StepOutput]:
    """Loss, log-probabilities and, if asked for, gradients of all rows; a step is a micro-batch.

    Targets of zero weight read 0.0 in a backward pass unless `unscored_logprobs` is set.

    Args:
        engine: Where it is computed.
        model: The model with the training client's weights, ready for training.
        parameters: Gives what the gradients are of: they may have been off the device between two steps.
        rows: Checked rows.
        request: What to compute.

    Raises:
        tinker.RequestFailedError: A single sequence does not fit in memory.
    """
    everything = not request.backward or engine.options.unscored_logprobs
    total, logprobs = 0.0, [Tensor()] * len(rows)
    places = {row.index: place for place, row in enumerate(rows)}
    gradients: list[Tensor] | None = None
    # Noise is each row's own, from its first token on.
    sharing = engine.base.sharing and request.noise is None
    pending = _cut(engine, rows, everything, sharing)
    while pending:
        batch = pending.pop(0)
        try:
            loss, scored, parts = run_micro_batch(engine, model, parameters(), batch, request)
        except RuntimeError as error:
            # With FSDP the other processes are amid the same pass and cannot begin it again.
            if not should_reduce_batch_size(error) or engine.options.fsdp:
                raise
            pending = _smaller(engine, [batch, *pending], everything, sharing)
            continue
        if parts is not None and not engine.loss_scale.undo(parts):
            pending.insert(0, batch)
            continue
        total += loss
        for row, lp in zip(batch.rows, _scatter(batch, scored), strict=True):
            logprobs[places[row.index]] = lp[:, 0] if row.one_dimensional else lp
        if parts is not None:
            gradients = add(gradients, parts)
        if pending:
            yield
    return StepOutput(total, logprobs, gradients)


def run_micro_batch(
    engine: Engine, model: CausalModel, parameters: Sequence[Tensor], batch: MicroBatch, request: StepRequest
) -> tuple[float, Tensor, list[Tensor] | None]:
    """Loss (summed), log-probabilities ``[N, K]`` and gradients of one micro-batch.

    Gradients come from `torch.autograd.grad`, not from `.backward()`: a micro-batch that runs out of memory half way
    leaves nothing behind.
    """
    backward, noise = request.backward, request.noise
    if not batch.keep.any():
        zeros = [torch.zeros_like(p) for p in parameters]
        return 0.0, torch.zeros(batch.targets.shape), zeros if backward else None
    with torch.set_grad_enabled(backward), noise.seeded(batch.rows, batch.tokens.device) if noise else nullcontext():
        logits = model(**_inputs(model, batch, noise), use_cache=False, logits_to_keep=batch.keep).logits  # [M, V]
        lp = target_logprobs(logits, batch.targets, batch.logit_rows)  # [N, K]
        loss = request.loss.formula(lp, batch.inputs, request.settings).sum()
        scaled = loss * engine.loss_scale.value
    parts = list(torch.autograd.grad(scaled, parameters, materialize_grads=True)) if backward else None
    return float(loss.detach()), lp.detach().float().cpu(), parts


def _inputs(model: CausalModel, batch: MicroBatch, noise: Noise | None) -> dict[str, packed_attention.Inputs]:
    ends: dict[str, packed_attention.Inputs] = {}
    if batch.positions is not None:
        lengths = [len(row.tokens) for row in batch.rows]
        ends = packed_attention.inputs(model, lengths, batch.positions, batch.tree)
    if noise is None or noise.neftune_alpha is None:
        return {"input_ids": batch.tokens, **ends}
    embedded = model.get_input_embeddings()(batch.tokens)  # [B, T, D]
    return {"inputs_embeds": embedded + noise.on_embeddings(batch, embedded), **ends}


def add(total: list[Tensor] | None, parts: list[Tensor]) -> list[Tensor]:
    """The sum of two gradients, of which the first may not be there yet."""
    return parts if total is None else list(torch._foreach_add(total, parts))


def target_logprobs(logits: Tensor, targets: Tensor, rows: Tensor | None = None) -> Tensor:
    """Log-probabilities ``[N, K]`` of the targets ``[N, K]``, in float32.

    Args:
        logits: ``[M, V]``.
        targets: Token ids.
        rows: Of which row of the logits each position's targets are ``[N]``; None: M is N, and each has its own.
    """
    lp: Tensor = _TargetLogprobs.apply(logits.float(), targets, rows)
    return lp


class _TargetLogprobs(torch.autograd.Function):
    """Log-softmax at the targets. Its backward pass turns the logits into their own gradient, in place."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, rows: Tensor | None) -> Tensor:
        total = torch.cat([part.logsumexp(dim=-1, keepdim=True) for part in logits.split(LOGIT_ROWS)])  # [M, 1]
        ctx.logits = logits
        ctx.save_for_backward(targets, total, rows)
        return logits.gather(1, targets) - total if rows is None else logits[rows[:, None], targets] - total[rows]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        targets, total, rows = ctx.saved_tensors
        gradient, ctx.logits = ctx.logits, None
        each = grad.sum(dim=1, keepdim=True)  # [N, 1]
        if rows is None:
            gradient.sub_(total).exp_().mul_(-each).scatter_add_(1, targets, grad)
        else:
            of_row = torch.zeros_like(total).index_add_(0, rows, each)
            gradient.sub_(total).exp_().mul_(-of_row)
            gradient.index_put_((rows[:, None].expand_as(targets), targets), grad, accumulate=True)
        return gradient, None, None


def _smaller(engine: Engine, batches: Sequence[MicroBatch], everything: bool, sharing: bool) -> list[MicroBatch]:
    """What to try after the first of these did not fit in memory: half the tokens; for one row, recomputed activations.

    The smaller budget stays, so that later steps do not run out of memory again.
    """
    if engine.base.device.type == "cuda":
        torch.cuda.empty_cache()
    failed = batches[0]
    if len(failed.rows) == 1:
        if engine.start_checkpointing():
            return list(batches)
        raise tinker.RequestFailedError(
            f"Out of memory on one sequence of {len(failed.rows[0].tokens)} tokens. Set local.quantization=nf4 "
            "and local.gradient_checkpointing=on, or shorten the data (data.max_tokens).",
            "local",
            types.RequestErrorCategory.User,
        )
    # More than the budget where its rows begin alike.
    engine.limit_micro_batches(min(failed.tokens.numel(), engine.micro_batch_tokens) // 2)
    rows = [row for batch in batches for row in batch.rows]
    return _cut(engine, rows, everything, sharing)


def _cut(engine: Engine, rows: Sequence[TokenRow], everything: bool, sharing: bool) -> list[MicroBatch]:
    return micro_batches.micro_batches(
        rows,
        engine.micro_batch_tokens,
        everything=everything,
        device=engine.base.device,
        packing=engine.base.packing,
        sharing=sharing,
        short_context=short_context(engine.base.model),
    )


def _scatter(batch: MicroBatch, logprobs: Tensor) -> list[Tensor]:
    """The kept positions' log-probabilities back in their rows ``[T, K]``; 0.0 where none was computed."""
    placed, start = [], 0
    for row, mask in zip(batch.rows, batch.kept, strict=True):
        count = int(mask.sum())
        lp = torch.zeros(row.targets.shape)
        lp[mask] = logprobs[start : start + count]
        placed.append(lp)
        start += count
    return placed
