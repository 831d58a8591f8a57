"""``export.json``: what an export is, for programs, and for the model card."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import JsonValue, PlainSerializer

from backends.saved_weights import LogitGap
from text2sql.runs.records import Part, optional

Format = Literal["adapter", "merged", "gguf"]


def _gap_to_json(gap: LogitGap | None) -> dict[str, JsonValue] | None:
    return None if gap is None else {key: value for key, value in asdict(gap).items() if value is not None}


JsonLogitGap = Annotated[LogitGap | None, PlainSerializer(_gap_to_json)]


class LoraShape(Part):
    """The adapter, as the backend describes it: rank, what is adapted, and the rest of its settings.

    Attributes:
        train_unembed: Whether it adapts the output layer.
    """

    train_unembed: bool


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
    logit_gap: JsonLogitGap = optional()
    not_compared: str | None = optional()
    logit_gap_to_quantized: JsonLogitGap = optional()
    gguf: GgufFile | None = optional()
