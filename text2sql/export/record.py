"""``export.json``: what an export is, for programs, and for the model card."""

from __future__ import annotations

from typing import Literal

from text2sql.runs.records import Part, optional

Format = Literal["adapter", "merged", "gguf"]


class LoraShape(Part):
    """The adapter, as the backend describes it: rank, what is adapted, and the rest of its settings.

    Attributes:
        train_unembed: Whether it adapts the output layer.
    """

    train_unembed: bool


class LogitGap(Part):
    """How far apart the logits of two models are, over all positions of all probes.

    Attributes:
        prompts: Probes.
        positions: At which the logits were compared.
        max_abs: Largest difference of a logit.
        mean_abs: Mean difference of a logit.
        mean_kl: Mean divergence of the distributions, in nats.
        same_top_token: Share of positions with the same best token.
        computed_in: Dtype of the computation.
    """

    prompts: int
    positions: int
    max_abs: float
    mean_abs: float
    mean_kl: float
    same_top_token: float
    computed_in: str | None = optional()


class GgufFile(Part):
    """The file that llama.cpp's converter made, with the type of its weights and its size in bytes."""

    file: str
    type: str
    bytes: int


class ExportRecord(Part):
    """What an export is.

    Attributes:
        format: What was asked for.
        text2sql: Version that made it.
        run: Name of the run.
        base_model: As the Hub calls it, where the Hub has it.
        trained_base: As the run calls it.
        trained_quantization: Of the base model while training.
        lora: The adapter; None after full fine-tuning.
        dtype: Of merged weights.
        logit_gap: What merging changed.
        not_compared: Why a merge was not compared with the quantised model that was trained.
        logit_gap_to_quantized: Of the merge against the quantised model that was trained.
        gguf: The converted file.
    """

    format: Format
    text2sql: str
    run: str
    base_model: str
    trained_base: str
    trained_quantization: str
    lora: LoraShape | None
    dtype: str | None = optional()
    logit_gap: LogitGap | None = optional()
    not_compared: str | None = optional()
    logit_gap_to_quantized: LogitGap | None = optional()
    gguf: GgufFile | None = optional()
