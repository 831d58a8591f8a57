"""The local backend as the server uses it: which models and sampling weights are in memory, and which wait outside.

Everything here runs on the scheduler's thread, one call at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from tinker import TinkerError
from tinker.types import AdamParams, Datum, ModelInput, TensorData

from backends.base_models import hub_id
from backends.interface import BackendError
from backends.local.model.load import LoadedModel
from backends.local.prefix_cache import PrefixCache
from backends.local.sampling import LocalSamplingClient
from backends.local.service import LocalServiceClient
from backends.local.training import DetachedState, LocalTrainingClient
from backends.server.log import log
from backends.server.settings import ServerSettings


class Counts(NamedTuple):
    """How many models in training are on the device, and how many are parked in main memory."""

    resident: int
    parked: int


class _Service(LocalServiceClient):
    """A service whose next model has the id that the server has given to it."""

    next_model_id = ""

    def _next_id(self) -> str:
        return self.next_model_id

    def stop(self) -> None:
        """Have the running call end between two tokens or micro-batches."""
        self._executor.stop()


class Residency:
    """The served base models, the adapters in training, and the samplers in use."""

    def __init__(self, settings: ServerSettings) -> None:
        # The API returns the log-probabilities of all targets, those of weight 0 as well.
        options = settings.local.model_copy(update={"unscored_logprobs": True})
        self.service = _Service(options, checkpoints=settings.data / "checkpoints")
        self.store = self.service.store
        self._locations = settings.base_models
        self.store.public_names = _public_names(settings.base_models)
        self._limits = settings.limits
        # Both in the order of their last use.
        self._models: OrderedDict[str, LocalTrainingClient] = OrderedDict()
        self._samplers: OrderedDict[str, LocalSamplingClient] = OrderedDict()
        self._parked: dict[str, DetachedState] = {}
        self._bases: dict[str, LocalSamplingClient] = {}

    def load(self) -> None:
        """Load every base model, so that what is wrong with one is known at the start."""
        for name, location in self._locations.items():
            self._bases[name] = self.service.create_sampling_client(base_model=location).result()
            # Users take turns, and to pack a model takes longer than a turn.
            self._bases[name]._engine.weights.keep_prepacked(self._limits.packed_weights, _half_is_free)
        self._warm_up(next(iter(self._locations.values())))

    def _warm_up(self, location: str) -> None:
        """Train a model by one step, and drop it.

        What the first step of a process imports holds the interpreter, and with it every request, for a second or two.
        """
        self.service.next_model_id = "warm-up"
        inputs = {
            "target_tokens": TensorData(data=[0], dtype="int64"),
            "weights": TensorData(data=[1], dtype="float32"),
        }
        try:
            client = self.service.create_lora_training_client(location, rank=1).result()
            client.forward_backward([Datum(ModelInput.from_ints([0]), inputs)], "cross_entropy").result()
            client.optim_step(AdamParams()).result()
        except (BackendError, TinkerError) as error:
            # It may be served for sampling alone.
            log.warning("%s cannot be trained here: %s", location, error)

    def bare_sampler(self, name: str) -> LocalSamplingClient:
        """A sampler of a base model itself, which says of every sampler of the model what it can be asked."""
        return self._bases[name]

    def loaded(self, name: str) -> LoadedModel:
        """What was loaded as a base model: its tokenizer, place, length."""
        return self._bases[name]._engine.base

    def counts(self) -> Counts:
        """Models in training, by where they are."""
        return Counts(len(self._models) - len(self._parked), len(self._parked))

    def create(self, model_id: str, base_model: str, **lora: Any) -> None:
        """Make a new adapter (BackendError if memory is short)."""
        self._check_memory()
        self._park_least_recent()
        self.service.next_model_id = model_id
        self._models[model_id] = self.service.create_lora_training_client(self._locations[base_model], **lora).result()

    def restore(self, model_id: str, base_model: str, path: str, *, optimizer: bool) -> None:
        """Make an adapter from a checkpoint (BackendError if memory is short)."""
        self._check_memory()
        self._park_least_recent()
        self.service.next_model_id = model_id
        make = (
            self.service.create_training_client_from_state_with_optimizer
            if optimizer
            else self.service.create_training_client_from_state
        )
        self._models[model_id] = make(path, self._locations[base_model]).result()

    def model(self, model_id: str) -> LocalTrainingClient:
        """A model in training, on the device (BackendError if its creation failed)."""
        if model_id not in self._models:
            raise BackendError(f"The model {model_id} could not be created; see the error of that request.")
        self._models.move_to_end(model_id)
        client = self._models[model_id]
        if model_id in self._parked:
            self._park_least_recent()
            client.attach_state(self._parked[model_id]).result()
            del self._parked[model_id]
        return client

    def _check_memory(self) -> None:
        """Raise BackendError if a new model might not fit into main memory, where models wait."""
        free = psutil.virtual_memory().available
        if free < self._limits.free_bytes:
            raise BackendError(
                f"The server is short of memory ({free >> 20:,} MiB are free, limits.free_bytes asks for "
                f"{self._limits.free_bytes >> 20:,}): close a ServiceClient whose models are not in use, or try later."
            )

    def _park_least_recent(self) -> None:
        """Move the adapters used least recently off the device, so that one more may be there."""
        resident = [name for name in self._models if name not in self._parked]
        for name in resident[: max(0, len(resident) - self._limits.resident_models + 1)]:
            self._parked[name] = self._models[name].detach_state().result()

    def drop(self, model_id: str) -> None:
        """Release a model in training."""
        self._models.pop(model_id, None)
        self._parked.pop(model_id, None)

    def sampler(self, base_model: str, path: str | None) -> LocalSamplingClient:
        """A sampler of saved weights, or of the bare model."""
        if path is None:
            return self._bases[base_model]
        if path not in self._samplers:
            sampler = self.service.create_sampling_client(model_path=path, base_model=self._locations[base_model])
            self._samplers[path] = sampler.result()
            while len(self._samplers) > self._limits.cached_samplers:
                self._samplers.popitem(last=False)
        self._samplers.move_to_end(path)
        return self._samplers[path]

    def new_prefixes(self) -> PrefixCache:
        """Room for the beginnings of the prompts of one batch."""
        return PrefixCache(self.service.options.prefix_cache_mb * 2**20)

    def delete(self, path: str) -> None:
        """Delete a checkpoint's files, if they are there, and release its weights."""
        self._samplers.pop(path, None)
        if self.files(path).is_dir():
            self.store.delete(path)

    def files(self, path: str) -> Path:
        """The directory of a checkpoint."""
        return self.store.locate(path)

    def size(self, path: str) -> int:
        """Bytes of a checkpoint."""
        return sum(file.stat().st_size for file in self.files(path).iterdir())

    def stop(self) -> None:
        """Have what is running end between two tokens or micro-batches, and begin nothing else; returns at once."""
        self.service.stop()

    def close(self) -> None:
        """Release everything."""
        self.service.close()


def _half_is_free() -> bool:
    memory = psutil.virtual_memory()
    return 2 * memory.available >= memory.total


def _public_names(base_models: Mapping[str, str]) -> dict[str, str]:
    """The name under which others know a base model, by where it is loaded from: of several the first."""
    names: dict[str, str] = {}
    for name, location in base_models.items():
        names.setdefault(location, hub_id(name))
    return names
