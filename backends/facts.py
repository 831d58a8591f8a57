"""What a backend says of itself: devices, dtypes and other choices, for the record of a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """What a training changes in its model.

    Attributes:
        adapted_modules: Names of the modules that the adapter changes; empty where the whole model is trained.
        trained_parameters: Number of trained parameters.
        trained_percent: Their share of all parameters, those of the adapter included.
    """

    adapted_modules: list[str]
    trained_parameters: int
    trained_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendFacts:
    """What a backend has chosen so far; None where nothing has been chosen or the backend does not say.

    Attributes:
        processes: Number of processes that work on one run.
        threads: CPU threads of each.
        device: Where the tensors live, as PyTorch names it.
        compute_dtype: Dtype of the matrix products.
        adapter_dtype: Dtype of the trained weights.
        matmul: Dtype of the products with frozen weights, where it is another.
        quantization: ``none``, ``nf4`` or ``int8``.
        attention: The attention implementation, as transformers names it.
        micro_batch_tokens: Most tokens in one forward pass.
        packing: Whether rows of a micro-batch are packed end to end.
        shared_prefixes: Whether common prefixes of the rows of a micro-batch are computed once.
        joint_decoding: Whether sequences of different lengths are decoded together.
        longest_sequence: Most tokens of a sequence.
        training: What the latest training client trains.
        sampler: Address of the engine that samples, and the largest mean difference of its log-probabilities from
            this backend's, in nats; None before they were compared.
        gpus: Number of GPUs of this machine.
        gpu: Name of the GPU that is used.
        gpu_peak_memory_bytes: Most bytes that this process held on it.
    """

    processes: int | None = None
    threads: int | None = None
    device: str | None = None
    compute_dtype: str | None = None
    adapter_dtype: str | None = None
    matmul: str | None = None
    quantization: str | None = None
    attention: str | None = None
    micro_batch_tokens: int | None = None
    packing: bool | None = None
    shared_prefixes: bool | None = None
    joint_decoding: bool | None = None
    longest_sequence: int | None = None
    training: TrainingFacts | None = None
    sampler: tuple[str, float | None] | None = None
    gpus: int | None = None
    gpu: str | None = None
    gpu_peak_memory_bytes: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The known facts by name, those of `training` among them, for the record of a run."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        training = known.pop("training")
        known |= asdict(training) if training else {}
        return {name: value for name, value in known.items() if value is not None}
