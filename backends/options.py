"""The options of each backend, as data: no tensors, no heavy imports, unknown names refused.

What an option changes is written next to it (`About`); `text2sql.config` writes it next to every other key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, field_validator, model_validator

from backends.redaction import holds_secret

T = TypeVar("T")
NO_CHOICE = "the API offers no such choice"


# What a key changes. "machine": how and where it is computed, to rounding the same results. "reports": what else is
# returned, shown or sent. "learning": what is learnt. "measuring": how models are asked and judged. "both": the two.
Changes = Literal["machine", "reports", "learning", "measuring", "both"]


@dataclass(frozen=True, slots=True)
class About:
    """What a key changes, written next to the key.

    Attributes:
        changes: See `Changes`. An option of the local backend that changes what is learnt must not be ignored by
            another backend, which does not have it.
        evaluations: Labels of the evaluations that a key is about, where it is not about all.
        elsewhere: Of what is learnt: why another backend cannot have it.
        portable: Values that another backend may ignore nevertheless.
        adapter: Whether it is about adapters, and says nothing with `method: full`.
        fsdp: Whether it goes with a base that is split over processes.
    """

    changes: Changes
    evaluations: tuple[str, ...] = ()
    elsewhere: str = NO_CHOICE
    portable: tuple[str, ...] = ()
    adapter: bool = False
    fsdp: bool = True


MACHINE = About("machine")
REPORTS = About("reports")
ADAPTER = About("learning", adapter=True)


# The largest number that a key takes: years in seconds, and what every library takes for a seed.
LARGEST = 2**31 - 1


def bounded(value: T) -> T:
    """The value of a key (ValueError if it is a number, or holds one, that nothing can be done with)."""
    numbers = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    for number in numbers:
        if isinstance(number, int | float) and not -LARGEST <= number <= LARGEST:
            raise ValueError(f"must be a number from -{LARGEST:,} to {LARGEST:,}")
    return value


def without_secret(value: object) -> object:
    """The value of a key (ValueError if it is a text with a password in it, since configurations are written down)."""
    if isinstance(value, str) and holds_secret(value):
        raise ValueError("must hold no password, as configurations are written into the directories of runs")
    return value


class BackendOptions(BaseModel):
    """What the options of every backend have in common.

    Attributes:
        CHANGES: What those options change that do not say it themselves.
    """

    model_config = ConfigDict(extra="forbid")
    CHANGES: ClassVar[Changes] = "both"

    @field_validator("*", mode="before")
    @classmethod
    def _without_secret(cls, value: object) -> object:
        return without_secret(value)

    @field_validator("*")
    @classmethod
    def _bounded(cls, value: T) -> T:
        return bounded(value)

    @classmethod
    def read(cls, options: BackendOptions | None) -> Self:
        """These options, validated as this backend's own; its defaults when None."""
        return cls() if options is None else cls.model_validate(options.model_dump())

    def model_name(self, base_model: str) -> str:
        """The backend's own name of a base model."""
        return base_model

    def tokenizer_name(self, base_model: str) -> str:
        """The name or directory of the model whose tokenizer a run with a base model reads."""
        return base_model


def changed(options: BaseModel, name: str) -> bool:
    """Whether an option has another value than its default."""
    return getattr(options, name) != type(options).model_fields[name].get_default(call_default_factory=True)


class LocalOptions(BackendOptions):
    """The local backend: PyTorch + PEFT, and bitsandbytes for quantised bases."""

    device: Annotated[str, MACHINE] = Field(
        "auto", description="auto, cpu, cuda, cuda:N or mps. auto takes CUDA, then MPS, then the CPU."
    )
    dtype: Annotated[Literal["auto", "float32", "bfloat16", "float16"], MACHINE] = Field(
        "auto",
        description="Dtype of the frozen weights and of the matrix products; adapters are always float32. "
        "auto is bfloat16 on a GPU that has it, float16 on an older one, float32 on a CPU.",
    )
    matmul: Annotated[Literal["auto", "float32", "bfloat16"], MACHINE] = Field(
        "float32",
        description="Products with frozen weights on a CPU. bfloat16 stores the weights so and rounds the inputs of "
        "their products, all else stays float32: less memory, and on processors with such units faster. auto measures "
        "which is faster when a run begins, and keeps to it.",
    )
    quantization: Annotated[
        Literal["auto", "none", "nf4", "int8"],
        About(
            "both",
            elsewhere="the API keeps the base model in its own precision; local.quantization=auto is nf4 on a GPU here",
            portable=("auto",),
        ),
    ] = Field(
        "none",
        description="Storage of the frozen base (QLoRA: nf4). auto is nf4 on a CUDA GPU and none elsewhere, for a "
        "configuration that is also to run on a CPU or on the Tinker API.",
    )
    double_quantization: Annotated[bool, MACHINE] = Field(
        True, description="Quantise the NF4 constants too (QLoRA, section 3)."
    )
    lora_alpha: Annotated[float, About("learning", elsewhere="the API has no alpha", adapter=True)] = Field(
        32.0, gt=0, description="LoRA scale is lora_alpha / rank. Tinker's rule is 32 at any rank."
    )
    method: Annotated[Literal["lora", "full"], About("learning", fsdp=False)] = Field(
        "lora", description="What is trained: an adapter, or every weight of the model (`lora.*` then says nothing)."
    )
    lora_dropout: Annotated[float, ADAPTER] = Field(
        0.0, ge=0, lt=1, description="Dropout in front of A while training."
    )
    rslora: Annotated[bool, ADAPTER] = Field(
        False, description="Scale by lora_alpha / sqrt(rank) (Kalajdzievski, 2023)."
    )
    dora: Annotated[bool, About("learning", adapter=True, fsdp=False)] = Field(
        False, description="Train direction and magnitude apart (DoRA; Liu et al., 2024)."
    )
    target_modules: Annotated[list[str] | None, ADAPTER] = Field(
        None,
        min_length=1,
        description="Names of the adapted modules, for example [q_proj, v_proj]; null: by lora.train_*.",
    )
    lora_plus_ratio: Annotated[float | None, ADAPTER] = Field(
        None, gt=0, description="B learns this many times as fast as A (LoRA+; Hayou et al., 2024); 16 is usual."
    )
    neftune_alpha: Annotated[float | None, About("learning", fsdp=False)] = Field(
        None, gt=0, description="Noise on the embeddings while training (NEFTune; Jain et al., 2023); 5 is usual."
    )
    optimizer: Annotated[Literal["adamw", "paged_adamw_8bit"], About("learning")] = Field(
        "adamw",
        description="paged_adamw_8bit (bitsandbytes) keeps the moments in 8 bits: less memory, and other numbers than "
        "the Tinker API's AdamW. On a CPU nothing is paged.",
    )
    gradient_checkpointing: Annotated[Literal["auto", "on", "off"], MACHINE] = Field(
        "auto",
        description="Recompute activations in the backward pass: less memory, half as much time again. auto starts "
        "when a single sequence does not fit; before that, micro-batches are halved.",
    )
    attention: Annotated[Literal["auto", "sdpa", "eager", "flash_attention_2"], MACHINE] = Field(
        "auto", description="Attention implementation; auto takes flash_attention_2 where installed, else sdpa."
    )
    packing: Annotated[bool | Literal["auto"], MACHINE] = Field(
        "auto",
        description="Rows of a micro-batch end to end, without padding; none sees another. auto does so on a CPU. "
        "A GPU needs attention=flash_attention_2, whose kernel keeps them apart.",
    )
    share_prefixes: Annotated[bool | Literal["auto"], MACHINE] = Field(
        "auto",
        description="Compute what examples of one batch begin with once: a schema, the prompt of several answers. "
        "auto does so on a CPU where rows lie end to end; true on a GPU too, by a mask over all tokens of a "
        "micro-batch. Training with noise (neftune_alpha, lora_dropout) never does.",
    )
    compile: Annotated[bool, About("machine", fsdp=False)] = Field(
        False, description="torch.compile the training step: minutes at the start, then faster."
    )
    liger: Annotated[bool, About("machine", fsdp=False)] = Field(
        False, description="Liger's fused kernels (pip install liger-kernel); CUDA alone."
    )
    fsdp: Annotated[bool, MACHINE] = Field(
        False,
        description="Split the frozen base over the processes of an `accelerate launch`, for one that does not fit a "
        "single card; every layer is gathered when it is computed. The results stay the same.",
    )
    micro_batch_tokens: Annotated[PositiveInt | Literal["auto"], MACHINE] = Field(
        "auto",
        description="Tokens in one forward pass, with their padding. Changes speed and memory, never the gradient. "
        "auto is 8192 on a GPU; on a CPU 512 for each thread, and 1024 at least.",
    )
    sample_batch_size: Annotated[int, MACHINE] = Field(
        64, ge=1, description="Sequences decoded together. Fewer take less memory: each keeps its keys and values."
    )
    prefix_cache_mb: Annotated[int, MACHINE] = Field(
        256,
        ge=0,
        description="Memory for beginnings of prompts that have been read, in MiB: what several prompts begin with is "
        "read once for as long as it is kept. The one used last stays in any case; training clears all.",
    )
    sampler: Annotated[str | None, About("machine", adapter=True)] = Field(
        None,
        description="Address of an engine that samples in place of this process: vLLM, started so that it loads "
        "adapters while it runs. Its key, if any, is read from $VLLM_API_KEY; null: samples here.",
    )
    sampler_directory: Annotated[str | None, MACHINE] = Field(
        None,
        description="Directory that this machine and the engine's see under the same name, for the adapters; null: a "
        "temporary one, for an engine on this machine.",
    )
    unscored_logprobs: Annotated[bool, About("reports")] = Field(
        False,
        description="Also compute the log-probabilities of zero-weight targets in forward_backward, as the Tinker API "
        "does; otherwise they read 0.0. forward() always computes them all.",
    )

    @field_validator("sampler")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^/@\s]+(/[^@\s]*)?", value):
            raise ValueError("must be an address such as http://127.0.0.1:8000")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> LocalOptions:
        if self.sampler and self.dora:
            raise ValueError("sampler cannot be had with dora: engines load plain LoRA adapters")
        if self.method == "full":
            for name, about in LOCAL_OPTIONS.items():
                if about.adapter and changed(self, name):
                    raise ValueError(f"{name} is about adapters; it cannot be set with method=full")
            if self.quantization != "none":
                raise ValueError("quantization freezes the weights; method=full needs quantization=none")
        if self.fsdp:
            if self.quantization == "int8":
                raise ValueError("fsdp cannot split int8 weights, whose constants belong to whole rows; use nf4")
            for name, about in LOCAL_OPTIONS.items():
                if not about.fsdp and changed(self, name):
                    raise ValueError(f"fsdp splits a plain frozen base; it does not go with {name}")
        return self


LOCAL_OPTIONS: dict[str, About] = {
    name: next(note for note in field.metadata if isinstance(note, About))
    for name, field in LocalOptions.model_fields.items()
}


def only_local(options: LocalOptions) -> dict[str, str]:
    """Options that are set and change what is learnt, which no other backend can do; with the reason."""
    return {
        name: about.elsewhere
        for name, about in LOCAL_OPTIONS.items()
        if about.changes in ("learning", "both")
        and changed(options, name)
        and getattr(options, name) not in about.portable
    }


class Prices(BaseModel):
    """Dollars for a million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    train: float = Field(ge=0, description="Tokens of forward and forward_backward.")
    prefill: float = Field(ge=0, description="Prompt tokens of sampling.")
    sample: float = Field(ge=0, description="Sampled tokens.")
    cached_prefill: float | None = Field(
        None, ge=0, description="Prompt tokens that the service had read before; null: as prefill."
    )

    @classmethod
    def if_complete(
        cls, *, train: float | None, prefill: float | None, sample: float | None, cached_prefill: float | None
    ) -> Prices | None:
        """These prices; None unless training, prompts and sampling all have one."""
        if train is None or prefill is None or sample is None:
            return None
        return cls(train=train, prefill=prefill, sample=sample, cached_prefill=cached_prefill)

    def cost(self, train: float, prefill: float, sample: float, cached: float = 0) -> float:
        """Dollars for these numbers of tokens; `cached` are those among `prefill` that had been read before."""
        again = self.prefill if self.cached_prefill is None else self.cached_prefill
        prompts = (prefill - cached) * self.prefill + cached * again
        return (train * self.train + prompts + sample * self.sample) / 1e6


class TinkerOptions(BackendOptions):
    """The hosted Tinker API, or a server that speaks its protocol."""

    base_model: str | None = Field(None, description="Hosted model to train, when it differs from `base_model`.")
    base_url: Annotated[str | None, MACHINE] = Field(
        None, description="Server address; TINKER_BASE_URL, then the hosted service, if unset."
    )

    tokenizer: str | None = Field(
        None,
        description="Hub id or directory of the tokenizer, for a server whose name of the model is not the Hub's. The "
        "packaged models need none.",
    )
    prices: Annotated[Prices | None, REPORTS] = Field(
        None,
        description="Dollars for a million tokens, {train, prefill, sample, cached_prefill}; null: the service's price "
        "list, else backends/planning/lineup.json.",
    )
    price_list: Annotated[str | None, REPORTS] = Field(
        None, description="Address of a price list in the service's form; null: the hosted service's own, for it alone."
    )
    max_cost: Annotated[PositiveFloat | None, REPORTS] = Field(
        None, description="Dollars that a run may cost; it stops before it would exceed them, and can go on with more."
    )

    def model_name(self, base_model: str) -> str:
        """`base_model` of these options, where it is set."""
        return self.base_model or base_model

    def tokenizer_name(self, base_model: str) -> str:
        """`tokenizer` of these options, where it is set, else the hosted model without its context variant."""
        return self.tokenizer or self.model_name(base_model).partition(":")[0]


class FakeOptions(BackendOptions):
    """A scripted backend without tensors, for tests and dry runs."""

    answers: dict[str, str] = Field(default_factory=dict, description="Completion by prompt text, before any training.")
    samples: dict[str, list[str]] = Field(
        default_factory=dict, description="Completions by prompt text that a temperature above 0 draws from, as well."
    )
    default_answer: str = Field(" SELECT 1\n\n", description="Completion of a prompt that it has not been taught.")

    @field_validator("*", mode="before")
    @classmethod
    def _without_secret(cls, value: object) -> object:
        # An answer may be any text.
        return value
