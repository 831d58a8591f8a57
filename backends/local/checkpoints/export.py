"""Exports trained weights for other programs: as a PEFT adapter, or as the base model with the adapter merged in.

An adapter is never merged into quantised weights: the base is loaded again in its stored dtype, PEFT adds the adapter
in that dtype, and the result is rounded once to the dtype of the export. An output layer that is tied to the input
embedding is untied first (`backends.local.model.load.untie`), since the adapter changes only one of the two. How far
the rounding, and the change of base, move the logits is measured on real prompts and recorded with the files.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from backends.base_models import hub_id, locate
from backends.interface import BackendError
from backends.local.checkpoints.files import Checkpoint, write_adapter
from backends.local.checkpoints.store import CheckpointStore
from backends.local.model.load import DTYPES, LoadedModel, load_base_model
from backends.local.weights.full import FullSpec, FullWeights
from backends.local.weights.lora import LoraSpec, LoraWeights
from backends.options import BackendOptions, LocalOptions
from backends.saved_weights import LogitGap, Probe, SavedWeights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Name of the adapter, and of the checkpoint and its run, while exporting.
NAME = "export"
# Modules that Tinker's three flags adapt in the models that it trains; an adapter of other modules names them.
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj"}
MLP = {"gate_proj", "up_proj", "down_proj", "gate_up_proj"}
UNEMBED = {"lm_head"}


@dataclass
class LocalWeights:
    """Trained weights read from disk, with the options of their training."""

    checkpoint: Checkpoint
    options: LocalOptions

    @classmethod
    def open(
        cls, base_model: str, options: BackendOptions, checkpoints: Path | None, path: str, directory: Path | None
    ) -> LocalWeights:
        """See `backends.exporting.open_weights`."""
        if directory is not None:
            checkpoint = read_adapter(directory, base_model)
        else:
            checkpoint = CheckpointStore(checkpoints or Path()).read(path, optimizer=False)
        return cls(checkpoint, LocalOptions.read(options))

    def save_adapter(self, target: Path) -> SavedWeights:
        """Write the adapter as plain PEFT reads it, with the base model named as the Hub knows it."""
        write_adapter(target, self.checkpoint, hub_id(self.checkpoint.base_model))
        return self._record()

    def save_checkpoint(self, checkpoints: Path, seed: int | None = None) -> str:
        """Write a checkpoint of the local backend, to sample from it or to train it further."""
        checkpoint = self.checkpoint
        if seed is not None:
            # Seed and dropout are those of the new training.
            spec = checkpoint.spec
            if isinstance(spec, LoraSpec):
                spec = replace(spec, seed=seed, dropout=self.options.lora_dropout)
            else:
                spec = FullSpec(seed)
            checkpoint = replace(checkpoint, spec=spec)
        return CheckpointStore(checkpoints).write(NAME, "sampler", NAME, checkpoint, overwrite=True)

    def save_merged(self, target: Path, dtype: str, probes: Sequence[Probe]) -> SavedWeights:
        """Write the merged model, or a fully trained one, with its tokenizer and generation settings, in `dtype`."""
        if self.checkpoint.spec.method == "full":
            return self._save_full(target, dtype)
        trained_logits = self._trained_logits(probes)
        base, adapters = self._load(quantization="none")
        spec = self.checkpoint.spec
        adapts_head = isinstance(spec, LoraSpec) and adapters.adapts_head(spec)
        tied = _is_tied(base)
        with torch.no_grad():
            before = _logits(base, adapters, probes)
            model = adapters.merge_into_base(NAME)
            _cast(model, DTYPES[dtype])
            # Rounded, and then computed in the dtype of before, so that the gap is due to the weights alone.
            _cast(model, base.dtype)
            after = _logits(base, None, probes)
        if tied and not adapts_head:
            _tie_again(model)
        _cast(model, DTYPES[dtype])
        model.save_pretrained(target)
        base.tokenizer.save_pretrained(target)
        return replace(
            self._record(),
            dtype=dtype,
            logit_gap=replace(logit_gap(before, after), computed_in=str(base.dtype).removeprefix("torch.")),
            not_compared=trained_logits if isinstance(trained_logits, str) else None,
            logit_gap_to_quantized=logit_gap(trained_logits, after) if isinstance(trained_logits, list) else None,
        )

    def _save_full(self, target: Path, dtype: str) -> SavedWeights:
        """Write the weights of full fine-tuning, which need no merge, rounded to `dtype`."""
        base = load_base_model(self.checkpoint.base_model, LocalOptions(method="full", device="cpu", dtype="float32"))
        FullWeights(base).load(NAME, self.checkpoint.weights)
        _cast(base.model, DTYPES[dtype])
        base.model.save_pretrained(target)
        base.tokenizer.save_pretrained(target)
        return replace(self._record(), dtype=dtype)

    def _record(self) -> SavedWeights:
        return SavedWeights(
            base_model=hub_id(self.checkpoint.base_model),
            trained_base=self.checkpoint.base_model,
            trained_quantization=self.options.quantization,
            lora=self.checkpoint.spec.as_dict() if isinstance(self.checkpoint.spec, LoraSpec) else None,
        )

    def _load(self, quantization: str) -> tuple[LoadedModel, LoraWeights]:
        name, options = self.checkpoint.base_model, self.options
        # On the CPU: the model may fit on the GPU only if it is quantised.
        if quantization == "none":
            options = LocalOptions.model_validate({"device": "cpu", "dtype": _stored_dtype(name)})
        base = load_base_model(name, options)
        adapters = LoraWeights(base)
        spec = self.checkpoint.spec
        assert isinstance(spec, LoraSpec)
        adapters.add(NAME, spec, self.checkpoint.weights)
        return base, adapters

    def _trained_logits(self, probes: Sequence[Probe]) -> list[Tensor] | str | None:
        """Logits with the quantised base of the training, or why there are none; None if it was not quantised."""
        if self.options.quantization == "none":
            return None
        try:
            base, adapters = self._load(self.options.quantization)
        except BackendError as error:
            # The device or bitsandbytes is missing.
            return str(error)
        with torch.no_grad(), base.autocast():
            logits = _logits(base, adapters, probes)
        del base, adapters
        gc.collect()
        return logits


def read_adapter(directory: Path, base_model: str) -> Checkpoint:
    """Read a PEFT adapter, or one of the Tinker API, which writes ``unembed_tokens`` for ``lm_head``.

    Raises:
        BackendError: The directory has no such adapter.
    """
    try:
        config = json.loads((directory / "adapter_config.json").read_text())
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        saved = load_file(directory / "adapter_model.safetensors")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise BackendError(
            f"{directory} has no LoRA adapter that can be read ({type(error).__name__}: {error}); "
            "adapter_config.json and adapter_model.safetensors are needed."
        ) from error
    state = {
        key.replace(".model.model.unembed_tokens.", ".model.lm_head."): value.float() for key, value in saved.items()
    }
    adapted = {key.split(".lora_")[0].rpartition(".")[2] for key in state}
    spec = LoraSpec(
        rank=rank,
        alpha=alpha,
        seed=0,
        train_attn=bool(adapted & ATTENTION),
        train_mlp=bool(adapted & MLP),
        train_unembed=bool(adapted & UNEMBED),
        rslora=bool(config.get("use_rslora")),
        dora=bool(config.get("use_dora")),
    )
    named = config.get("target_modules")
    if adapted - ATTENTION - MLP - UNEMBED and isinstance(named, list):
        spec = replace(spec, modules=tuple(sorted(named)))
    return Checkpoint(base_model, spec, dict(sorted(state.items())), None, list(spec.modules or sorted(adapted)))


def logit_gap(before: Sequence[Tensor], after: Sequence[Tensor]) -> LogitGap:
    """The differences of two lists of logits, each ``[T, V]``, over all positions of all probes."""
    old, new = torch.cat([*before]).double(), torch.cat([*after]).double()  # [N, V]
    difference = (old - new).abs()
    divergence = (old.log_softmax(-1).exp() * (old.log_softmax(-1) - new.log_softmax(-1))).sum(-1)  # [N]
    return LogitGap(
        prompts=len(before),
        positions=len(old),
        max_abs=difference.max().item(),
        mean_abs=difference.mean().item(),
        mean_kl=divergence.mean().item(),
        same_top_token=(old.argmax(-1) == new.argmax(-1)).double().mean().item(),
    )


def _logits(base: LoadedModel, adapters: LoraWeights | None, probes: Sequence[Probe]) -> list[Tensor]:
    """Logits ``[T, V]`` at the positions that predict each probe's answer, in float32 on the CPU."""
    logits_of_probes = []
    for probe in probes:
        # A chat template has written the BOS already.
        has_bos = probe.prompt.startswith(base.tokenizer.bos_token or "\0")
        prompt = base.tokenizer.encode(probe.prompt, add_special_tokens=not has_bos)
        answer = base.tokenizer.encode(probe.answer, add_special_tokens=False)
        ids = torch.tensor([prompt + answer], device=base.device)[:, : base.max_length]
        if adapters is None:
            logits = base.model(ids).logits
        else:
            with adapters.active(NAME) as model:
                logits = model(ids).logits
        logits_of_probes.append(logits[0, len(prompt) - 1 :].float().cpu())
    return logits_of_probes


def _cast(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Change the dtype of the parameters only; rounding buffers (rotary frequencies) would change the model."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def _stored_dtype(name: str) -> str:
    """The dtype of a model's files; float32 if they do not say."""
    from transformers import AutoConfig

    dtype = str(getattr(AutoConfig.from_pretrained(locate(name)), "dtype", None)).removeprefix("torch.")
    return dtype if dtype in DTYPES else "float32"


def _is_tied(base: LoadedModel) -> bool:
    """Whether the stored model ties its output layer to the input embedding."""
    from transformers import AutoConfig

    return bool(AutoConfig.from_pretrained(base.location).get_text_config().tie_word_embeddings)


def _tie_again(model: PreTrainedModel) -> None:
    """Undo `untie`: neither of the two weights has changed."""
    model.get_output_embeddings().weight = model.get_input_embeddings().weight
    model.config.tie_word_embeddings = True
