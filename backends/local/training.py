"""The local training client: Tinker's training verbs on one adapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tinker
import torch
from accelerate.utils.memory import should_reduce_batch_size
from tinker import types
from torch import Tensor

from backends.local import batching
from backends.local.adapter import LoraSpec
from backends.local.batching import MicroBatch, Row
from backends.local.checkpoints import Checkpoint, CheckpointStore
from backends.local.engine import Engine, Snapshot
from backends.local.executor import LocalClientFuture, LocalFuture
from backends.local.losses import LOSSES
from backends.local.optim import Optimizer
from backends.local.sampling import LocalSamplingClient

Config = dict[str, float]


class LocalTrainingClient:
    """One adapter in training; made by `LocalServiceClient`. Its methods have the SDK's names, types and meaning."""

    def __init__(self, engine: Engine, store: CheckpointStore, model_id: str, spec: LoraSpec) -> None:
        self.model_id = model_id
        self.engine = engine
        self._store = store
        self._spec = spec
        self._gradients: list[Tensor] | None = None
        self._snapshots = 0

    def initialise(self, checkpoint: Checkpoint | None = None) -> None:
        """Create the adapter, from a checkpoint if given (on the device thread)."""
        adapters = self.engine.adapters
        adapters.add(self.model_id, self._spec, checkpoint.adapter if checkpoint else None)
        self._parameters = list(adapters.parameters(self.model_id).values())
        self._optimizer = Optimizer(self._parameters)
        if checkpoint and checkpoint.optimizer is not None:
            self._optimizer.load_state(checkpoint.optimizer)

    def forward(
        self, data: Sequence[types.Datum], loss_fn: str, loss_fn_config: Config | None = None
    ) -> LocalFuture[types.ForwardBackwardOutput]:
        """The loss and the log-probability of every target; no gradient."""
        return self._submit(data, loss_fn, loss_fn_config, backward=False)

    def forward_backward(
        self, data: Sequence[types.Datum], loss_fn: str, loss_fn_config: Config | None = None
    ) -> LocalFuture[types.ForwardBackwardOutput]:
        """The loss, with its gradient added to what has accumulated.

        Targets of zero weight read 0.0 in the returned log-probabilities unless `unscored_logprobs` is set.
        """
        return self._submit(data, loss_fn, loss_fn_config, backward=True)

    def _submit(
        self, data: Sequence[types.Datum], loss_fn: str, config: Config | None, *, backward: bool
    ) -> LocalFuture[types.ForwardBackwardOutput]:
        rows = batching.make_rows(data, loss_fn, self.engine.vocabulary, self.engine.base.max_length)
        return self.engine.executor.submit(self._forward_backward, rows, loss_fn, config or {}, backward)

    def forward_backward_custom(
        self,
        data: Sequence[types.Datum],
        loss_fn: Callable[[list[types.Datum], list[Tensor]], tuple[Tensor, dict[str, float]]],
    ) -> LocalFuture[types.ForwardBackwardOutput]:
        """Any differentiable loss of the targets' log-probabilities.

        As the SDK does it: the function gets the data and one tensor of log-probabilities per datum, with gradients,
        and returns the loss and metrics; -dloss/dlogprob then become the weights of a cross-entropy.
        """
        plain = [_with_weights(datum, None) for datum in data]
        rows = batching.make_rows(plain, "cross_entropy", self.engine.vocabulary, self.engine.base.max_length)

        def run() -> types.ForwardBackwardOutput:
            output = self._forward_backward(rows, "cross_entropy", {}, backward=False)
            logprobs = [record["logprobs"].to_torch().requires_grad_() for record in output.loss_fn_outputs]
            loss, metrics = loss_fn(list(data), logprobs)
            gradients = torch.autograd.grad(loss, logprobs, allow_unused=True)
            weighted = [
                _with_weights(datum, torch.zeros_like(lp) if gradient is None else -gradient)
                for datum, lp, gradient in zip(data, logprobs, gradients, strict=True)
            ]
            scored = batching.make_rows(weighted, "cross_entropy", self.engine.vocabulary, self.engine.base.max_length)
            surrogate = self._forward_backward(scored, "cross_entropy", {}, backward=True)
            sums = {"loss:sum": float(loss.detach()), "surrogate_loss:sum": surrogate.metrics["loss:sum"]}
            return types.ForwardBackwardOutput(
                loss_fn_output_type=output.loss_fn_output_type,
                loss_fn_outputs=output.loss_fn_outputs,
                metrics={**metrics, **sums},
            )

        return self.engine.executor.submit(run)

    def _forward_backward(
        self, rows: list[Row], loss_fn: str, config: Config, backward: bool
    ) -> types.ForwardBackwardOutput:
        """All micro-batches of one call; the gradient is kept only when every one of them has succeeded."""
        engine = self.engine
        everything = not backward or engine.options.unscored_logprobs
        total, outputs = 0.0, [Tensor()] * len(rows)
        gradients: list[Tensor] | None = None
        pending = batching.micro_batches(
            rows, engine.micro_batch_tokens, everything=everything, device=engine.base.device
        )
        with engine.training(self.model_id) as model:
            while pending:
                engine.executor.check()
                batch = pending.pop(0)
                try:
                    loss, logprobs, parts = self._micro_batch(model, batch, loss_fn, config, backward)
                except RuntimeError as error:
                    if not should_reduce_batch_size(error):
                        raise
                    pending[:0] = self._smaller(batch, everything)
                    continue
                if parts is not None and not self._unscale(parts):
                    pending.insert(0, batch)
                    continue
                total += loss
                for row, lp in zip(batch.rows, _scatter(batch, logprobs), strict=True):
                    outputs[row.index] = lp[:, 0] if row.one_dimensional else lp
                if parts is not None:
                    gradients = parts if gradients is None else list(torch._foreach_add(gradients, parts))
        if gradients is not None:
            kept = self._gradients
            self._gradients = gradients if kept is None else list(torch._foreach_add(kept, gradients))
        return types.ForwardBackwardOutput(
            loss_fn_output_type="ArrayRecord",
            loss_fn_outputs=[{"logprobs": types.TensorData.from_torch(lp)} for lp in outputs],
            metrics={"loss:sum": total},
        )

    def _micro_batch(
        self, model: Any, batch: MicroBatch, loss_fn: str, config: Config, backward: bool
    ) -> tuple[float, Tensor, list[Tensor] | None]:
        """Loss (summed), log-probabilities ``[N, K]`` and gradients of one micro-batch.

        Gradients come from `torch.autograd.grad`, not from `.backward()`: a micro-batch that runs out of memory half
        way leaves nothing behind.
        """
        if not batch.keep.any():
            zeros = [torch.zeros_like(p) for p in self._parameters]
            return 0.0, torch.zeros(batch.targets.shape), zeros if backward else None
        with torch.set_grad_enabled(backward):
            logits = model(input_ids=batch.tokens, use_cache=False, logits_to_keep=batch.keep).logits  # [N, V]
            lp = _target_logprobs(logits, batch.targets)  # [N, K]
            loss = LOSSES[loss_fn](lp, batch.inputs, config).sum()
            scaled = loss * self.engine.loss_scale
        parts = list(torch.autograd.grad(scaled, self._parameters)) if backward else None
        return float(loss.detach()), lp.detach().float().cpu(), parts

    def _unscale(self, parts: list[Tensor]) -> bool:
        """Undo the loss scale in place; False, with a smaller scale to try again, if a float16 gradient overflowed."""
        scale = self.engine.loss_scale
        if scale == 1.0:
            return True
        if not all(bool(torch.isfinite(part).all()) for part in parts):
            self.engine.loss_scale = scale / 2
            return False
        torch._foreach_div_(parts, scale)
        return True

    def _smaller(self, batch: MicroBatch, everything: bool) -> list[MicroBatch]:
        """What to try after a batch did not fit in memory: its halves; for one row, recomputed activations."""
        engine = self.engine
        if engine.base.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(batch.rows) == 1:
            if engine.start_checkpointing():
                return [batch]
            raise tinker.RequestFailedError(
                f"Out of memory on one sequence of {len(batch.rows[0].tokens)} tokens. Set local.quantization=nf4 "
                "and local.gradient_checkpointing=on, or shorten the data (data.max_tokens).",
                "local",
                types.RequestErrorCategory.User,
            )
        half, device = len(batch.rows) // 2, engine.base.device
        return [
            batching.micro_batches(rows, 2**62, everything=everything, device=device)[0]
            for rows in (batch.rows[:half], batch.rows[half:])
        ]

    def optim_step(
        self, optim_params: types.AdamParams | None = None, *, adam_params: types.AdamParams | None = None
    ) -> LocalFuture[types.OptimStepResponse]:
        """One AdamW step with the accumulated gradient; reports its norm before clipping. `adam_params`: the old name.

        Raises (from the future):
            ValueError: No gradient has accumulated, it is not finite, or a hyperparameter is out of range.
        """
        params = optim_params or adam_params
        if not isinstance(params, types.AdamParams):
            raise TypeError(f"optim_step takes AdamParams, not {type(params).__name__}; AdamW is the optimiser here.")
        return self.engine.executor.submit(self._optim_step, params)

    def _optim_step(self, params: types.AdamParams) -> types.OptimStepResponse:
        gradients, self._gradients = self._gradients, None
        if gradients is None:
            raise ValueError("optim_step needs a forward_backward since the last step; no gradient has accumulated.")
        norm = self._optimizer.step(gradients, params)
        return types.OptimStepResponse(metrics={"grad_norm:mean": norm})

    def save_state(
        self,
        name: str,
        ttl_seconds: int | None = None,
        overwrite: bool = False,
        user_metadata: dict[str, str] | None = None,
    ) -> LocalFuture[types.SaveWeightsResponse]:
        """Save the adapter and the optimiser. Local checkpoints do not expire; `ttl_seconds` is ignored."""

        def run() -> types.SaveWeightsResponse:
            checkpoint = self._checkpoint(self._optimizer.state())
            return types.SaveWeightsResponse(
                path=self._store.write(self.model_id, "training", name, checkpoint, overwrite=overwrite)
            )

        return self.engine.executor.submit(run)

    def save_weights_for_sampler(
        self, name: str, ttl_seconds: int | None = None, user_metadata: dict[str, str] | None = None
    ) -> LocalFuture[types.SaveWeightsForSamplerResponse]:
        """Save the adapter alone, as a directory that plain PEFT loads."""

        def run() -> types.SaveWeightsForSamplerResponse:
            path = self._store.write(self.model_id, "sampler", name, self._checkpoint(None))
            return types.SaveWeightsForSamplerResponse(path=path)

        return self.engine.executor.submit(run)

    def _checkpoint(self, optimizer: dict[str, Tensor] | None) -> Checkpoint:
        return Checkpoint(
            base_model=self.engine.base.name,
            spec=self._spec,
            adapter=self.engine.adapters.state(self.model_id),
            optimizer=optimizer,
            target_modules=self.engine.adapters.targets(self._spec),
        )

    def save_weights_and_get_sampling_client(
        self,
        name: str | None = None,
        retry_config: Any = None,
        record_stability_info: bool = False,
        kind: str = "snapshot",
    ) -> LocalClientFuture[LocalSamplingClient]:
        """A sampling client of the weights at this point; nothing is written to the disk.

        The other arguments are for the hosted service: a name (deprecated there), retries, and where it samples.
        """

        def run() -> LocalSamplingClient:
            state = self.engine.adapters.state(self.model_id)
            return LocalSamplingClient(self.engine, Snapshot(self._spec, state))

        return self.engine.executor.submit_client(run)

    def get_info(self) -> types.GetInfoResponse:
        """The model's id, base model and rank."""
        base = self.engine.base
        return types.GetInfoResponse(
            model_id=self.model_id,
            model_data=types.ModelData(
                arch=base.model.config.model_type, model_name=base.name, tokenizer_id=base.location
            ),
            is_lora=True,
            lora_rank=self._spec.rank,
            model_name=base.name,
        )

    def get_tokenizer(self) -> Any:
        """The tokenizer of the base model."""
        return self.engine.base.tokenizer


def _target_logprobs(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probabilities ``[N, K]`` of the targets ``[N, K]`` under logits ``[N, V]``, in float32."""
    if targets.shape[1] == 1:
        return -torch.nn.functional.cross_entropy(logits.float(), targets[:, 0], reduction="none")[:, None]
    return torch.log_softmax(logits.float(), dim=-1).gather(1, targets)


def _scatter(batch: MicroBatch, logprobs: Tensor) -> list[Tensor]:
    """The kept positions' log-probabilities back in their rows ``[T, K]``; 0.0 where none was computed."""
    keep = batch.keep.cpu()
    placed, start = [], 0
    for row, mask in zip(batch.rows, keep, strict=True):
        mask = mask[: len(row.tokens)]
        count = int(mask.sum())
        lp = torch.zeros(row.targets.shape)
        lp[mask] = logprobs[start : start + count]
        placed.append(lp)
        start += count
    return placed


def _with_weights(datum: types.Datum, weights: Tensor | None) -> types.Datum:
    """The datum as a cross-entropy datum: its own targets, these weights or ones."""
    targets = datum.loss_fn_inputs["target_tokens"]
    if weights is None:
        weights = torch.ones(targets.shape or [len(targets.data)])
    return types.Datum(
        model_input=datum.model_input,
        loss_fn_inputs={"target_tokens": targets, "weights": types.TensorData.from_torch(weights.float())},
    )
