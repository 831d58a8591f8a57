"""LoRA adapters on one shared base model (PEFT): add, select, copy, merge for a while, save.

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

from backends.interface import BackendError
from backends.local.model.load import BaseModel
from backends.local.model.prepacked_weights import pack, pack_again, unpack
from backends.local.weights.prepacked_copies import PrepackedCopies
from backends.local.weights.protocol import Method, Pretrained, Snapshot, Spec
from backends.local.weights.targets import adaptable, choose_targets, matched

if TYPE_CHECKING:
    from pydantic import JsonValue
    from transformers import PreTrainedModel

    from backends.interface import Description

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
        dora: Train direction and magnitude apart.
        modules: Names of the adapted modules, in place of the three flags; None: by the flags.
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


class LoraWeights:
    """The adapters that live on one base model; one of them is active at a time.

    Args:
        base: The base model.
        sharded: Whether its weights are split over processes, so that none of them can be changed.
    """

    def __init__(self, base: BaseModel, *, sharded: bool = False) -> None:
        self.base = base
        # Looked for before there is an adapter, which renames what it adapts.
        self._adaptable = adaptable(base.model)
        self._base_parameters = base.model.num_parameters()
        plain = base.dtype == torch.float32 and base.quantization == "none" and base.matmul == "float32"
        self._mergeable = plain and not sharded
        on_cpu = base.device.type == "cpu" and base.dtype == torch.float32 and base.quantization == "none"
        self._packable = on_cpu and not sharded
        self._peft: Any = None
        self._specs: dict[str, LoraSpec] = {}
        # The snapshot in SAMPLER_SLOT.
        self._sampled: Snapshot | None = None
        # The adapter that is added into the base's weights; those weights, each with what it was.
        self._merged: str | None = None
        self._unmerged: list[tuple[Tensor, Tensor]] = []
        # What the packed weights are of, in a tuple: the snapshot, or None for the bare base; None if none are packed.
        self._packed: tuple[Snapshot | None] | None = None
        self._packed_copies = PrepackedCopies()

    def add(self, name: str, spec: Spec, state: dict[str, Tensor] | None = None) -> None:
        """Add an adapter, with the weights of `state` if given.

        Raises:
            BackendError: The model has no module that the flags ask for, or `state` does not fit the spec.
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

    def describe(self, spec: Spec) -> Description:
        """What is trained: adapted modules, parameters, and their share of all in percent, as PEFT counts it."""
        assert isinstance(spec, LoraSpec)
        names = self.targets(spec)
        trained = sum(self._adapter_size(path, spec) for path in matched(names, self._adaptable.modules))
        return {
            "adapted_modules": names,
            "trained_parameters": trained,
            "trained_percent": round(100 * trained / (self._base_parameters + trained), 4),
        }

    def _adapter_size(self, path: str, spec: LoraSpec) -> int:
        """Parameters of the adapter of one module."""
        layer: Any = self.base.model.get_submodule(path)
        layer = getattr(layer, "base_layer", layer)
        # GPT-2's layers say their widths by their weight alone, which quantised ones do not.
        wide = (layer.in_features, layer.out_features) if hasattr(layer, "in_features") else layer.weight.shape
        return spec.rank * sum(wide) + (wide[1] if spec.dora else 0)

    def adapts_head(self, spec: LoraSpec) -> bool:
        """Whether an adapter of this spec changes the output layer."""
        return bool(matched(self.targets(spec), self._adaptable.unembed))

    def remove(self, name: str) -> None:
        """Forget an adapter; that of an offloaded client is forgotten already."""
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
        found = {}
        for key, parameter in self._peft.named_parameters():
            if "lora_" in key and marker in key:
                found[key.replace(marker, ".")] = parameter
        return dict(sorted(found.items()))

    def state(self, name: str) -> dict[str, Tensor]:
        """A copy of the weights, on the CPU."""
        return {key: p.detach().to("cpu", copy=True) for key, p in self.parameters(name).items()}

    def load(self, name: str, state: dict[str, Tensor]) -> None:
        """Set the weights.

        Raises:
            BackendError: `state` is of other modules or other shapes.
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
        """Nothing: an adapter's files are complete."""
        return ()

    def start_dropout(self) -> None:
        """Put the adapted layers, and no others, into training mode; `model.eval()` ends it."""
        from peft.tuners.lora import LoraLayer

        for module in list(self.base.model.modules()):
            if isinstance(module, LoraLayer):
                # Its subclasses are modules.
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

        A float32 base gets the adapter merged in for the time, which is faster and exact to rounding; another base
        keeps it apart, since merging into low precision would change the weights that were trained, and so does one
        that is split over the processes. DoRA is kept apart too: its weight is not base plus product. On a CPU the
        weights are packed instead (`backends.local.model.prepacked_weights`).
        """
        packed = self._packed_again(snapshot)
        if not packed and snapshot is not None:
            self._load_snapshot(snapshot)
        if packed or self._pack(snapshot):
            with nullcontext() if self._peft is None else self._peft.disable_adapter():
                yield self.base.model
            return
        if snapshot is None:
            with self.active(None) as model:
                yield model
            return
        assert isinstance(snapshot.spec, LoraSpec)
        mergeable = self._mergeable and not snapshot.spec.dora
        with (self.merged if mergeable else self.active)(SAMPLER_SLOT) as model:
            yield model

    def _load_snapshot(self, snapshot: Snapshot) -> None:
        """Put a snapshot's weights into the adapter that is sampled from."""
        if self._sampled is not snapshot:
            if self._sampled is not None:
                self.remove(SAMPLER_SLOT)
                self._sampled = None
            self.add(SAMPLER_SLOT, snapshot.spec, snapshot.state)
            self._sampled = snapshot

    def keep_prepacked(self, copies: int, has_room: Callable[[], bool]) -> None:
        """Keep packed weights for later while something else is asked of the model.

        Args:
            copies: How many, each as large as the base model.
            has_room: Whether memory is free.
        """
        self._packed_copies.keep(copies, has_room)

    def _packed_again(self, snapshot: Snapshot | None) -> bool:
        """Take up what is packed of a snapshot, adapter included, if it is in use or was kept."""
        if self._packed is not None and self._packed[0] is snapshot:
            return True
        kept = self._packed_copies.take(snapshot)
        if kept is None:
            return False
        self.restore()
        # Not if a module has got its first adapter since, or lost its last.
        if pack_again(self.base.model, kept):
            self._packed = (snapshot,)
        return self._packed is not None

    def _pack(self, snapshot: Snapshot | None) -> bool:
        """Pack the base's weights with the adapter of the snapshot, unless they are already; False if they cannot be.

        They stay packed, in addition to the base's own, until something else is asked of it.
        """
        if not self._packable:
            return False
        if self._packed is None or self._packed[0] is not snapshot:
            with self.active(None if snapshot is None else SAMPLER_SLOT) as model, torch.no_grad():
                self._packed = (snapshot,) if pack(model) else None
        return self._packed is not None

    def merge_into_base(self, name: str) -> PreTrainedModel:
        """Add this adapter into the base model for good, and return the plain model. No other adapter survives it.

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
        """The base model with this adapter added into its weights.

        The base gets its own weights back, bit for bit, when something else is asked of it: until then the next
        `merged` costs nothing. Only for an unquantised base; takes a second copy of the adapted weights meanwhile.
        """
        if self._merged != name:
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

        for module in self.base.model.modules():
            if isinstance(module, LoraLayer) and name in module.lora_A:
                weight: Any = module.get_base_layer().weight
                # Its subclasses have the method.
                delta: Tensor = module.get_delta_weight(name)  # type: ignore[operator]
                total = delta.add_(weight.data).to(weight.dtype)
                self._unmerged.append((weight, weight.data))
                # Stored by input: with few rows, the products of decoding read it up to a third faster so.
                weight.data = total.t().contiguous().t()
        self._merged = name

    def restore(self) -> None:
        """Give the base its own weights back, if an adapter is merged into them or they are packed."""
        if self._packed is not None:
            self._packed_copies.put(self._packed[0], unpack(self.base.model))
            self._packed = None
        for weight, data in self._unmerged:
            weight.data = data
        self._merged, self._unmerged = None, []
