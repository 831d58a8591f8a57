"""The local training client: Tinker's training calls on one adapter."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import tinker
from tinker import types
from torch import Tensor

from backends.checkpoint_paths import CheckpointPath, Kind
from backends.local.async_aliases import async_result, async_return
from backends.local.checkpoints.files import Checkpoint, check_base, check_method
from backends.local.checkpoints.store import CheckpointStore
from backends.local.engine import Engine
from backends.local.futures import LocalClientFuture, LocalFuture
from backends.local.resumable import ResumableJob
from backends.local.sampling import LocalSamplingClient, new_id, refuse_stability_info
from backends.local.step.custom_loss import check_handle, linearize, strip_inputs
from backends.local.step.forward_backward import StepOutput
from backends.local.step.micro_batches import TokenRow, make_rows
from backends.local.step.state import DetachedState, TrainingState
from backends.local.vllm_sampling import make_sampling_client
from backends.local.weights.protocol import Snapshot, Spec
from backends.losses import find_loss
from backends.tokenizer import PretrainedTokenizer

if TYPE_CHECKING:
    from tinker.lib.retry_handler import RetryConfig

    from backends.interface import CustomLoss

LossSettings = Mapping[str, float | str]


class LocalTrainingClient:
    """An adapter, or a whole model, in training; made by `LocalServiceClient`. Its methods are the SDK's.

    It is made on the device thread.

    Args:
        engine: The base model, in memory.
        store: Where checkpoints are written.
        model_id: The training run's id.
        spec: What is trained.
        user_metadata: Saved with every checkpoint.
        checkpoint: Weights and optimiser to start with; None: new weights.
    """

    def __init__(
        self,
        engine: Engine,
        store: CheckpointStore,
        model_id: str,
        spec: Spec,
        user_metadata: dict[str, str] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.model_id = model_id
        self.engine = engine
        self._store = store
        self._user_metadata = user_metadata
        # Registered before the state is created, so that a failure's remains are freed as well.
        if engine.group.rank == 0:
            weakref.finalize(self, engine.release, model_id)
        self._state = TrainingState(engine, model_id, spec, checkpoint)

    @property
    def replica_id(self) -> str:
        """The id by which all processes know this client."""
        return self.model_id

    def discard(self) -> None:
        """Free the weights (on the device thread)."""
        self.engine.weights.remove(self.model_id)

    def detach_state(self) -> LocalFuture[DetachedState]:
        """Take the client's tensors off the device; `attach_state` must come before any other call."""
        return self.engine.executor.submit(self._state.detach)

    def attach_state(self, state: DetachedState) -> LocalFuture[None]:
        """Bring back, bit for bit, what `detach_state` took off the device."""
        return self.engine.executor.submit(self._state.attach, state)

    def forward(
        self, data: Sequence[types.Datum], loss_fn: str, loss_fn_config: LossSettings | None = None
    ) -> LocalFuture[types.ForwardBackwardOutput]:
        """The loss and the log-probability of every target; no gradient."""
        return self._submit(data, loss_fn, loss_fn_config, backward=False)

    def forward_backward(
        self, data: Sequence[types.Datum], loss_fn: str, loss_fn_config: LossSettings | None = None
    ) -> LocalFuture[types.ForwardBackwardOutput]:
        """The loss, with its gradient added to what has accumulated.

        Targets of zero weight read 0.0 in the returned log-probabilities unless `unscored_logprobs` is set.
        """
        return self._submit(data, loss_fn, loss_fn_config, backward=True)

    def _submit(
        self, data: Sequence[types.Datum], loss_fn: str, config: LossSettings | None, *, backward: bool
    ) -> LocalFuture[types.ForwardBackwardOutput]:
        rows, settings = self._rows(data, loss_fn), find_loss(loss_fn).complete(config or {})
        return self.engine.executor.submit(self._forward_backward, rows, loss_fn, settings, backward)

    def forward_backward_job(
        self, data: Sequence[types.Datum], loss_fn: str, loss_fn_config: LossSettings | None = None, *, backward: bool
    ) -> ResumableJob[types.ForwardBackwardOutput]:
        """`forward_backward`, or `forward`, of a client in one process alone, as a job that others may interrupt.

        Until it is finished, the client may only detach its state and attach it again.
        """
        rows, settings = self._rows(data, loss_fn), find_loss(loss_fn).complete(loss_fn_config or {})

        def finish(output: StepOutput) -> types.ForwardBackwardOutput:
            if backward:
                self._state.accumulate(output.gradients)
            return _output(output.logprobs, output.loss)

        return self._state.score(rows, find_loss(loss_fn), settings, backward=backward).then(finish)

    def forward_backward_custom(
        self,
        data: Sequence[types.Datum],
        loss_fn: CustomLoss | tinker.LossHandle,
        *,
        loss_type_input: Literal["logprobs"] | None = None,
    ) -> LocalFuture[types.ForwardBackwardOutput]:
        """Any differentiable loss of the targets' log-probabilities.

        The function gets the data and one tensor of log-probabilities per datum, ``[T]`` or ``[T, K]``, with
        gradients, and returns the loss and metrics.

        Args:
            data: What to train on.
            loss_fn: The function, or a handle from `create_custom_loss`.
            loss_type_input: "logprobs" or None; the loss always receives log-probabilities.

        Raises:
            ValueError: Data, loss or handle do not fit each other; also from the future, if the loss does not
                depend on every datum's log-probabilities.
        """
        if loss_type_input not in (None, "logprobs"):
            raise ValueError(f"loss_type_input is {loss_type_input!r}; the loss always receives logprobs.")
        if isinstance(loss_fn, tinker.LossHandle):
            check_handle(loss_fn, data, session=self.model_id.partition(":")[0])
        rows = self._rows(strip_inputs(data), "cross_entropy")
        return self.engine.executor.submit(self._forward_backward_custom, list(data), rows, loss_fn)

    def _forward_backward_custom(
        self, data: list[types.Datum], rows: list[TokenRow], loss_fn: CustomLoss | tinker.LossHandle
    ) -> types.ForwardBackwardOutput:
        output = self._forward_backward(rows, "cross_entropy", {}, backward=False)
        logprobs = [record["logprobs"].to_torch() for record in output.loss_fn_outputs]
        loss, metrics, weighted = linearize(loss_fn, data, logprobs)
        surrogate = self._forward_backward(self._rows(weighted, "cross_entropy"), "cross_entropy", {}, backward=True)
        sums = {"loss:sum": loss, "surrogate_loss:sum": surrogate.metrics["loss:sum"]}
        return types.ForwardBackwardOutput(
            loss_fn_output_type=output.loss_fn_output_type,
            loss_fn_outputs=output.loss_fn_outputs,
            metrics={**metrics, **sums},
        )

    def _rows(self, data: Sequence[types.Datum], loss_fn: str) -> list[TokenRow]:
        return make_rows(data, find_loss(loss_fn), self.engine.vocabulary, self.engine.base.max_length)

    def _forward_backward(
        self, rows: list[TokenRow], loss_fn: str, settings: Mapping[str, float], backward: bool
    ) -> types.ForwardBackwardOutput:
        """One call's rows, distributed over the processes; gradients are kept only when every row has succeeded."""
        group = self.engine.group
        group.broadcast(self._forward_backward, rows, loss_fn, settings, backward)
        share = group.shard(rows, lambda row: len(row.tokens))

        def report(output: StepOutput) -> tuple[float, dict[int, Tensor]]:
            return output.loss, {row.index: lp for row, lp in zip(share, output.logprobs, strict=True)}

        output, reports = group.gather(
            lambda: self._state.score(share, find_loss(loss_fn), settings, backward=backward).run(), report
        )
        if backward:
            self._state.accumulate(output.gradients)
        logprobs = {index: lp for _, by_index in reports for index, lp in by_index.items()}
        return _output([logprobs[row.index] for row in rows], sum(loss for loss, _ in reports))

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
        self.engine.group.broadcast(self._optim_step, params)
        return types.OptimStepResponse(metrics={"grad_norm:mean": self._state.optim_step(params)})

    def discard_gradients(self) -> LocalFuture[None]:
        """Drop the accumulated gradient, as if nothing had been computed since the last step."""
        return self.engine.executor.submit(self._discard_gradients)

    def _discard_gradients(self) -> None:
        self.engine.group.broadcast(self._discard_gradients)
        self._state.discard_gradients()

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
        return self._store.write(
            self.model_id,
            kind,
            name,
            self._state.checkpoint(optimizer=kind == "training"),
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
        check_method(path, checkpoint.spec, self._state.spec.method)
        self._take_over(checkpoint)
        return types.LoadWeightsResponse(path=path, model_id=self.model_id, type="load_weights")

    def _take_over(self, checkpoint: Checkpoint) -> None:
        self.engine.group.broadcast(self._take_over, checkpoint)
        self._state.load(checkpoint)

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
            check_method(model_path, checkpoint.spec, self._state.spec.method)
            return self._sampling_client(new_id(), Snapshot(checkpoint.spec, checkpoint.weights), model_path)

        return self.engine.executor.submit_client(run)

    def _sampling_client(
        self, client_id: str, snapshot: Snapshot | None = None, model_path: str | None = None
    ) -> LocalSamplingClient:
        """A sampling client of a snapshot; of the weights as they are if None, which every process has."""
        self.engine.group.broadcast(self._sampling_client, client_id, snapshot, model_path)
        return make_sampling_client(self.engine, client_id, snapshot or self._state.snapshot(), model_path)

    # Descriptions

    def get_info(self) -> types.GetInfoResponse:
        """The model's id, base model and rank."""
        base = self.engine.base
        return types.GetInfoResponse(
            model_id=self.model_id,
            model_data=types.ModelData(
                arch=base.model.config.model_type, model_name=base.name, tokenizer_id=base.location
            ),
            is_lora=self._state.spec.method == "lora",
            lora_rank=self._state.spec.rank,
            model_name=base.name,
        )

    def get_tokenizer(self) -> PretrainedTokenizer:
        """The tokenizer of the base model."""
        return self.engine.base.tokenizer

    def get_console_url(self) -> str:
        """Address of the directory that holds this run's checkpoints."""
        return self._store.locate(str(CheckpointPath(self.model_id, "training", "x"))).parents[1].resolve().as_uri()

    def get_telemetry(self) -> None:
        """None: nothing is reported to anybody."""
        return None

    forward_async = async_return(forward)
    forward_backward_async = async_return(forward_backward)
    forward_backward_custom_async = async_return(forward_backward_custom)
    optim_step_async = async_return(optim_step)
    save_state_async = async_return(save_state)
    save_weights_for_sampler_async = async_return(save_weights_for_sampler)
    save_weights_external_async = async_return(save_weights_external)
    load_state_async = async_return(load_state)
    load_state_with_optimizer_async = async_return(load_state_with_optimizer)
    save_weights_and_get_sampling_client_async = async_result(save_weights_and_get_sampling_client)
    create_sampling_client_async = async_result(create_sampling_client)
    get_info_async = async_return(get_info)


def _output(logprobs: Sequence[Tensor], loss: float) -> types.ForwardBackwardOutput:
    """The protocol's answer: log-probabilities in the order of the data, and the summed loss."""
    return types.ForwardBackwardOutput(
        loss_fn_output_type="ArrayRecord",
        loss_fn_outputs=[{"logprobs": types.TensorData.from_torch(lp)} for lp in logprobs],
        metrics={"loss:sum": loss},
    )
