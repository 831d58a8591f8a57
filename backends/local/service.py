"""The local service client: the methods of `tinker.ServiceClient`, on this machine."""

from __future__ import annotations

import secrets
import tempfile
import threading
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import tinker
import torch
from tinker import types
from tinker.lib.public_interfaces.custom_loss import trace_loss

from backends.base_models import PACKAGED
from backends.capabilities import BACKENDS
from backends.checkpoint_paths import SCHEME
from backends.facts import BackendFacts, TrainingFacts
from backends.local.arguments import check_seed, check_whole
from backends.local.async_aliases import async_result, async_return
from backends.local.checkpoints.files import Checkpoint, check_base, check_method
from backends.local.checkpoints.store import CheckpointStore
from backends.local.decode.group_decoder import can_pad
from backends.local.distributed import ProcessGroup
from backends.local.engine import Engine
from backends.local.futures import Executor, LocalClientFuture, LocalFuture, run_now
from backends.local.model.fsdp import check_group
from backends.local.model.load import load_base_model
from backends.local.rest import LocalRestClient
from backends.local.sampling import LocalSamplingClient, new_id, refuse_stability_info
from backends.local.step.optim import check_optimizer
from backends.local.training import LocalTrainingClient
from backends.local.vllm_sampling import make_sampling_client
from backends.local.weights.full import FullSpec, describe_full
from backends.local.weights.lora import LoraSpec
from backends.local.weights.protocol import Method, Snapshot, Spec
from backends.options import BackendOptions, LocalOptions
from backends.planning.cores import available_cores

if TYPE_CHECKING:
    from tinker.lib.retry_handler import RetryConfig


def open_local(options: BackendOptions | None = None, *, checkpoints: Path | None = None) -> LocalServiceClient:
    """A service client; in the other processes of an `accelerate launch`, repeat the calls of the first, then exit.

    Args:
        options: `LocalOptions`, or None for its defaults.
        checkpoints: Directory of the checkpoints; a temporary one when None.

    Raises:
        SystemExit: This process is not the first, and the first has finished.
    """
    service = LocalServiceClient(options, checkpoints=checkpoints)
    if service.group.rank > 0:
        service.group.follow(service)
        raise SystemExit(0)
    return service


class LocalServiceClient:
    """Trains and samples on this machine. Base models are loaded when first asked for, once each.

    Args:
        options: `LocalOptions`, or None for its defaults.
        checkpoints: Directory of the checkpoints; a temporary one when None.
    """

    capabilities = BACKENDS["local"].capabilities

    def __init__(self, options: BackendOptions | None = None, *, checkpoints: Path | None = None) -> None:
        self.options = LocalOptions.read(options)
        self.session_id = uuid.uuid4().hex[:12]
        self.store = CheckpointStore(checkpoints or Path(tempfile.mkdtemp(prefix="text2sql-")))
        self.group = ProcessGroup(cpu=self.options.device == "cpu")
        if self.options.fsdp:
            check_group(self.group)
        self._executor = Executor()
        self._engines: dict[str, Engine] = {}
        self._models = 0
        self._lock = threading.Lock()
        # PyTorch counts the machine's cores, of which a container may have a part.
        torch.set_num_threads(min(torch.get_num_threads(), available_cores()))

    def __enter__(self) -> LocalServiceClient:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close("success" if exc_type is None else "errored")

    def get_server_capabilities(self) -> types.GetServerCapabilitiesResponse:
        """The models that work without the Hub, and those in memory; any other Hub id or directory works too."""
        lengths = {**dict.fromkeys(PACKAGED), **{name: e.base.max_length for name, e in self._engines.items()}}
        models = [
            types.SupportedModel(model_name=name, max_context_length=length, trainable=True, sampleable=True)
            for name, length in lengths.items()
        ]
        return types.GetServerCapabilitiesResponse(supported_models=models)

    def create_lora_training_client(
        self,
        base_model: str,
        rank: int = 32,
        seed: int | None = None,
        train_mlp: bool = True,
        train_attn: bool = True,
        train_unembed: bool = True,
        user_metadata: dict[str, str] | None = None,
        optimizer: types.OptimizerConfig | None = None,
    ) -> LocalClientFuture[LocalTrainingClient]:
        """A new adapter: A random from `seed`, B zero. With `method: full`, the base model itself; the rank is ignored.

        Raises:
            ValueError: Rank or seed is out of range, every `train_*` flag is off, or the optimiser is not AdamW.
            BackendError: (From the future) the base model cannot be loaded.
        """
        check_optimizer(optimizer)
        spec = self._spec(rank, seed, train_attn=train_attn, train_mlp=train_mlp, train_unembed=train_unembed)
        return self._executor.submit_client(self._training_client, base_model, spec, self._next_id(), user_metadata)

    def create_training_client_from_state(
        self,
        path: str,
        base_model: str | None = None,
        user_metadata: dict[str, str] | None = None,
        weights_access_token: str | None = None,
        optimizer: types.OptimizerConfig | None = None,
    ) -> LocalClientFuture[LocalTrainingClient]:
        """A training client with the saved weights and a new optimiser; access tokens are ignored."""
        check_optimizer(optimizer)
        return self._executor.submit_client(self._restore, path, base_model, self._next_id(), user_metadata, False)

    def create_training_client_from_state_with_optimizer(
        self,
        path: str,
        base_model: str | None = None,
        user_metadata: dict[str, str] | None = None,
        weights_access_token: str | None = None,
    ) -> LocalClientFuture[LocalTrainingClient]:
        """A training client that continues exactly where the saved one was."""
        return self._executor.submit_client(self._restore, path, base_model, self._next_id(), user_metadata, True)

    def create_sampling_client(
        self,
        model_path: str | None = None,
        base_model: str | None = None,
        retry_config: RetryConfig | None = None,
        record_stability_info: bool = False,
    ) -> LocalClientFuture[LocalSamplingClient]:
        """A sampling client of saved weights, or of the bare base model; `retry_config` is ignored.

        Raises:
            ValueError: Neither is given, or `model_path` is not a ``tinker://`` path.
        """
        if model_path is None and base_model is None:
            raise ValueError("Either model_path or base_model must be given.")
        if model_path is not None and not model_path.startswith(SCHEME):
            raise ValueError(f'model_path must start with "{SCHEME}", got "{model_path}".')
        refuse_stability_info(record_stability_info)
        return self._executor.submit_client(self._open_sampler, model_path, base_model)

    def create_custom_loss(
        self, fn: tinker.PerDatumLossFn, input_ranks: Mapping[str, types.CustomLossInputRank]
    ) -> LocalFuture[tinker.LossHandle]:
        """A handle of a per-datum loss for `forward_backward_custom`, traced and checked as by the SDK."""
        return run_now(trace_loss, fn, input_ranks, self.session_id)

    def copy_weights(
        self, path: str, *, ttl_seconds: int | None = None, weights_access_token: str | None = None
    ) -> LocalFuture[str]:
        """Copy a checkpoint into a new training run; returns its path."""
        run = self._next_id()
        return run_now(lambda: self.store.copy(path, run, ttl_seconds=ttl_seconds))

    def create_rest_client(self) -> LocalRestClient:
        """Housekeeping on stored checkpoints."""
        return LocalRestClient(self)

    def get_console_url(self) -> str:
        """Address of the directory that holds the checkpoints."""
        return self.store.root.resolve().as_uri()

    def get_telemetry(self) -> None:
        """None: nothing is reported to anybody."""
        return None

    def describe(self) -> BackendFacts:
        """What the automatic options came to, and a GPU's peak memory, for the record of a run."""
        facts = BackendFacts(processes=self.group.size, threads=torch.get_num_threads())
        for engine in self._engines.values():
            base = engine.base
            facts = replace(
                facts,
                device=str(base.device),
                compute_dtype=str(base.dtype).removeprefix("torch."),
                adapter_dtype="float32",
                matmul=base.matmul if base.dtype == torch.float32 else facts.matmul,
                quantization=base.quantization,
                attention=base.model.config._attn_implementation,
                micro_batch_tokens=engine.micro_batch_tokens,
                packing=base.packing,
                shared_prefixes=base.sharing,
                joint_decoding=can_pad(base.model),
                longest_sequence=base.max_length,
                training=engine.training_facts or facts.training,
            )
            if engine.vllm is not None:
                facts = replace(facts, sampler=(engine.vllm.url, engine.sampler_logprob_gap or None))
            if base.device.type == "cuda":
                facts = replace(
                    facts,
                    gpus=torch.cuda.device_count(),
                    gpu=torch.cuda.get_device_name(base.device),
                    gpu_peak_memory_bytes=torch.cuda.max_memory_allocated(base.device),
                )
        return facts

    def describe_training(
        self, base_model: str, rank: int, *, train_attn: bool, train_mlp: bool, train_unembed: bool
    ) -> TrainingFacts:
        """What a training client with these flags would train.

        Raises:
            BackendError: The model has nothing to train that a flag selects.
        """
        spec = self._spec(rank, 0, train_attn=train_attn, train_mlp=train_mlp, train_unembed=train_unembed)
        return self._executor.submit(self._describe_training, base_model, spec).result()

    def check_model(self, base_model: str) -> None:
        """Do nothing: a model that cannot be loaded is refused when it is first used."""

    def close(
        self, status: Literal["success", "errored", "interrupted"] = "success", detail: str | None = None
    ) -> LocalFuture[None]:
        """Cancel unfinished calls and release the models, before it returns; the status is ignored."""
        self._executor.close()
        self.group.close()
        for engine in self._engines.values():
            if engine.vllm is not None:
                engine.vllm.close()
        self._engines.clear()
        return run_now(lambda: None)

    create_lora_training_client_async = async_result(create_lora_training_client)
    create_training_client_from_state_async = async_result(create_training_client_from_state)
    create_training_client_from_state_with_optimizer_async = async_result(
        create_training_client_from_state_with_optimizer
    )
    create_sampling_client_async = async_result(create_sampling_client)
    get_server_capabilities_async = async_return(get_server_capabilities)

    def _spec(
        self, rank: int, seed: int | None, *, train_attn: bool, train_mlp: bool, train_unembed: bool
    ) -> LoraSpec | FullSpec:
        """The specification of a new client's weights, by the options."""
        check_whole("rank", rank, 1)
        check_seed(seed)
        if not (train_mlp or train_attn or train_unembed):
            raise ValueError("At least one of train_mlp, train_attn and train_unembed must be true.")
        seed = secrets.randbits(31) if seed is None else seed
        options = self.options
        if options.method == "full":
            return FullSpec(seed)
        return LoraSpec(
            rank=rank,
            alpha=options.lora_alpha,
            seed=seed,
            train_attn=train_attn,
            train_mlp=train_mlp,
            train_unembed=train_unembed,
            dropout=options.lora_dropout,
            rslora=options.rslora,
            dora=options.dora,
            modules=tuple(options.target_modules) if options.target_modules else None,
        )

    def _next_id(self) -> str:
        with self._lock:
            self._models += 1
            return f"{self.session_id}:train:{self._models - 1}"

    def _engine(self, base_model: str, method: Method) -> Engine:
        """A model in memory: one for all adapters, and one for each client of full weights."""
        if method == "full":
            return self._load_engine(base_model, method="full", quantization="none", fsdp=False)
        if base_model not in self._engines:
            self._engines[base_model] = self._load_engine(base_model, method="lora")
        return self._engines[base_model]

    def _load_engine(self, base_model: str, **changes: Any) -> Engine:
        # A run that trains one kind of weights may sample from the other.
        options = self.options.model_copy(update=changes)
        base = load_base_model(base_model, options, self.group.size)
        return Engine(base, options, self._executor, self.group)

    # On the device thread, and with several processes in all of them.

    @property
    def replica_id(self) -> str:
        """The id by which all processes know the service."""
        return "service"

    def discard(self) -> None:
        """Do nothing: it lives as long as its process."""

    def _training_client(
        self,
        base_model: str,
        spec: Spec,
        model_id: str,
        user_metadata: dict[str, str] | None,
        checkpoint: Checkpoint | None = None,
    ) -> LocalTrainingClient:
        self.group.broadcast(self._training_client, base_model, spec, model_id, user_metadata, checkpoint)

        def create() -> LocalTrainingClient:
            engine = self._engine(base_model, spec.method)
            engine.training_facts = engine.weights.describe(spec)
            return LocalTrainingClient(engine, self.store, model_id, spec, user_metadata, checkpoint)

        return self.group.run_in_all(create)

    def _describe_training(self, base_model: str, spec: LoraSpec | FullSpec) -> TrainingFacts:
        self.group.broadcast(self._describe_training, base_model, spec)

        def describe() -> TrainingFacts:
            # The copy of the base model that is sampled from; full fine-tuning will train another one.
            engine = self._engine(base_model, "lora")
            if isinstance(spec, FullSpec):
                return describe_full(engine.base)
            return engine.weights.describe(spec)

        return self.group.run_in_all(describe)

    def _restore(
        self,
        path: str,
        base_model: str | None,
        model_id: str,
        user_metadata: dict[str, str] | None,
        with_optimizer: bool,
    ) -> LocalTrainingClient:
        checkpoint = self.store.read(path, optimizer=with_optimizer)
        check_base(path, checkpoint.base_model, base_model)
        check_method(path, checkpoint.spec, self.options.method)
        return self._training_client(checkpoint.base_model, checkpoint.spec, model_id, user_metadata, checkpoint)

    def _open_sampler(self, model_path: str | None, base_model: str | None) -> LocalSamplingClient:
        if model_path is None:
            return self._sampling_client(str(base_model), new_id(), None, None)
        checkpoint = self.store.read(model_path, optimizer=False)
        check_base(model_path, checkpoint.base_model, base_model)
        snapshot = Snapshot(checkpoint.spec, checkpoint.weights)
        return self._sampling_client(checkpoint.base_model, new_id(), snapshot, model_path)

    def _sampling_client(
        self, base_model: str, client_id: str, snapshot: Snapshot | None, model_path: str | None
    ) -> LocalSamplingClient:
        """A sampling client of a snapshot, or of the bare base model."""
        self.group.broadcast(self._sampling_client, base_model, client_id, snapshot, model_path)
        method = snapshot.spec.method if snapshot else "lora"
        return self.group.run_in_all(
            lambda: make_sampling_client(self._engine(base_model, method), client_id, snapshot, model_path)
        )
