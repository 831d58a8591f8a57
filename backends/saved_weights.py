"""What an export of trained weights is, as the backend that wrote it reports: records without tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pydantic import JsonValue


class Probe(NamedTuple):
    """A prompt and its answer, as text: logits before and after a merge are compared where the answer is predicted."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class LogitGap:
    """How far apart the logits of two models are, over all positions of all probes.

    Attributes:
        prompts: Probes.
        positions: At which the logits were compared.
        max_abs: Largest absolute difference of a logit.
        mean_abs: Mean absolute difference of a logit.
        mean_kl: Mean KL divergence of the distributions, in nats.
        same_top_token: Share of positions with the same likeliest token.
        computed_in: Dtype of the computation, where both models were computed in one.
    """

    prompts: int
    positions: int
    max_abs: float
    mean_abs: float
    mean_kl: float
    same_top_token: float
    computed_in: str | None = None


@dataclass(frozen=True)
class SavedWeights:
    """What was written.

    Attributes:
        base_model: As the Hub calls it, where the Hub has it.
        trained_base: As the training called it.
        trained_quantization: Of the base model while training.
        lora: Settings of the adapter; None after full fine-tuning.
        dtype: Of merged weights.
        logit_gap: What merging changed.
        not_compared: Why a merge was not compared with the quantised model that was trained.
        logit_gap_to_quantized: Of the merge against the quantised model that was trained.
    """

    base_model: str
    trained_base: str
    trained_quantization: str
    lora: dict[str, JsonValue] | None
    dtype: str | None = None
    logit_gap: LogitGap | None = None
    not_compared: str | None = None
    logit_gap_to_quantized: LogitGap | None = None
