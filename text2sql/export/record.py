"""The record of an export, in ``export.json`` and for the model card."""

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
    """The LoRA settings of an adapter, as the backend describes them.

    Attributes:
        train_unembed: Whether it adapts the output layer.
    """

    train_unembed: bool


class GgufFile(Part):
    """A GGUF file, the type of its weights, and its size in bytes."""

    file: str
    type: str
    bytes: int


class ExportRecord(Part):
    """The record of an export.

    Attributes:
        format: Format of the export.
        text2sql: Version of the program.
        run: Name of the run.
        base_model: Name of the base model on the Hub, if it is there.
        trained_base: Name of the base model in the run.
        trained_quantization: Quantization of the base model during training.
        lora: The adapter's settings; None after full fine-tuning.
        dtype: Dtype of merged weights.
        logit_gap: Difference of the logits before and after the merge.
        not_compared: Why a merge was not compared with the quantised model that was trained.
        logit_gap_to_quantized: Difference of the logits between the merge and the quantised model that was trained.
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
