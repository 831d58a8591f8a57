"""The options of each backend, as data: no tensors, no heavy imports, unknown names refused."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from backends.planning.prices import Prices


class BackendOptions(BaseModel):
    """What the options of every backend have in common."""

    model_config = ConfigDict(extra="forbid")

    def model_name(self, base_model: str) -> str:
        """The backend's own name of a base model."""
        return base_model


ADAPTER_OPTIONS = ("lora_alpha", "lora_dropout", "rslora", "dora", "target_modules", "lora_plus_ratio")
NOT_WITH_FSDP = ("method", "dora", "neftune_alpha", "compile", "liger")


def changed(options: BaseModel, name: str) -> bool:
    """Whether an option has another value than its default."""
    return getattr(options, name) != type(options).model_fields[name].get_default(call_default_factory=True)


class LocalOptions(BackendOptions):
    """The local backend: PyTorch + PEFT, and bitsandbytes for quantised bases."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps. auto takes CUDA, then MPS, then the CPU.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Dtype of the frozen weights and of the matrix products; adapters are always float32. "
        "auto is bfloat16 on a GPU that has it, float16 on an older one, float32 on a CPU.",
    )
    quantization: Literal["auto", "none", "nf4", "int8"] = Field(
        "none",
        description="Storage of the frozen base (QLoRA: nf4). auto is nf4 on a CUDA GPU and none elsewhere, for a "
        "configuration that is also to run on a CPU or on the Tinker API.",
    )
    double_quantization: bool = Field(True, description="Quantise the NF4 constants too (QLoRA, section 3).")
    lora_alpha: float = Field(
        32.0, gt=0, description="LoRA scale is lora_alpha / rank. Tinker's rule is 32 at any rank."
    )
    method: Literal["lora", "full"] = Field(
        "lora", description="What is trained: an adapter, or every weight of the model (`lora.*` then says nothing)."
    )
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="Dropout in front of A while training.")
    rslora: bool = Field(False, description="Scale by lora_alpha / sqrt(rank) (Kalajdzievski, 2023).")
    dora: bool = Field(False, description="Train direction and magnitude apart (DoRA; Liu et al., 2024).")
    target_modules: list[str] | None = Field(
        None, description="Names of the adapted modules, for example [q_proj, v_proj]; null: by lora.train_*."
    )
    lora_plus_ratio: float | None = Field(
        None, gt=0, description="B learns so many times as fast as A (LoRA+; Hayou et al., 2024); 16 is usual."
    )
    neftune_alpha: float | None = Field(
        None, gt=0, description="Noise on the embeddings while training (NEFTune; Jain et al., 2023); 5 is usual."
    )
    optimizer: Literal["adamw", "paged_adamw_8bit"] = Field(
        "adamw",
        description="paged_adamw_8bit (bitsandbytes) keeps the moments in 8 bits: less memory, and other numbers than "
        "the Tinker API's AdamW. On a CPU nothing is paged.",
    )
    gradient_checkpointing: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Recompute activations in the backward pass: less memory, half as much time again. auto starts "
        "when a single sequence does not fit; before that, micro-batches are halved.",
    )
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = Field(
        "auto", description="Attention implementation; auto takes flash_attention_2 where installed, else sdpa."
    )
    packing: bool | Literal["auto"] = Field(
        "auto",
        description="Rows of a micro-batch end to end, without padding; none sees another. auto does so on a CPU. "
        "A GPU needs attention=flash_attention_2, whose kernel keeps them apart.",
    )
    compile: bool = Field(False, description="torch.compile the training step: minutes at the start, then faster.")
    liger: bool = Field(False, description="Liger's fused kernels (pip install liger-kernel); CUDA alone.")
    fsdp: bool = Field(
        False,
        description="Split the frozen base over the processes of an `accelerate launch`, for one that does not fit a "
        "single card; every layer is gathered when it is computed. The results stay the same.",
    )
    micro_batch_tokens: PositiveInt | Literal["auto"] = Field(
        "auto",
        description="Tokens in one forward pass, with their padding. Changes speed and memory, never the gradient. "
        "auto is 8192 on a GPU; on a CPU 512 for each thread, and 1024 at least.",
    )
    sample_batch_size: int = Field(
        64, ge=1, description="Sequences decoded together. Fewer take less memory: each keeps its keys and values."
    )
    unscored_logprobs: bool = Field(
        False,
        description="Also compute the log-probabilities of zero-weight targets in forward_backward, as the Tinker API "
        "does; otherwise they read 0.0. forward() always computes them all.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> LocalOptions:
        if self.method == "full":
            for name in ADAPTER_OPTIONS:
                if changed(self, name):
                    raise ValueError(f"{name} is about adapters; it cannot be set with method=full")
            if self.quantization != "none":
                raise ValueError("quantization freezes the weights; method=full needs quantization=none")
        if self.fsdp:
            if self.quantization == "int8":
                raise ValueError("fsdp cannot split int8 weights, whose constants belong to whole rows; use nf4")
            for name in NOT_WITH_FSDP:
                if changed(self, name):
                    raise ValueError(f"fsdp splits a plain frozen base; it does not go with {name}")
        return self


class TinkerOptions(BackendOptions):
    """The hosted Tinker API, or a server that speaks its protocol."""

    base_model: str | None = Field(None, description="Hosted model to train, when it differs from `base_model`.")
    base_url: str | None = Field(
        None, description="Server address; TINKER_BASE_URL, then the hosted service, if unset."
    )

    tokenizer: str | None = Field(
        None,
        description="Hub id or directory of the tokenizer, for a server whose name of the model is not the Hub's. The "
        "packaged models need none.",
    )
    prices: Prices | None = Field(
        None, description="Dollars for a million tokens, {train, prefill, sample}; null: backends/planning/prices.py."
    )
    max_cost: PositiveFloat | None = Field(
        None, description="Dollars that a run may cost; it stops before it would exceed them, and can go on with more."
    )

    def model_name(self, base_model: str) -> str:
        """`base_model` of these options, where it is set."""
        return self.base_model or base_model


# Options that say how this machine computes, and not what: another backend may leave them aside.
def tokens_at_once(options: LocalOptions, *, on_gpu: bool, threads: int) -> int:
    """Tokens of a micro-batch, by `micro_batch_tokens`."""
    if options.micro_batch_tokens != "auto":
        return options.micro_batch_tokens
    return 8192 if on_gpu else max(1024, 512 * threads)


def may_pack(options: LocalOptions, *, on_gpu: bool) -> bool:
    """Whether rows lie end to end, if the model's attention allows it."""
    if on_gpu:
        return options.packing is True
    return options.packing is not False and options.attention in ("auto", "sdpa") and not options.compile


MACHINE = frozenset(
    {
        "device",
        "dtype",
        "double_quantization",
        "gradient_checkpointing",
        "attention",
        "fsdp",
        "packing",
        "compile",
        "liger",
        "micro_batch_tokens",
        "sample_batch_size",
        "unscored_logprobs",
    }
)
REASONS = {
    "quantization": "the API keeps the base model in its own precision; local.quantization=auto is nf4 on a GPU here",
    "lora_alpha": "the API has no alpha",
}


def only_local(options: LocalOptions) -> dict[str, str]:
    """Options that are set and change what is learnt, which no other backend can do; with the reason."""
    fields = LocalOptions.model_fields
    changed = [name for name in fields if name not in MACHINE and getattr(options, name) != fields[name].default]
    wanted = [name for name in changed if (name, getattr(options, name)) != ("quantization", "auto")]
    return {name: REASONS.get(name, "the API offers no such choice") for name in wanted}


class FakeOptions(BackendOptions):
    """A scripted backend without tensors, for tests and dry runs."""

    answers: dict[str, str] = Field(default_factory=dict, description="Completion by prompt text, before any training.")
    default_answer: str = Field(" SELECT 1\n\n", description="Completion of a prompt that it has not been taught.")
