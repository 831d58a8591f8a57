"""Loading the base model: device, dtype, quantisation, attention; and what to do about errors."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from backends.base_models import PACKAGED, load_tokenizer, locate
from backends.interface import BackendError
from backends.local.model import packed_attention
from backends.local.model.architecture_traits import attention_alone, text_config
from backends.local.model.frozen_products import freeze_linear_layers
from backends.local.model.fsdp import shard
from backends.local.model.fused_llama import fuse
from backends.local.model.matmul_dtype import pick_matmul
from backends.local.model.quantization import load_peft, pick_quantization, quantization_config, settle_on_cpu
from backends.local.preflight import no_device, no_gpu
from backends.options import LocalOptions
from backends.planning.batch_plan import may_pack, may_share_prefixes
from backends.tokenizer import PretrainedTokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Held while loading: transformers sets a default device for all threads meanwhile.
LOADING = threading.Lock()
# Tokenizers without a limit have a `model_max_length` beyond this.
UNLIMITED = 10**9
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Architectures with which scripts/check_architectures.py finds wrong results, by `model_type`, and why.
UNSUPPORTED = {
    "bloom": "its positions come from an attention mask of two dimensions, which batches of examples do not have",
    "bamba": "what it samples in a batch is not what it samples alone",
}


@dataclass
class LoadedModel:
    """A frozen causal language model with its tokenizer.

    Attributes:
        name: The name by which it was requested.
        location: Hub id or directory that it was loaded from.
        model: The Hugging Face model; its parameters require no gradients.
        tokenizer: Its tokenizer.
        device: The device of its weights.
        dtype: Dtype of the unquantised weights and of the matrix products.
        quantization: ``none``, ``nf4`` or ``int8``.
        max_length: Longest sequence, in tokens.
        packing: Whether rows of a micro-batch are packed end to end; else they are padded.
        sharing: Whether common prefixes of the rows of a micro-batch are computed once.
        matmul: ``bfloat16`` if the frozen weights of a float32 model are stored and multiplied in it; else ``float32``.
    """

    name: str
    location: str
    model: PreTrainedModel
    tokenizer: PretrainedTokenizer
    device: torch.device
    dtype: torch.dtype
    quantization: str
    max_length: int
    packing: bool
    sharing: bool
    matmul: str = "float32"

    def autocast(self) -> torch.autocast:
        """Matrix products in `dtype`; adapters stay float32 in memory."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)


def load_base_model(name: str, options: LocalOptions, processes: int = 1) -> LoadedModel:
    """Load a base model.

    Args:
        name: A Hub id, a directory, or a name of `backends.base_models.PACKAGED`.
        options: Device, dtype, quantisation, attention.
        processes: Number of processes that share it, with FSDP.

    Raises:
        BackendError: The model, the device or a required package is missing; the message says what to do.
    """
    device = pick_device(options.device)
    if device.type == "cuda":
        # Triton's kernels use the current device of the thread.
        torch.cuda.set_device(device)
    dtype = pick_dtype(options.dtype, device)
    attention = _pick_attention(options.attention, device, dtype)
    check_packing(options.packing, attention, device)
    apply_liger = _import_liger(device) if options.liger else None
    quantization = pick_quantization(options.quantization, device)
    location = locate(name)
    model, tokenizer = _load_files(name, location, options, device, dtype, quantization, attention)
    attention = model.config._attn_implementation
    if quantization == "none" and not options.fsdp:
        # Transformers wraps `to` in a decorator without types.
        model = model.to(device)  # type: ignore[arg-type]
    if quantization != "none" and (options.fsdp or device.type == "cpu"):
        settle_on_cpu(model)
    model.requires_grad_(False).eval()
    matmul = pick_matmul(options, device, dtype, quantization)
    is_float32 = dtype == torch.float32 and quantization == "none" and not (options.compile or apply_liger)
    if options.method == "lora":
        load_peft(quantised=quantization != "none")
        if is_float32:
            fuse(model)
    packing = _enable_packing(model, options, attention, device)
    sharing = _can_share_prefixes(model, options, packing=packing, device=device)
    if device.type == "cpu" and options.method == "lora" and is_float32 and not options.fsdp:
        # After packing and sharing were probed in float32, in which rounding is small beside a wrong result.
        freeze_linear_layers(model, DTYPES[matmul])
    if options.method == "lora":
        untie(model)
    if options.fsdp:
        shard(model, device, processes)
    if apply_liger:
        # The loss is computed by `backends.local.step`.
        apply_liger(model, fused_linear_cross_entropy=False, cross_entropy=False)
    return LoadedModel(
        name=name,
        location=location,
        model=model,
        tokenizer=tokenizer,
        device=device,
        dtype=dtype,
        quantization=quantization,
        max_length=_max_length(model, tokenizer),
        packing=packing,
        sharing=sharing,
        matmul=matmul,
    )


def _load_files(
    name: str,
    location: str,
    options: LocalOptions,
    device: torch.device,
    dtype: torch.dtype,
    quantization: str,
    attention: str,
) -> tuple[PreTrainedModel, PretrainedTokenizer]:
    """Load model and tokenizer with transformers (BackendError if that fails, or the architecture is unsupported)."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    # Weights that are trained are float32: in 16 bits, small optimiser steps vanish.
    arguments: dict[str, Any] = {"dtype": torch.float32 if options.method == "full" else dtype}
    if quantization != "none":
        arguments["quantization_config"] = quantization_config(quantization, options.double_quantization, dtype, device)
        arguments["device_map"] = {"": "cpu" if options.fsdp else device}
    try:
        with LOADING:
            tokenizer = load_tokenizer(location)
            load = partial(AutoModelForCausalLM.from_pretrained, location, **arguments)
            model = _load_with_attention(load, attention, auto=options.attention == "auto")
    except (OSError, ValueError, ImportError) as error:
        raise BackendError(_explain(name, options, error)) from error
    check_architecture(name, model.config.model_type)
    return model, tokenizer


def check_architecture(name: str, model_type: str) -> None:
    """Raise BackendError for an architecture that is known to give wrong results here."""
    if reason := UNSUPPORTED.get(model_type):
        raise BackendError(
            f'base_model: "{name}" is of the kind {model_type}, which is not supported here: {reason}. Choose a model '
            "of another kind."
        )


def _load_with_attention(load: Callable[..., PreTrainedModel], attention: str, *, auto: bool) -> PreTrainedModel:
    """Load with this attention; with `auto`, fall back to transformers' own choice if the model does not offer it."""
    try:
        return load(attn_implementation=attention)
    except ValueError as error:
        if not auto or not _is_about_attention(error):
            raise
    return load()


def _is_about_attention(error: Exception) -> bool:
    return any(
        word in str(error) for word in ("scaled_dot_product_attention", "attn_implementation", "Flash Attention")
    )


def _max_length(model: PreTrainedModel, tokenizer: Any) -> int:
    """The longest sequence, in tokens, by the model's configuration; else by its tokenizer's, or 2,048."""
    max_length = getattr(text_config(model), "max_position_embeddings", None)
    if not max_length and tokenizer.model_max_length < UNLIMITED:
        max_length = tokenizer.model_max_length
    return int(max_length or 2048)


def untie(model: PreTrainedModel) -> None:
    """Give a tied output layer its own parameter over the same memory.

    LoRA on a tied `lm_head` trains correctly, but merging it would change the input embedding as well. Both weights are
    frozen, so they can share storage; code that changes one replaces it.
    """
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is not None and head.weight is embedding.weight:
        head.weight = nn.Parameter(embedding.weight.detach(), requires_grad=False)
        model.config.tie_word_embeddings = False


def pick_device(wanted: str) -> torch.device:
    """The device to use; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        BackendError: There is no such device.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise BackendError(no_device(wanted)) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = f"{torch.cuda.device_count()} found" if torch.cuda.is_available() else "none found by PyTorch"
        raise BackendError(no_gpu(wanted, found))
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise BackendError('local.device: "mps" is not available here; set local.device=auto or cpu.')
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def pick_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """The dtype to compute in; ``auto`` is the fastest that trains well on the device."""
    if wanted != "auto":
        return DTYPES[wanted]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.float32


def _pick_attention(wanted: str, device: torch.device, dtype: torch.dtype) -> str:
    if wanted != "auto":
        return wanted
    from transformers.utils import is_flash_attn_2_available

    supported = device.type == "cuda" and dtype != torch.float32 and torch.cuda.get_device_capability(device) >= (8, 0)
    return "flash_attention_2" if supported and is_flash_attn_2_available() else "sdpa"


def check_packing(wanted: bool | str, attention: str, device: torch.device) -> None:
    """Raise BackendError if packing is requested with an attention that does not keep rows separate at no cost."""
    if wanted is True and attention != "flash_attention_2" and (device.type, attention) != ("cpu", "sdpa"):
        raise BackendError(
            f"local.packing: attention is {attention} on {device.type} here; on a GPU only flash_attention_2 keeps "
            "packed rows apart at no cost. Set local.packing=auto; rows of like length share micro-batches anyway."
        )


def _enable_packing(model: PreTrainedModel, options: LocalOptions, attention: str, device: torch.device) -> bool:
    """Prepare the model for packed rows, if the options ask for it and the attention allows it."""
    if options.packing is True and not attention_alone(model):
        raise BackendError(
            f"local.packing: a model of the kind {model.config.model_type} carries a state along the sequence, which "
            "would leak from each packed row into the next. Set local.packing=auto."
        )
    if attention == "flash_attention_2":
        return options.packing is True
    if device.type == "cpu" and may_pack(options, on_gpu=False) and packed_attention.enable(model):
        return True
    if options.packing is True:
        raise BackendError(
            "local.packing: this model's attention has a window, or is its own, and packed rows cannot be kept apart. "
            "Set local.packing=auto."
        )
    return False


def _can_share_prefixes(model: PreTrainedModel, options: LocalOptions, *, packing: bool, device: torch.device) -> bool:
    """Whether common prefixes of rows are computed once."""
    if options.share_prefixes == "auto":
        return (
            may_share_prefixes(options, on_gpu=device.type != "cpu")
            and packing
            and packed_attention.supports_shared_prefixes(model)
        )
    if options.share_prefixes and not packed_attention.supports_shared_prefixes(model):
        raise BackendError(
            f"local.share_prefixes: a model of the kind {model.config.model_type} has no way here, with "
            f"local.attention={options.attention}, for continuations to attend to a beginning in common. Set "
            "local.share_prefixes=auto."
        )
    return options.share_prefixes


def _import_liger(device: torch.device) -> Callable[..., None]:
    """The function that replaces parts of a model by Liger's kernels (BackendError if it is not available)."""
    if device.type != "cuda":
        raise BackendError(f"local.liger: Liger's kernels need a CUDA GPU, not {device.type}; set local.liger=false.")
    try:
        from liger_kernel.transformers import _apply_liger_kernel_to_instance
    except ImportError as error:
        raise BackendError(
            "local.liger: true needs the package liger-kernel, which is not installed and in no extra, since it is for "
            "CUDA alone. Install it with `pip install liger-kernel`, or set local.liger=false."
        ) from error
    return _apply_liger_kernel_to_instance


def _explain(name: str, options: LocalOptions, error: Exception) -> str:
    text = str(error)
    if isinstance(error, ImportError) and options.attention != "flash_attention_2":
        return f'base_model: "{name}" needs a package that is not installed: {text.splitlines()[0]}'
    if isinstance(error, ImportError):
        return (
            "local.attention=flash_attention_2 needs the package flash-attn, which is not installed and in no extra, "
            "since it is built for one CUDA. Install it with `pip install flash-attn --no-build-isolation`, or set "
            "local.attention=auto."
        )
    if _is_about_attention(error):
        return f'local.attention: "{name}" does not offer {options.attention}; set local.attention=auto or eager.'
    if Path(name).is_dir():
        return f'base_model: "{name}" is a directory, but not of a model that can be loaded: {text.splitlines()[0]}'
    if "gated" in text or "401" in text or "403" in text:
        return (
            f'base_model: "{name}" is gated. Accept its licence on its Hugging Face page, then run '
            "`hf auth login` or set HF_TOKEN."
        )
    return (
        f'base_model: "{name}" is neither a directory nor a model that the Hugging Face Hub gave us '
        f"({text.splitlines()[0]}). Check the name and the network, or give the directory of a downloaded model. "
        f"Without a network: base_model={next(iter(PACKAGED))}."
    )
