"""The local training client: Tinker's training verbs on one adapter."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import tinker
import torch
from tinker import types
from tinker.lib.public_interfaces.custom_loss import check_loss_inputs, run_loss_handle
from torch import Tensor

from backends.checkpoint_paths import CheckpointPath, Kind
from backends.local.async_aliases import awaited, submitted
from backends.local.checkpoints.files import Checkpoint, check_base, check_kind
from backends.local.checkpoints.store import CheckpointStore
from backends.local.engine import Engine, Snapshot
from backends.local.futures import LocalClientFuture, LocalFuture
from backends.local.sampling import LocalSamplingClient, new_id, refuse_stability_info
from backends.local.step import micro_batches
from backends.local.step.forward_backward import add, run_rows
from backends.local.step.losses import check_config
from backends.local.step.micro_batches import Row
from backends.local.step.noise import Noise
from backends.local.step.optim import Optimizer
from backends.local.weights.full import FullSpec
from backends.local.weights.lora import LoraSpec

if TYPE_CHECKING:
    from tinker.lib.retry_handler import RetryConfig

Config = Mapping[str, float | str]
CustomLoss = Callable[[list[types.Datum], list[Tensor]], tuple[Tensor, dict[str, float]]]


class LocalTrainingClient:
    """An adapter, or a whole model, in training; made by `LocalServiceClient`. Its methods are the SDK's."""

    def __init__(
        self,
        engine: Engine,
        store: CheckpointStore,
        model_id: str,
        spec: LoraSpec | FullSpec,
        user_metadata: dict[str, str] | None = None,
    ) -> None:
        self.model_id = model_id
        self.engine = engine
        self._store = store
        self._spec = spec
        self._user_metadata = user_metadata
        self._gradients: list[Tensor] | None = None
        self._step = 0  # optimiser steps
        self._calls = 0  # of forward_backward since the last of them
        if engine.team.rank == 0:
            weakref.finalize(self, engine.release, model_id)

    def initialise(self, checkpoint: Checkpoint | None = None) -> None:
        """Create what is trained, from a checkpoint if given (on the device thread)."""
        self.engine.adapters.add(self.model_id, self._spec, checkpoint.weights if checkpoint else None)
        self._parameters: dict[str, Tensor] = self.engine.adapters.parameters(self.model_id)
        self._start(checkpoint)

    def _start(self, checkpoint: Checkpoint | None) -> None:
        """Begin with no gradient and the checkpoint's optimiser, or a fresh one."""
        self._gradients = None
        self._optimizer = Optimizer(self._parameters, self.engine.options)
        self._step = self._calls = 0
        if checkpoint and checkpoint.optimizer is not None:
            self._optimizer.load_state(checkpoint.optimizer)
            self._step = checkpoint.step

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
        rows, settings = self._rows(data, loss_fn), check_config(loss_fn, config or {})
        return self.engine.executor.submit(self._forward_backward, rows, loss_fn, settings, backward)

    def forward_backward_custom(
        self,
        data: Sequence[types.Datum],
        loss_fn: CustomLoss | tinker.LossHandle,
        *,
        loss_type_input: Literal["logprobs"] | None = None,
    ) -> LocalFuture[types.ForwardBackwardOutput]:
        """Any differentiable loss of the targets' log-probabilities.

        As the SDK does it: the function gets the data and one tensor of log-probabilities per datum, with gradients,
        and returns the loss and metrics; -dloss/dlogprob then become the weights of a cross-entropy, whose gradient is
        exactly that of the loss.

        Args:
            data: What to train on.
            loss_fn: The function, or a handle from `create_custom_loss`.
            loss_type_input: "logprobs" or None; the loss always receives log-probabilities.

        Raises:
            ValueError: Data, loss or handle are not fit for each other; also from the future, if the loss does not
                depend on every datum's log-probabilities.
        """
        if loss_type_input not in (None, "logprobs"):
            raise ValueError(f"loss_type_input is {loss_type_input!r}; the loss always receives logprobs.")
        if isinstance(loss_fn, tinker.LossHandle):
            self._check_handle(loss_fn, data)
        rows = self._rows([_with_weights(datum, None) for datum in data], "cross_entropy")

        def run() -> types.ForwardBackwardOutput:
            output = self._forward_backward(rows, "cross_entropy", {}, backward=False)
            logprobs = [record["logprobs"].to_torch().requires_grad_() for record in output.loss_fn_outputs]
            if isinstance(loss_fn, tinker.LossHandle):
                loss, metrics = run_loss_handle(loss_fn, list(data), logprobs)
            else:
                loss, metrics = loss_fn(list(data), logprobs)
            slopes = torch.autograd.grad(loss, logprobs, allow_unused=True)
            weighted = []
            for datum, slope in zip(data, slopes, strict=True):
                if slope is None:
                    raise ValueError("No gradient computed for logprob tensor")
                weighted.append(_with_weights(datum, -slope))
            surrogate = self._forward_backward(
                self._rows(weighted, "cross_entropy"), "cross_entropy", {}, backward=True
            )
            sums = {"loss:sum": float(loss.detach()), "surrogate_loss:sum": surrogate.metrics["loss:sum"]}
            return types.ForwardBackwardOutput(
                loss_fn_output_type=output.loss_fn_output_type,
                loss_fn_outputs=output.loss_fn_outputs,
                metrics={**metrics, **sums},
            )

        return self.engine.executor.submit(run)

    def _check_handle(self, handle: tinker.LossHandle, data: Sequence[types.Datum]) -> None:
        session = self.model_id.partition(":")[0]
        if handle.session_id != session:
            raise ValueError(
                f"LossHandle {handle.name!r} was created in session {handle.session_id}, not in {session}."
            )
        check_loss_inputs(handle, list(data))

    def _rows(self, data: Sequence[types.Datum], loss_fn: str) -> list[Row]:
        return micro_batches.make_rows(data, loss_fn, self.engine.vocabulary, self.engine.base.max_length)

    def _forward_backward(
        self, rows: list[Row], loss_fn: str, config: Mapping[str, float], backward: bool
    ) -> types.ForwardBackwardOutput:
        """One call's rows, dealt out to the processes; their gradient is kept only when every row has succeeded."""
        team, kept = self.engine.team, []
        team.tell("_forward_backward", self.model_id, rows, loss_fn, config, backward)
        mine = team.share(rows, lambda row: len(row.tokens))
        parameters = list(self._parameters.values())

        def work() -> tuple[float, dict[int, Tensor]]:
            noise = self._noise() if backward else None
            passed = run_rows(
                self.engine, self.model_id, parameters, mine, loss_fn, config, backward=backward, noise=noise
            )
            kept.append(passed.gradients)
            return passed.loss, {row.index: lp for row, lp in zip(mine, passed.logprobs, strict=True)}

        parts = team.agree(work)
        if backward:
            self._gradients = add(self._gradients, kept[0] or [torch.zeros_like(p) for p in parameters])
            self._calls += 1
        logprobs = {index: lp for _, found in parts for index, lp in found.items()}
        return types.ForwardBackwardOutput(
            loss_fn_output_type="ArrayRecord",
            loss_fn_outputs=[{"logprobs": types.TensorData.from_torch(logprobs[row.index])} for row in rows],
            metrics={"loss:sum": sum(loss for loss, _ in parts)},
        )

    def _noise(self) -> Noise | None:
        alpha, dropout = self.engine.options.neftune_alpha, getattr(self._spec, "dropout", 0.0)
        if alpha is None and not dropout:
            return None
        return Noise((self._spec.seed, self._step, self._calls), alpha, dropout)

    def optim_step(
        self, optim_params: types.OptimParams | None = None, *, adam_params: types.AdamParams | None = None
    ) -> LocalFuture[types.OptimStepResponse]:
        """One AdamW step with the accumulated gradient; reports its norm before clipping. `adam_params`: the old name.

        Raises:
            TypeError: No `AdamParams` were given; AdamW is the optimiser here.
            ValueError: Both names were given; from the future: no gradient has accumulated, it is not finite, or a
                hyperparameter is out of range.
        """
        if optim_params is not None and adam_params is not None:
            raise ValueError("Specify optim_params or legacy adam_params, not both")
        params = optim_params or adam_params
        if not isinstance(params, types.AdamParams):
            raise TypeError(f"optim_step takes AdamParams, not {type(params).__name__}; AdamW is the optimiser here.")
        return self.engine.executor.submit(self._optim_step, params)

    def _optim_step(self, params: types.AdamParams) -> types.OptimStepResponse:
        team = self.engine.team
        team.tell("_optim_step", self.model_id, params)
        accumulated, self._gradients = self._gradients, None
        if accumulated is None:
            raise ValueError("optim_step needs a forward_backward since the last step; no gradient has accumulated.")
        norm = self._optimizer.step(team.sum(accumulated), params)
        self._step, self._calls = self._step + 1, 0
        return types.OptimStepResponse(metrics={"grad_norm:mean": norm})

    # Saving and loading

    def save_state(
        self,
        name: str,
        ttl_seconds: int | None = None,
        overwrite: bool = False,
        user_metadata: dict[str, str] | None = None,
    ) -> LocalFuture[types.SaveWeightsResponse]:
        """Save the adapter and the optimiser."""
        return self.engine.executor.submit(
            lambda: types.SaveWeightsResponse(
                path=self._save("training", name, ttl_seconds, user_metadata, overwrite=overwrite)
            )
        )

    def save_weights_for_sampler(
        self, name: str, ttl_seconds: int | None = None, user_metadata: dict[str, str] | None = None
    ) -> LocalFuture[types.SaveWeightsForSamplerResponse]:
        """Save the adapter alone, as a directory that plain PEFT loads."""
        return self.engine.executor.submit(
            lambda: types.SaveWeightsForSamplerResponse(path=self._save("sampler", name, ttl_seconds, user_metadata))
        )

    def save_weights_external(
        self, name: str, ttl_seconds: int | None = None, age_encryption_recipients: list[str] | None = None
    ) -> LocalFuture[types.SaveWeightsExternalResponse]:
        """Save the adapter alone under `external_weights`; `RestClient.get_external_weights_urls` names its files.

        Raises:
            ValueError: `age_encryption_recipients` is given; files are not encrypted here.
        """
        if age_encryption_recipients:
            raise ValueError(
                "age_encryption_recipients is not available on the local backend: encrypt the files yourself."
            )
        return self.engine.executor.submit(
            lambda: types.SaveWeightsExternalResponse(path=self._save("external", name, ttl_seconds, None))
        )

    def _save(
        self,
        kind: Kind,
        name: str,
        ttl_seconds: int | None,
        user_metadata: dict[str, str] | None,
        *,
        overwrite: bool = False,
    ) -> str:
        base = self.engine.base
        checkpoint = Checkpoint(
            base_model=base.name,
            spec=self._spec,
            weights=self.engine.adapters.state(self.model_id),
            optimizer=self._optimizer.state() if kind == "training" else None,
            target_modules=self.engine.adapters.targets(self._spec),
            step=self._step,
            pretrained=() if isinstance(self._spec, LoraSpec) else (base.model.config, base.tokenizer),
        )
        return self._store.write(
            self.model_id,
            kind,
            name,
            checkpoint,
            overwrite=overwrite,
            ttl_seconds=ttl_seconds,
            user_metadata=user_metadata,
            run_metadata=self._user_metadata,
        )

    def load_state(self, path: str, weights_access_token: str | None = None) -> LocalFuture[types.LoadWeightsResponse]:
        """Take over saved weights, with a fresh optimiser and no gradient. Nothing here asks for access tokens.

        Raises (from the future):
            BackendError: The checkpoint is missing, damaged, or of another base model or adapter.
        """
        return self.engine.executor.submit(self._load, path, False)

    def load_state_with_optimizer(
        self, path: str, weights_access_token: str | None = None
    ) -> LocalFuture[types.LoadWeightsResponse]:
        """Take over saved weights and the optimiser that was saved with them."""
        return self.engine.executor.submit(self._load, path, True)

    def _load(self, path: str, optimizer: bool) -> types.LoadWeightsResponse:
        checkpoint = self._store.read(path, optimizer=optimizer)
        check_base(path, checkpoint.base_model, self.engine.base.name)
        check_kind(path, checkpoint.spec, type(self._spec))
        self._take_over(checkpoint)
        return types.LoadWeightsResponse(path=path, model_id=self.model_id, type="load_weights")

    def _take_over(self, checkpoint: Checkpoint) -> None:
        self.engine.team.tell("_take_over", self.model_id, checkpoint)
        self.engine.adapters.load(self.model_id, checkpoint.weights)
        self._start(checkpoint)

    # Sampling

    def save_weights_and_get_sampling_client(
        self,
        name: str | None = None,
        retry_config: RetryConfig | None = None,
        record_stability_info: bool = False,
        kind: types.SamplingClientKind = "snapshot",
    ) -> LocalClientFuture[LocalSamplingClient]:
        """A sampling client of the weights at this point; nothing is written to the disk.

        A snapshot also keeps the promise of `kind="inflight"`: these weights or newer ones. `name` has no effect in
        the SDK either, and nothing is to be retried here.
        """
        refuse_stability_info(record_stability_info)
        return self.engine.executor.submit_client(self._sampling_client, new_id())

    def create_sampling_client(
        self, model_path: str, retry_config: RetryConfig | None = None, record_stability_info: bool = False
    ) -> LocalClientFuture[LocalSamplingClient]:
        """A sampling client of saved weights of the same base model."""
        refuse_stability_info(record_stability_info)

        def run() -> LocalSamplingClient:
            checkpoint = self._store.read(model_path, optimizer=False)
            check_base(model_path, checkpoint.base_model, self.engine.base.name)
            check_kind(model_path, checkpoint.spec, type(self._spec))
            return self._sampling_client(new_id(), Snapshot(checkpoint.spec, checkpoint.weights), model_path)

        return self.engine.executor.submit_client(run)

    def _sampling_client(
        self, client_id: str, snapshot: Snapshot | None = None, model_path: str | None = None
    ) -> LocalSamplingClient:
        """A sampling client of a snapshot; of the weights as they are if None, which every process has."""
        self.engine.team.tell("_sampling_client", self.model_id, client_id, snapshot, model_path)
        snapshot = snapshot or Snapshot(self._spec, self.engine.adapters.state(self.model_id))
        return LocalSamplingClient(self.engine, client_id, snapshot, model_path)

    # What the client says of itself

    def get_info(self) -> types.GetInfoResponse:
        """The model's id, base model and rank."""
        base = self.engine.base
        return types.GetInfoResponse(
            model_id=self.model_id,
            model_data=types.ModelData(
                arch=base.model.config.model_type, model_name=base.name, tokenizer_id=base.location
            ),
            is_lora=isinstance(self._spec, LoraSpec),
            lora_rank=self._spec.rank if isinstance(self._spec, LoraSpec) else None,
            model_name=base.name,
        )

    def get_tokenizer(self) -> Any:
        """The tokenizer of the base model."""
        return self.engine.base.tokenizer

    def get_console_url(self) -> str:
        """Address of the directory that holds this run's checkpoints."""
        return self._store.locate(str(CheckpointPath(self.model_id, "training", "x"))).parents[1].resolve().as_uri()

    def get_telemetry(self) -> None:
        """None: nothing is reported to anybody."""
        return None

    forward_async = submitted(forward)
    forward_backward_async = submitted(forward_backward)
    forward_backward_custom_async = submitted(forward_backward_custom)
    optim_step_async = submitted(optim_step)
    save_state_async = submitted(save_state)
    save_weights_for_sampler_async = submitted(save_weights_for_sampler)
    save_weights_external_async = submitted(save_weights_external)
    load_state_async = submitted(load_state)
    load_state_with_optimizer_async = submitted(load_state_with_optimizer)
    save_weights_and_get_sampling_client_async = awaited(save_weights_and_get_sampling_client)
    create_sampling_client_async = awaited(create_sampling_client)
    get_info_async = submitted(get_info)


def _with_weights(datum: types.Datum, weights: Tensor | None) -> types.Datum:
    """The datum as a cross-entropy datum: its own targets, these weights or ones."""
    targets = datum.loss_fn_inputs["target_tokens"]
    if weights is None:
        weights = torch.ones(targets.shape or [len(targets.data)])
    return types.Datum(
        model_input=datum.model_input,
        loss_fn_inputs={"target_tokens": targets, "weights": types.TensorData.from_torch(weights.float())},
    )
