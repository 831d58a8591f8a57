"""Which modules of a model LoRA adapts: found by the part that they belong to, without lists of architectures.

`train_attn` stands for everything that mixes positions (attention and what other models have in its place), `train_mlp`
for the feed-forward layers, `train_unembed` for the output layer. A flag adapts all linear layers of its part or is
refused: what it cannot adapt is never left out silently. Never adapted are the input embedding, routers, and whatever
else a layer has besides the three parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from backends.interface import BackendError

# Names of the parts in the layers of Hugging Face's models.
MIXERS = {"self_attn", "attn", "attention", "self_attention", "linear_attn", "temporal_block", "conv", "mamba", "mixer"}
MLPS = {"mlp", "feed_forward", "ffn", "block_sparse_moe", "moe", "shared_mlp", "mlp_block"}
# Feed-forward layers that lie directly in a layer, or in a `mixer`.
MLP_LAYERS = {"fc1", "fc2", "gate_proj", "up_proj", "down_proj", "fc1_latent_proj", "fc2_latent_proj"}
ROUTERS = {"gate", "router", "shared_expert_gate"}
# The only layer of a Mamba mixer (which has parameters A_log and D) that can be adapted: its kernels read its other
# weights directly, past any adapter.
MAMBA_LAYERS = {"in_proj"}


@dataclass(frozen=True, slots=True)
class Adaptable:
    """The linear layers of a base model, by the flag that adapts them.

    Attributes:
        attention: Paths of those of attention, and of what stands in its place.
        mlp: Paths of those of the feed-forward layers.
        unembed: Path of the output layer, if it is a linear layer.
        experts: Paths of experts that are one three-dimensional parameter, which LoRA here does not adapt.
        modules: Paths of all modules.
    """

    attention: tuple[str, ...]
    mlp: tuple[str, ...]
    unembed: tuple[str, ...]
    experts: tuple[str, ...]
    modules: tuple[str, ...]


def find_adaptable(model: Any) -> Adaptable:
    """Find the adaptable layers of a base model that has no adapters yet."""
    modules = dict(model.named_modules())
    head, decoder = model.get_output_embeddings(), model.get_decoder()
    decoder_path = next(path for path, module in modules.items() if module is decoder)
    prefix = f"{decoder_path}." if decoder_path else ""
    by_part: dict[str, list[str]] = {"attention": [], "mlp": []}
    for path, module in modules.items():
        if path.startswith(prefix) and isinstance(module, nn.Linear | Conv1D):
            owner = modules[path.rpartition(".")[0]]
            if module is not head and (part := _part(path.removeprefix(prefix), owner)):
                by_part[part].append(path)
    return Adaptable(
        attention=tuple(by_part["attention"]),
        mlp=tuple(by_part["mlp"]),
        unembed=tuple(path for path, m in modules.items() if m is head and isinstance(m, nn.Linear)),
        experts=tuple(
            path
            for path, parameter in model.named_parameters()
            if path.startswith(prefix)
            and parameter.ndim == 3
            and not isinstance(modules[path.rpartition(".")[0]], nn.Conv1d)
        ),
        modules=tuple(path for path in modules if path),
    )


def _part(path: str, owner: nn.Module) -> str | None:
    """The part of a layer that a linear layer belongs to, by its path in the decoder; None for neither."""
    names = path.split(".")
    layer_index = next((i for i, name in enumerate(names) if name.isdigit()), None)
    if layer_index is None or layer_index == len(names) - 1:
        return None
    *parents, leaf = names[layer_index + 1 :]
    if leaf in ROUTERS or (hasattr(owner, "A_log") and hasattr(owner, "D") and leaf not in MAMBA_LAYERS):
        return None
    if MLPS & {*parents} or leaf in MLP_LAYERS:
        return "mlp"
    return "attention" if MIXERS & {*parents} else None


def choose_targets(
    adaptable: Adaptable,
    model: str,
    *,
    train_attn: bool,
    train_mlp: bool,
    train_unembed: bool,
    named: Sequence[str] | None,
) -> list[str]:
    """Names of the modules that an adapter changes, each the shortest ending of their paths that nothing else has.

    Args:
        adaptable: The layers that the model has.
        model: Its name.
        train_attn: Adapt what mixes positions.
        train_mlp: Adapt the feed-forward layers.
        train_unembed: Adapt the output layer.
        named: Names of the modules, in place of the three flags.

    Raises:
        BackendError: A flag or a name matches nothing that can be adapted; the message lists what there is.
    """
    if named is not None:
        if missing := [n for n in named if not any(_ends(path, n) for path in adaptable.modules)]:
            raise BackendError(
                f'local.target_modules: "{model}" has no module {", ".join(missing)}; its linear layers are '
                f"{_list_layers(adaptable)}."
            )
        return list(named)
    chosen: list[str] = []
    for flag, wanted, paths in (
        ("train_attn", train_attn, adaptable.attention),
        ("train_mlp", train_mlp, adaptable.mlp),
        ("train_unembed", train_unembed, adaptable.unembed),
    ):
        if wanted and flag == "train_mlp" and adaptable.experts:
            names = ", ".join(dict.fromkeys(_short(path) for path in adaptable.experts))
            raise BackendError(
                f'lora.train_mlp: the experts of "{model}" ({names}) are three-dimensional parameters, which LoRA does '
                "not adapt here, so its MLP would be trained in part. Set lora.train_mlp=false to adapt the rest, or "
                "name single modules in local.target_modules."
            )
        if wanted and not paths:
            raise BackendError(
                f'lora.{flag}: "{model}" has nothing that it would adapt; its linear layers are '
                f"{_list_layers(adaptable)}. Set lora.{flag}=false, or name modules in local.target_modules."
            )
        chosen += paths if wanted else ()
    return shortest_names(chosen, adaptable.modules)


def shortest_names(chosen: Sequence[str], modules: Sequence[str]) -> list[str]:
    """The shortest endings of the chosen paths that match no other module, in their order, each once."""
    counts = Counter(ending for path in modules for ending in _endings(path))
    chosen_counts = Counter(ending for path in chosen for ending in _endings(path))
    return list(
        dict.fromkeys(next(e for e in _endings(path) if chosen_counts[e] == counts[e] or e == path) for path in chosen)
    )


def match_modules(names: Sequence[str], modules: Sequence[str]) -> list[str]:
    """The paths that end in one of the names."""
    return [path for path in modules if any(_ends(path, name) for name in names)]


def _endings(path: str) -> list[str]:
    names = path.split(".")
    return [".".join(names[-length:]) for length in range(1, len(names) + 1)]


def _ends(path: str, name: str) -> bool:
    return path == name or path.endswith(f".{name}")


def _short(path: str) -> str:
    """The part of a path after its last layer number."""
    names = path.split(".")
    last = max((i for i, name in enumerate(names) if name.isdigit()), default=-1)
    return ".".join(names[last + 1 :])


def _list_layers(adaptable: Adaptable) -> str:
    """Names of the linear layers, for messages."""
    paths = [*adaptable.attention, *adaptable.mlp, *adaptable.unembed]
    return ", ".join(dict.fromkeys(_short(path) for path in paths)) or "none that LoRA knows"
