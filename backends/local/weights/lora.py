"""LoRA adapters on one shared base model (PEFT): add, select, copy, merge temporarily, save.

Target modules are Tinker's: the projections of every attention and every MLP, and the output layer; never the input
embedding (`backends.local.weights.targets` finds them). Scale is ``alpha / rank``; A starts random from the seed, B at
zero, so a new adapter changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from backends.facts import TrainingFacts
from backends.interface import BackendError
from backends.local.model.load import LoadedModel
from backends.local.model.prepacked_weights import attach_prepacked, detach_prepacked, prepack
from backends.local.weights.prepacked_copies import PrepackedCopies
from backends.local.weights.protocol import Method, Pretrained, Snapshot, Spec
from backends.local.weights.targets import choose_targets, find_adaptable, match_modules

if TYPE_CHECKING:
    from pydantic import JsonValue
    from transformers import PreTrainedModel

# The adapter that a snapshot is loaded into to be sampled; clients' ids have colons in them.
SAMPLER_SLOT = "sampler"


@dataclass(frozen=True, slots=True)
class LoraSpec:
    """What defines an adapter apart from its weights.

    Attributes:
        rank: Rank of every pair of matrices.
        alpha: The product of A and B is scaled by ``alpha / rank``.
        seed: Seed of A's first values and of the noise in training.
        train_attn: Adapt the attention projections.
        train_mlp: Adapt the MLP projections.
        train_unembed: Adapt the output layer.
        dropout: Dropout in front of A while training.
        rslora: Scale by ``alpha / sqrt(rank)`` instead.
        dora: Train direction and magnitude separately.
        modules: Names of the adapted modules, in place of the three flags; None: the flags decide.
    """

    method: ClassVar[Method] = "lora"

    rank: int
    alpha: float
    seed: int
    train_attn: bool
    train_mlp: bool
    train_unembed: bool
    dropout: float = 0.0
    rslora: bool = False
    dora: bool = False
    modules: tuple[str, ...] | None = None

    def as_dict(self) -> dict[str, JsonValue]:
        """The fields as plain JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False, slots=True)
class _Merged:
    """An adapter is merged into the base's weights.

    Attributes:
        adapter: Its name.
        originals: The changed weights, each with its data before.
    """

    adapter: str
    originals: list[tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False, slots=True)
class _Prepacked:
    """The base's weights are prepacked with the adapter of a snapshot; None: without one."""

    snapshot: Snapshot | None


class LoraWeights:
    """The adapters that live on one base model; one of them is active at a time.

    Args:
        base: The base model.
        sharded: Whether its weights are split over processes, so that none of them can be changed.
    """

    def __init__(self, base: LoadedModel, *, sharded: bool = False) -> None:
        self.base = base
        # Determined before there is an adapter, which renames the modules that it adapts.
        self._adaptable = find_adaptable(base.model)
        self._base_parameters = base.model.num_parameters()
        plain = base.dtype == torch.float32 and base.quantization == "none"
        self._can_merge = plain and base.matmul == "float32" and not sharded
        self._can_prepack = plain and base.device.type == "cpu" and not sharded
        self._peft: Any = None
        self._specs: dict[str, LoraSpec] = {}
        # The snapshot whose weights are in SAMPLER_SLOT.
        self._sampler_snapshot: Snapshot | None = None
        # What the base computes with in place of its own weights; None: nothing.
        self._resident: _Merged | _Prepacked | None = None
        self._prepacked_copies = PrepackedCopies()

    def add(self, name: str, spec: Spec, state: dict[str, Tensor] | None = None) -> None:
        """Add an adapter, with the weights of `state` if given.

        Raises:
            BackendError: The model has no module that the flags select, or `state` does not fit the spec.
        """
        from peft import LoraConfig, get_peft_model

        assert isinstance(spec, LoraSpec)
        self.restore()
        config = LoraConfig(
            r=spec.rank,
            # Annotated as int, but any number scales.
            lora_alpha=spec.alpha,  # type: ignore[arg-type]
            lora_dropout=spec.dropout,
            use_rslora=spec.rslora,
            use_dora=spec.dora,
            target_modules=self.targets(spec),
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            if self._peft is None:
                self._peft = get_peft_model(self.base.model, config, adapter_name=name)
            else:
                self._peft.add_adapter(name, config)
        self._specs[name] = spec
        if state is not None:
            try:
                self.load(name, state)
            except BaseException:
                self.remove(name)
                raise

    def targets(self, spec: Spec) -> list[str]:
        """Names of the modules that an adapter of this spec changes."""
        assert isinstance(spec, LoraSpec)
        return choose_targets(
            self._adaptable,
            self.base.name,
            train_attn=spec.train_attn,
            train_mlp=spec.train_mlp,
            train_unembed=spec.train_unembed,
            named=spec.modules,
        )

    def describe(self, spec: Spec) -> TrainingFacts:
        """What is trained; the percentage is counted as PEFT does."""
        assert isinstance(spec, LoraSpec)
        names = self.targets(spec)
        trained = sum(self._adapter_size(path, spec) for path in match_modules(names, self._adaptable.modules))
        return TrainingFacts(
            adapted_modules=names,
            trained_parameters=trained,
            trained_percent=round(100 * trained / (self._base_parameters + trained), 4),
        )

    def _adapter_size(self, path: str, spec: LoraSpec) -> int:
        """Parameters of the adapter of one module."""
        layer: Any = self.base.model.get_submodule(path)
        layer = getattr(layer, "base_layer", layer)
        # GPT-2's layers have no width but that of their weight, which quantised layers store in another shape.
        widths = (layer.in_features, layer.out_features) if hasattr(layer, "in_features") else layer.weight.shape
        return spec.rank * sum(widths) + (widths[1] if spec.dora else 0)

    def adapts_head(self, spec: LoraSpec) -> bool:
        """Whether an adapter of this spec changes the output layer."""
        return bool(match_modules(self.targets(spec), self._adaptable.unembed))

    def remove(self, name: str) -> None:
        """Remove an adapter, if it is there: that of an offloaded client has been removed."""
        if self._specs.pop(name, None) is None:
            return
        self.restore()
        if not self._specs:
            # PEFT cannot be without an adapter: take it off the model.
            self._peft.unload()
            self._peft = None
            return
        # PEFT warns when the active adapter is deleted.
        self._peft.set_adapter(next(iter(self._specs)))
        self._peft.delete_adapter(name)

    def parameters(self, name: str) -> dict[str, Tensor]:
        """The adapter's parameters by PEFT's checkpoint key, sorted; A is ``[r, in]``, B is ``[out, r]``."""
        marker = f".{name}."
        parameters = {
            key.replace(marker, "."): parameter
            for key, parameter in self._peft.named_parameters()
            if "lora_" in key and marker in key
        }
        return dict(sorted(parameters.items()))

    def state(self, name: str) -> dict[str, Tensor]:
        """A copy of the weights, on the CPU."""
        return {key: p.detach().to("cpu", copy=True) for key, p in self.parameters(name).items()}

    def load(self, name: str, state: dict[str, Tensor]) -> None:
        """Set the weights.

        Raises:
            BackendError: `state` has other modules or other shapes.
        """
        parameters = self.parameters(name)
        if {k: p.shape for k, p in parameters.items()} != {k: t.shape for k, t in state.items()}:
            raise BackendError(
                f'The saved adapter does not fit the model "{self.base.name}" '
                f"({len(state)} saved tensors, {len(parameters)} expected, or other shapes)."
            )
        with torch.no_grad():
            for key, parameter in parameters.items():
                parameter.copy_(state[key])

    def pretrained(self) -> tuple[Pretrained, ...]:
        """Nothing else: an adapter's files are complete."""
        return ()

    def start_dropout(self) -> None:
        """Put the adapted layers, and no others, into training mode; `model.eval()` ends it."""
        from peft.tuners.lora import LoraLayer

        for module in list(self.base.model.modules()):
            if isinstance(module, LoraLayer):
                # PEFT's class is a mixin; its subclasses are modules.
                module.train()

    @contextmanager
    def active(self, name: str | None) -> Iterator[PreTrainedModel]:
        """The base model with this adapter switched on, or with none."""
        self.restore()
        if name is None:
            if self._peft is None:
                yield self.base.model
            else:
                with self._peft.disable_adapter():
                    yield self.base.model
            return
        from peft.helpers import disable_input_dtype_casting

        self._peft.set_adapter(name)
        for parameter in self.parameters(name).values():
            parameter.requires_grad_(True)
        with disable_input_dtype_casting(self._peft, active=self.base.dtype != torch.float32):
            yield self.base.model

    @contextmanager
    def sampling(self, snapshot: Snapshot | None) -> Iterator[PreTrainedModel]:
        """The model with a snapshot's adapter, or bare.

        An adapter is merged into a float32 base meanwhile, which is faster and exact to rounding. It is kept apart
        from another base, since merging into low precision would change the weights that were trained; from a base
        that is split over processes; and with DoRA, whose weight is not base plus product. On a CPU the weights are
        prepacked instead (`backends.local.model.prepacked_weights`).
        """
        prepacked = self._reuse_prepacked(snapshot)
        if not prepacked and snapshot is not None:
            self._load_snapshot(snapshot)
        if prepacked or self._prepack(snapshot):
            with nullcontext() if self._peft is None else self._peft.disable_adapter():
                yield self.base.model
            return
        if snapshot is None:
            with self.active(None) as model:
                yield model
            return
        assert isinstance(snapshot.spec, LoraSpec)
        can_merge = self._can_merge and not snapshot.spec.dora
        with (self.merged if can_merge else self.active)(SAMPLER_SLOT) as model:
            yield model

    def _load_snapshot(self, snapshot: Snapshot) -> None:
        """Load a snapshot's weights into the adapter that is sampled from."""
        if self._sampler_snapshot is not snapshot:
            if self._sampler_snapshot is not None:
                self.remove(SAMPLER_SLOT)
                self._sampler_snapshot = None
            self.add(SAMPLER_SLOT, snapshot.spec, snapshot.state)
            self._sampler_snapshot = snapshot

    def keep_prepacked(self, max_copies: int, has_room: Callable[[], bool]) -> None:
        """Keep prepacked weights for later while the model is used for something else.

        Args:
            max_copies: How many, each as large as the base model.
            has_room: Whether memory is free.
        """
        self._prepacked_copies.set_limit(max_copies, has_room)

    def _reuse_prepacked(self, snapshot: Snapshot | None) -> bool:
        """Use the prepacked weights of a snapshot, adapter included; False if there are none."""
        if self._is_prepacked(snapshot):
            return True
        copy = self._prepacked_copies.take(snapshot)
        if copy is None:
            return False
        self.restore()
        # It no longer fits if a module has got its first adapter since, or lost its last.
        if attach_prepacked(self.base.model, copy):
            self._resident = _Prepacked(snapshot)
        return self._resident is not None

    def _prepack(self, snapshot: Snapshot | None) -> bool:
        """Prepack the base's weights with the adapter of the snapshot, unless they are; False if that is impossible.

        They stay, in addition to the base's own, until the model is used for something else.
        """
        if not self._can_prepack:
            return False
        if self._is_prepacked(snapshot):
            return True
        with self.active(None if snapshot is None else SAMPLER_SLOT) as model, torch.no_grad():
            if prepack(model):
                self._resident = _Prepacked(snapshot)
        return self._resident is not None

    def _is_prepacked(self, snapshot: Snapshot | None) -> bool:
        return isinstance(self._resident, _Prepacked) and self._resident.snapshot is snapshot

    def merge_into_base(self, name: str) -> PreTrainedModel:
        """Merge this adapter into the base model for good, and return the plain model. No other adapter survives it.

        Raises:
            BackendError: The merged weights are not finite.
        """
        self.restore()
        try:
            model = self._peft.merge_and_unload(safe_merge=True, adapter_names=[name])
        except ValueError as error:
            raise BackendError(f'The adapter cannot be merged into "{self.base.name}": {error}') from error
        self._peft, self._specs = None, {}
        return model

    @contextmanager
    def merged(self, name: str) -> Iterator[PreTrainedModel]:
        """The base model with this adapter merged into its weights.

        The base gets its own weights back, bit for bit, when the model is used for something else: until then the next
        `merged` costs nothing. Only for an unquantised base; takes a second copy of the adapted weights meanwhile.
        """
        if not (isinstance(self._resident, _Merged) and self._resident.adapter == name):
            self.restore()
            try:
                self._merge(name)
            except BaseException:
                self.restore()
                raise
        with self._peft.disable_adapter():
            yield self.base.model

    @torch.no_grad()
    def _merge(self, name: str) -> None:
        from peft.tuners.lora import LoraLayer

        merged = self._resident = _Merged(name, [])
        for module in self.base.model.modules():
            if isinstance(module, LoraLayer) and name in module.lora_A:
                weight: Any = module.get_base_layer().weight
                # The method is that of the subclasses.
                delta: Tensor = module.get_delta_weight(name)  # type: ignore[operator]
                total = delta.add_(weight.data).to(weight.dtype)  # [out, in]
                merged.originals.append((weight, weight.data))
                # Stored by input: with few rows, the products of decoding read it up to a third faster so.
                weight.data = total.t().contiguous().t()

    def restore(self) -> None:
        """Give the base its own weights back, if an adapter is merged into them or they are prepacked."""
        match self._resident:
            case _Prepacked(snapshot):
                self._prepacked_copies.put(snapshot, detach_prepacked(self.base.model))
            case _Merged(_, originals):
                for weight, data in originals:
                    weight.data = data
        self._resident = None
