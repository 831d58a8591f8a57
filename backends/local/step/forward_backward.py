"""One call of `forward` or `forward_backward`: micro-batch by micro-batch, with smaller ones when memory runs out."""

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
from backends.local.step.micro_batches import MicroBatch, TokenRow, make_micro_batches
from backends.local.step.noise import Noise
from backends.losses import Loss

if TYPE_CHECKING:
    from backends.local.engine import Engine

# Rows of logits that are exponentiated at once: the temporary stays in the processor's cache, and memory never holds
# all logits twice.
LOGIT_ROWS = 64


@dataclass(frozen=True, slots=True)
class StepRequest:
    """What one call computes.

    Attributes:
        loss: The loss.
        settings: Its settings, defaults included.
        backward: Whether to compute gradients.
        noise: Noise of this call, in training only; None for none.
    """

    loss: Loss
    settings: Mapping[str, float]
    backward: bool
    noise: Noise | None = None


@dataclass(frozen=True, slots=True)
class StepOutput:
    """The result of one call.

    Attributes:
        loss: Sum over rows and tokens.
        logprobs: Log-probabilities of the targets of each row, in order: ``[T]``, or ``[T, K]`` for several targets at
            a position.
        gradients: Gradients of the loss, one per parameter; None after a forward pass alone.
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
    """Loss, log-probabilities and, if requested, gradients of all rows; a step is a micro-batch.

    Targets of zero weight read 0.0 in a backward pass unless `unscored_logprobs` is set.

    Args:
        engine: The engine of the model.
        model: The model with the training client's weights, ready for training.
        parameters: Returns the trained parameters, which may have been off the device between two steps.
        rows: Checked rows.
        request: What to compute.

    Raises:
        tinker.RequestFailedError: A single sequence does not fit in memory.
    """
    score_all = not request.backward or engine.options.unscored_logprobs
    total, logprobs = 0.0, [Tensor()] * len(rows)
    output_index = {row.index: i for i, row in enumerate(rows)}
    gradients: list[Tensor] | None = None
    # Noise differs from row to row, from the first token on.
    sharing = engine.base.sharing and request.noise is None
    pending = _cut(engine, rows, score_all, sharing)
    while pending:
        batch = pending.pop(0)
        try:
            loss, batch_logprobs, batch_gradients = run_micro_batch(engine, model, parameters(), batch, request)
        except RuntimeError as error:
            # With FSDP the other processes are in the middle of the same pass and cannot repeat it.
            if not should_reduce_batch_size(error) or engine.options.fsdp:
                raise
            pending = _cut_smaller(engine, [batch, *pending], score_all, sharing)
            continue
        if batch_gradients is not None and not engine.loss_scale.undo(batch_gradients):
            pending.insert(0, batch)
            continue
        total += loss
        for row, lp in zip(batch.rows, _scatter(batch, batch_logprobs), strict=True):
            logprobs[output_index[row.index]] = lp[:, 0] if row.one_dimensional else lp
        if batch_gradients is not None:
            gradients = add_gradients(gradients, batch_gradients)
        if pending:
            yield
    return StepOutput(total, logprobs, gradients)


def run_micro_batch(
    engine: Engine, model: CausalModel, parameters: Sequence[Tensor], batch: MicroBatch, request: StepRequest
) -> tuple[float, Tensor, list[Tensor] | None]:
    """Loss (summed), log-probabilities ``[N, K]`` and gradients of one micro-batch.

    Gradients come from `torch.autograd.grad`, not from `.backward()`: a micro-batch that runs out of memory half-way
    leaves no partial gradients.
    """
    backward, noise = request.backward, request.noise
    if not batch.logits_to_keep.any():
        zeros = [torch.zeros_like(p) for p in parameters]
        return 0.0, torch.zeros(batch.targets.shape), zeros if backward else None
    with torch.set_grad_enabled(backward), noise.seeded(batch.rows, batch.tokens.device) if noise else nullcontext():
        inputs = _inputs(model, batch, noise)
        logits = model(**inputs, use_cache=False, logits_to_keep=batch.logits_to_keep).logits  # [M, V]
        lp = target_logprobs(logits, batch.targets, batch.logit_rows)  # [N, K]
        loss = request.loss.formula(lp, batch.inputs, request.settings).sum()
        scaled = loss * engine.loss_scale.value
    gradients = list(torch.autograd.grad(scaled, parameters, materialize_grads=True)) if backward else None
    return float(loss.detach()), lp.detach().float().cpu(), gradients


def _inputs(model: CausalModel, batch: MicroBatch, noise: Noise | None) -> dict[str, packed_attention.ModelInput]:
    packed: dict[str, packed_attention.ModelInput] = {}
    if batch.position_ids is not None:
        lengths = [len(row.tokens) for row in batch.rows]
        packed = packed_attention.model_inputs(model, lengths, batch.position_ids, batch.tree)
    if noise is None or noise.neftune_alpha is None:
        return {"input_ids": batch.tokens, **packed}
    embedded = model.get_input_embeddings()(batch.tokens)  # [B, T, D]
    return {"inputs_embeds": embedded + noise.embedding_noise(batch, embedded), **packed}


def add_gradients(total: list[Tensor] | None, gradients: list[Tensor]) -> list[Tensor]:
    """The sum of gradients, one per parameter; None is zero."""
    return gradients if total is None else list(torch._foreach_add(total, gradients))


def target_logprobs(logits: Tensor, targets: Tensor, rows: Tensor | None = None) -> Tensor:
    """Log-probabilities ``[N, K]`` of the targets ``[N, K]``, in float32.

    Args:
        logits: ``[M, V]``.
        targets: Token ids.
        rows: Row of the logits for each position's targets ``[N]``; None if M is N, in order.
    """
    lp: Tensor = _TargetLogprobs.apply(logits.float(), targets, rows)
    return lp


class _TargetLogprobs(torch.autograd.Function):
    """Log-softmax at the targets. The backward pass overwrites the logits with their gradient."""

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
        position_grad = grad.sum(dim=1, keepdim=True)  # [N, 1]
        if rows is None:
            gradient.sub_(total).exp_().mul_(-position_grad).scatter_add_(1, targets, grad)
        else:
            row_grad = torch.zeros_like(total).index_add_(0, rows, position_grad)  # [M, 1]
            gradient.sub_(total).exp_().mul_(-row_grad)
            gradient.index_put_((rows[:, None].expand_as(targets), targets), grad, accumulate=True)
        return gradient, None, None


def _cut_smaller(engine: Engine, batches: Sequence[MicroBatch], score_all: bool, sharing: bool) -> list[MicroBatch]:
    """Cut again after the first batch did not fit in memory: half the tokens; for one row, recomputed activations.

    The smaller budget remains, so that later steps do not run out of memory again.
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
    # The failed batch may exceed the budget where its rows share a prefix.
    engine.limit_micro_batches(min(failed.tokens.numel(), engine.micro_batch_tokens) // 2)
    rows = [row for batch in batches for row in batch.rows]
    return _cut(engine, rows, score_all, sharing)


def _cut(engine: Engine, rows: Sequence[TokenRow], score_all: bool, sharing: bool) -> list[MicroBatch]:
    return make_micro_batches(
        rows,
        engine.micro_batch_tokens,
        score_all=score_all,
        device=engine.base.device,
        packing=engine.base.packing,
        sharing=sharing,
        short_context=short_context(engine.base.model),
    )


def _scatter(batch: MicroBatch, logprobs: Tensor) -> list[Tensor]:
    """The log-probabilities ``[N, K]`` by row, each ``[T, K]``; 0.0 at positions that are not scored."""
    by_row, start = [], 0
    for row, mask in zip(batch.rows, batch.scored_masks, strict=True):
        count = int(mask.sum())
        lp = torch.zeros(row.targets.shape)
        lp[mask] = logprobs[start : start + count]
        by_row.append(lp)
        start += count
    return by_row
