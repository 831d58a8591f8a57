"""The files of one checkpoint: written whole, verified when read.

A LoRA checkpoint is a PEFT adapter (``adapter_model.safetensors`` and ``adapter_config.json``, which plain PEFT loads);
one of full fine-tuning is a Hugging Face model (``model.safetensors``, ``config.json`` and the tokenizer). A training
checkpoint adds ``optimizer.safetensors``. ``checkpoint.json`` names the base model, what was trained of it, the step,
the versions that wrote it, and a SHA-256 of every other file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from backends.interface import BackendError
from backends.local.checkpoints.manifest import MANIFEST_FILE, CheckpointManifest, Listing, write_json
from backends.local.weights.finite_weights import MAX_MAGNITUDE
from backends.local.weights.lora import LoraSpec
from backends.local.weights.protocol import Method, Pretrained, Spec
from backends.paths import flush_to_disk

# Tensors up to this size, in bytes, are copied in memory before they are written.
MAX_COPIED_BYTES = 1 << 30
ADAPTER = "adapter_model.safetensors"
MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
PACKAGES = ("torch", "transformers", "peft", "tinker")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The contents of a checkpoint.

    Attributes:
        base_model: Name of the base model.
        spec: What defines the adapter, or the full fine-tuning, apart from the weights.
        weights: Tensors by PEFT's key; by the model's own names after full fine-tuning.
        optimizer: The optimiser's tensors; None in weights for sampling.
        target_modules: Names of the modules that an adapter changes.
        step: Optimiser steps so far; together with the seed it determines all further random draws.
        pretrained: Configuration and tokenizer to write next to full weights.
    """

    base_model: str
    spec: Spec
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor] | None
    target_modules: list[str]
    step: int = 0
    pretrained: tuple[Pretrained, ...] = ()


def check_weights(weights: dict[str, Tensor]) -> None:
    """Refuse weights that are not finite, or so large that nothing can be computed with them.

    Raises:
        BackendError: A weight is NaN, infinite, or beyond `MAX_MAGNITUDE`; the message names the tensor.
    """
    for name, tensor in weights.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        # `aminmax` propagates NaN, and takes one pass without a copy.
        low, high = (float(bound) for bound in tensor.aminmax())
        if not (abs(low) <= MAX_MAGNITUDE and abs(high) <= MAX_MAGNITUDE):
            raise BackendError(
                f"The weights are not finite, or beyond {MAX_MAGNITUDE:g}, and were not saved: {name} goes from "
                f"{low:.3g} to {high:.3g}. Earlier checkpoints are untouched."
            )


def write_files(directory: Path, checkpoint: Checkpoint, listing: Listing, public_name: str) -> None:
    """Write a checkpoint into an empty directory and flush it to the disk.

    Args:
        directory: The directory.
        checkpoint: What to write.
        listing: How it is listed.
        public_name: The name of its base model for other programs, which may be another than where it is loaded from.

    Raises:
        OSError: The disk is full or not writable; safetensors raises a `SafetensorError`.
    """
    if checkpoint.spec.method == "lora":
        write_adapter(directory, checkpoint, public_name)
    else:
        save_file(checkpoint.weights, directory / MODEL, metadata={"format": "pt"})
    if checkpoint.optimizer is not None:
        _write_tensors(checkpoint.optimizer, directory / OPTIMIZER)
    for part in checkpoint.pretrained:
        part.save_pretrained(directory)
    manifest = CheckpointManifest(
        base_model=checkpoint.base_model,
        spec=checkpoint.spec,
        has_optimizer=checkpoint.optimizer is not None,
        step=checkpoint.step,
        listing=listing,
        versions={package: metadata.version(package) for package in PACKAGES},
        sha256={file.name: _digest(file) for file in sorted(directory.iterdir())},
    )
    manifest.write(directory / MANIFEST_FILE)
    for file in directory.iterdir():
        flush_to_disk(file)
    # `mkdtemp` made it private.
    directory.chmod(0o755)


def write_adapter(directory: Path, checkpoint: Checkpoint, base_model: str) -> None:
    """Write an adapter as plain PEFT reads it; `base_model` is the base model's name in its configuration.

    Raises:
        BackendError: The checkpoint is of full fine-tuning and has no adapter.
    """
    spec = checkpoint.spec
    if not isinstance(spec, LoraSpec):
        raise BackendError("There is no adapter: every weight was trained. Export the whole model instead.")
    _write_tensors(checkpoint.weights, directory / ADAPTER, metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": spec.rank,
        "lora_alpha": spec.alpha,
        "lora_dropout": spec.dropout,
        "use_rslora": spec.rslora,
        "use_dora": spec.dora,
        "target_modules": checkpoint.target_modules,
        "inference_mode": True,
    }
    write_json(directory / "adapter_config.json", config)


def _write_tensors(tensors: dict[str, Tensor], file: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file; other threads run while the disk writes, which `save_file` does not allow."""
    if sum(tensor.nbytes for tensor in tensors.values()) > MAX_COPIED_BYTES:
        save_file(tensors, file, metadata=metadata)
    else:
        file.write_bytes(save(tensors, metadata=metadata))


def read_files(directory: Path, path: str, *, optimizer: bool) -> Checkpoint:
    """Read a checkpoint's files and compare their checksums; `path` names it in messages.

    Raises:
        BackendError: It is incomplete or damaged, another version wrote it, or it has no optimiser though one is
            requested.
    """
    try:
        manifest = CheckpointManifest.read(directory)
        for file, digest in manifest.sha256.items():
            if _digest(directory / file) != digest:
                raise BackendError(f"{path} is damaged: {file} does not have the checksum it was saved with.")
        if optimizer and not manifest.has_optimizer:
            raise BackendError(f"{path} has no optimiser state; it can be sampled from, not continued.")
        adapter = manifest.spec.method == "lora"
        config = json.loads((directory / "adapter_config.json").read_text()) if adapter else {"target_modules": []}
        return Checkpoint(
            base_model=manifest.base_model,
            spec=manifest.spec,
            weights=load_file(directory / (ADAPTER if adapter else MODEL)),
            optimizer=load_file(directory / OPTIMIZER) if optimizer else None,
            target_modules=config["target_modules"],
            step=manifest.step,
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise BackendError(f"{path} cannot be read ({type(error).__name__}: {error}); it is damaged.") from error


def check_base(path: str, saved: str, wanted: str | None) -> None:
    """Raise BackendError if a checkpoint belongs to another base model than the requested one; None accepts any."""
    if wanted is not None and wanted != saved:
        raise BackendError(f'{path} was trained on "{saved}", not on "{wanted}".')


def check_method(path: str, saved: Spec, wanted: Method) -> None:
    """Raise BackendError if a checkpoint has an adapter where full weights are expected, or vice versa."""
    if saved.method != wanted:
        raise BackendError(f"{path} was trained with local.method={saved.method}; set it so to use this checkpoint.")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
