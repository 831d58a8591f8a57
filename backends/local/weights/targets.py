"""Which modules of a model LoRA adapts: found by what they are part of, so that no architecture has a list here.

`train_attn` stands for everything that mixes positions (attention and what other models have in its place), `train_mlp`
for the feed-forward layers, `train_unembed` for the output layer. A flag adapts all linear layers of its part or is
refused: what it cannot adapt is never left out in silence. Not adapted, whatever the flags: the input embedding,
routers, and whatever else a layer has apart from the three parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from backends.interface import BackendError

# What the parts are called in the layers of Hugging Face's models.
MIXERS = {"self_attn", "attn", "attention", "self_attention", "linear_attn", "temporal_block", "conv", "mamba", "mixer"}
MLPS = {"mlp", "feed_forward", "ffn", "block_sparse_moe", "moe", "shared_mlp", "mlp_block"}
# Feed-forward layers that lie directly in a layer, or in a `mixer`.
MLP_LAYERS = {"fc1", "fc2", "gate_proj", "up_proj", "down_proj", "fc1_latent_proj", "fc2_latent_proj"}
ROUTERS = {"gate", "router", "shared_expert_gate"}
# Of a Mamba mixer, which has parameters A_log and D: its kernels read its other weights themselves, past any adapter.
OF_MAMBA = {"in_proj"}


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


def adaptable(model: Any) -> Adaptable:
    """Look through a base model that has no adapters yet."""
    modules = dict(model.named_modules())
    head, decoder = model.get_output_embeddings(), model.get_decoder()
    path_of_decoder = next(path for path, module in modules.items() if module is decoder)
    inside = f"{path_of_decoder}." if path_of_decoder else ""
    found: dict[str, list[str]] = {"attention": [], "mlp": []}
    for path, module in modules.items():
        if path.startswith(inside) and isinstance(module, nn.Linear | Conv1D):
            owner = modules[path.rpartition(".")[0]]
            if module is not head and (part := _part(path.removeprefix(inside), owner)):
                found[part].append(path)
    return Adaptable(
        attention=tuple(found["attention"]),
        mlp=tuple(found["mlp"]),
        unembed=tuple(path for path, m in modules.items() if m is head and isinstance(m, nn.Linear)),
        experts=tuple(
            path
            for path, parameter in model.named_parameters()
            if path.startswith(inside)
            and parameter.ndim == 3
            and not isinstance(modules[path.rpartition(".")[0]], nn.Conv1d)
        ),
        modules=tuple(path for path in modules if path),
    )


def _is_convolution(modules: dict[str, nn.Module], path: str) -> bool:
    """Whether a parameter is that of a convolution."""
    return isinstance(modules[path.rpartition(".")[0]], nn.Conv1d)


def _part(path: str, owner: nn.Module) -> str | None:
    """The part of a layer that a linear layer belongs to, by its path in the decoder; None for neither."""
    names = path.split(".")
    place = next((i for i, name in enumerate(names) if name.isdigit()), None)
    if place is None or place == len(names) - 1:
        return None
    *parents, leaf = names[place + 1 :]
    if leaf in ROUTERS or (hasattr(owner, "A_log") and hasattr(owner, "D") and leaf not in OF_MAMBA):
        return None
    if MLPS & {*parents} or leaf in MLP_LAYERS:
        return "mlp"
    return "attention" if MIXERS & {*parents} else None


def choose_targets(
    found: Adaptable, model: str, *, train_attn: bool, train_mlp: bool, train_unembed: bool, named: Sequence[str] | None
) -> list[str]:
    """Names of the modules that an adapter changes, each the shortest ending of their paths that nothing else has.

    Args:
        found: What the model has.
        model: Its name.
        train_attn: Adapt what mixes positions.
        train_mlp: Adapt the feed-forward layers.
        train_unembed: Adapt the output layer.
        named: Names of the modules, in place of the three flags.

    Raises:
        BackendError: A flag or a name finds nothing that can be adapted; the message says what there is.
    """
    if named is not None:
        if missing := [n for n in named if not any(_ends(path, n) for path in found.modules)]:
            raise BackendError(
                f'local.target_modules: "{model}" has no module {", ".join(missing)}; its linear layers are '
                f"{_seen(found)}."
            )
        return list(named)
    chosen: list[str] = []
    for flag, wanted, paths in (
        ("train_attn", train_attn, found.attention),
        ("train_mlp", train_mlp, found.mlp),
        ("train_unembed", train_unembed, found.unembed),
    ):
        if wanted and flag == "train_mlp" and found.experts:
            names = ", ".join(dict.fromkeys(_short(path) for path in found.experts))
            raise BackendError(
                f'lora.train_mlp: the experts of "{model}" ({names}) are three-dimensional parameters, which LoRA does '
                "not adapt here, so its MLP would be trained in part. Set lora.train_mlp=false to adapt the rest, or "
                "name single modules in local.target_modules."
            )
        if wanted and not paths:
            raise BackendError(
                f'lora.{flag}: "{model}" has nothing that it would adapt; its linear layers are {_seen(found)}. Set '
                f"lora.{flag}=false, or name modules in local.target_modules."
            )
        chosen += paths if wanted else ()
    return names_of(chosen, found.modules)


def names_of(chosen: Sequence[str], modules: Sequence[str]) -> list[str]:
    """The shortest endings of the chosen paths that no other module's path has, in their order, each once."""
    everywhere = Counter(ending for path in modules for ending in _endings(path))
    among = Counter(ending for path in chosen for ending in _endings(path))
    return list(
        dict.fromkeys(next(e for e in _endings(path) if among[e] == everywhere[e] or e == path) for path in chosen)
    )


def matched(names: Sequence[str], modules: Sequence[str]) -> list[str]:
    """The paths that names stand for."""
    return [path for path in modules if any(_ends(path, name) for name in names)]


def _endings(path: str) -> list[str]:
    names = path.split(".")
    return [".".join(names[-length:]) for length in range(1, len(names) + 1)]


def _ends(path: str, name: str) -> bool:
    return path == name or path.endswith(f".{name}")


def _short(path: str) -> str:
    """A path without the numbers of layers, from the last of them on."""
    names = path.split(".")
    last = max((i for i, name in enumerate(names) if name.isdigit()), default=-1)
    return ".".join(names[last + 1 :])


def _seen(found: Adaptable) -> str:
    paths = [*found.attention, *found.mlp, *found.unembed]
    return ", ".join(dict.fromkeys(_short(path) for path in paths)) or "none that LoRA knows"
