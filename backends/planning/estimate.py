"""Estimates memory and time of a local run from the shapes of the model and of the data, without tensors.

The model of memory follows `backends.local`: a frozen base, float32 adapters with Adam's two moments, activations that
PyTorch saves for the backward pass, logits at the scored positions only, the key/value cache of sampling. Training
and sampling do not overlap, so the peak is the larger of the two. `scripts/check_estimate.py` compares with
measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

from backends.options import LocalOptions
from backends.planning.matmul_rates import Rates, bfloat16_obstacle
from backends.planning.shape import ModelShape

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# Weights that share a quantisation constant.
NF4_BLOCK = 64


@dataclass(frozen=True, slots=True)
class Device:
    """A device to run on.

    Attributes:
        name: Its name.
        memory: Bytes.
        flops: Rate of matrix products that training sustains, FLOP/s; for the named GPUs an assumption, not measured.
        bandwidth: Bytes/s.
        dtype: The dtype that `local.dtype=auto` selects.
        overhead: Bytes held before any tensor is: by the libraries of the process, or by the CUDA context.
        rates: Of a CPU's matrix products in both dtypes, which `local.matmul=auto` goes by; None: not measured.
    """

    name: str
    memory: float
    flops: float
    bandwidth: float
    dtype: str
    overhead: float
    rates: Rates | None = None

    @property
    def is_gpu(self) -> bool:
        """Whether the model's tensors are in a GPU's memory."""
        return self.name != "cpu"


def _gpu(name: str, gib: float, tflops: float, gb_per_second: float, dtype: str = "bfloat16") -> Device:
    return Device(name, gib * GIB, tflops * 1e12, gb_per_second * 1e9, dtype, 0.6 * GIB)


# Memory and bandwidth are the makers' figures; the rates are what LoRA training of small models is assumed to sustain.
DEVICES = {
    "T4": _gpu("T4", 15, 20, 320, "float16"),
    "A10G": _gpu("A10G", 22.5, 45, 600),
    "4090": _gpu("4090", 24, 75, 1008),
    "A100": _gpu("A100", 40, 140, 1555),
    "H100": _gpu("H100", 80, 350, 3350),
}
# Bytes of Python with PyTorch, transformers and PEFT.
CPU_OVERHEAD = 0.75 * GIB


@dataclass(frozen=True, slots=True)
class Load:
    """The load that data and options put on a device.

    Attributes:
        tokens: Padded tokens of the largest micro-batch.
        scored: Scored positions in that micro-batch.
        forward_only: Padded tokens of the largest micro-batch of a forward pass without gradients, which scores all.
        prompt: Tokens of the longest test prompt.
        answer: Tokens of the longest answer.
        sequences: Sequences decoded together.
        prefill: Padded prompt tokens in one forward pass.
        cache_positions: Most positions, over all rows, of the key/value cache.
        computed: Tokens that training computes, padding included, per token of the data: less than 1 where common
            prefixes are computed once.
    """

    tokens: int
    scored: int
    forward_only: int
    prompt: int
    answer: int
    sequences: int
    prefill: int
    cache_positions: int
    computed: float = 1.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of each part: of the base at all times, and of the two phases, of which the larger is the peak."""

    base: dict[str, float]
    training: dict[str, float]
    sampling: dict[str, float]

    @property
    def peak(self) -> float:
        """Bytes at the peak."""
        return sum(self.base.values()) + max(sum(self.training.values()), sum(self.sampling.values()))


def estimate_memory(
    shape: ModelShape, trained: int, rank: int, load: Load, options: LocalOptions, device: Device
) -> Memory:
    """The memory that a run holds.

    Args:
        shape: The base model.
        trained: Trained parameters: of the adapter, or of the model with `method: full`.
        rank: The adapter's rank.
        load: The load of data and options.
        options: Options of the local backend.
        device: The device that it runs on.
    """
    width = BYTES[device.dtype if options.dtype == "auto" else options.dtype]
    quantization, lora = stored_quantization(options, device), options.method == "lora"
    moments = 2.0 if options.optimizer == "paged_adamw_8bit" else 8.0
    base = {
        "CUDA context" if device.is_gpu else "libraries": device.overhead,
        "weights": weight_bytes(
            shape,
            quantization,
            options.double_quantization,
            width if lora else 4,
            narrow=stores_bfloat16(options, device),
        ),
        **({"adapter": 4.0 * trained} if lora else {}),
        "Adam's moments": moments * trained,
    }
    # Fused layers and merging need a float32 base that is not quantised.
    plain = lora and width == 4 and quantization == "none"
    per_layer = _saved_bytes(shape, rank if lora else 0, width, fused=plain)
    if not lora:
        # The weights of the norms are trained too.
        per_layer += 2 * width * shape.width
    saved = float(load.tokens * shape.layers * per_layer)
    if options.gradient_checkpointing == "on":
        saved = load.tokens * (shape.layers * width * shape.width + per_layer)
    training = _training_memory(shape, trained, load, width, saved, adapted=lora, dequantises=quantization != "none")
    copied = 0.0
    if plain:
        # Prepacked on a CPU; elsewhere the adapter is merged into a copy of the weights that it adapts.
        layers = 2.0 if stores_bfloat16(options, device) else 4.0
        copied = layers * shape.layers * shape.layer_parameters + 4.0 * shape.head_parameters
    return Memory(base, training, _sampling_memory(shape, trained, load, width, adapted=lora, copied=copied))


def _training_memory(
    shape: ModelShape, trained: int, load: Load, width: int, saved: float, *, adapted: bool, dequantises: bool
) -> dict[str, float]:
    """Bytes of one training step, of which `saved` are the activations that wait for the backward pass."""
    logits = _logit_bytes(shape, load.scored, width, adapted=adapted, backward=True)
    # The widest moment inside one layer's backward pass: the MLP's activations and their gradients, one weight
    # dequantised. The logits are gone by then.
    passing = float(load.tokens * width) * (4 * shape.inner + 2 * shape.width)
    passing += width * shape.width * shape.inner * dequantises
    gradients = 4.0 * trained
    return {
        # Of the step so far, and of the micro-batch.
        "gradients": 2 * gradients,
        "activations": saved,
        "logits": logits,
        "inside a layer": max(0.0, passing - logits),
        # When no activation is left.
        "adding gradients up": max(0.0, gradients - saved - logits),
    }


def _sampling_memory(
    shape: ModelShape, trained: int, load: Load, width: int, *, adapted: bool, copied: float
) -> dict[str, float]:
    """Bytes of one batch of samples, `copied` of which are a second copy of the weights, with the adapter in it."""
    forward = float(load.forward_only * width * 3 * shape.inner)
    forward += _logit_bytes(shape, load.forward_only, width, adapted=adapted, backward=False)
    prefill = load.prefill * width * (3 * shape.inner + 4 * shape.width + shape.layers * 2 * shape.keys)
    step = _logit_bytes(shape, load.sequences, width, adapted=True, backward=False)
    cache = load.cache_positions * shape.layers * 2.0 * shape.keys * width
    busy = max(prefill, forward, step)
    # The product of A and B, to which the weights are added.
    merging = 4.0 * shape.head_parameters if copied else 0.0
    return {
        "snapshot of what is trained": 4.0 * trained,
        "merged weights": copied,
        "key/value cache": cache,
        "prefill and logits": busy,
        # Before the first prompt.
        "merging": max(0.0, merging - cache - busy),
    }


def stored_quantization(options: LocalOptions, device: Device) -> str:
    """The quantisation in which the base is stored."""
    if options.quantization == "auto":
        return "nf4" if device.is_gpu else "none"
    return options.quantization


def stores_bfloat16(options: LocalOptions, device: Device) -> bool:
    """Whether a run stores the layers of a float32 model in bfloat16; with `auto` it goes by the device's rates."""
    if options.matmul != "auto":
        return options.matmul == "bfloat16" and not device.is_gpu
    if device.rates is None or not device.rates.prefers_bfloat16:
        return False
    dtype = device.dtype if options.dtype == "auto" else options.dtype
    quantization = stored_quantization(options, device)
    return bfloat16_obstacle(options, device="cpu", dtype=dtype, quantization=quantization) is None


def weight_bytes(shape: ModelShape, quantization: str, double: bool, width: int, *, narrow: bool = False) -> float:
    """Bytes of the base: embedding and output layer stay in the compute dtype, the layers may be smaller."""
    body = shape.layers * shape.layer_parameters
    rest = width * (shape.parameters - body)
    if quantization == "nf4":
        constants = (1 / NF4_BLOCK + 4 / (NF4_BLOCK * 256)) if double else 4 / NF4_BLOCK
        return rest + body * (0.5 + constants)
    if narrow:
        return rest + body * 2.0
    return rest + body * (1.0 if quantization == "int8" else width)


def _saved_bytes(shape: ModelShape, rank: int, width: int, *, fused: bool) -> float:
    """Bytes that one layer saves for one token.

    Residual stream and its normalised copy before attention and before the MLP (the stream in float32, as the norms
    compute), query and attention output, which packing copies, key and value, gate, up, their activation and product,
    LoRA's inner vectors. The fused layers (`backends.local.model.fused_llama`) recompute normalised copies, activation
    and product.
    """
    streams = 2 * shape.width * (4 if fused else 4 + width)
    inside = 3 * shape.queries + 2 * shape.keys + (2 if fused else 4) * shape.inner + 7 * rank
    return streams + width * inside


def _logit_bytes(shape: ModelShape, positions: int, width: int, *, adapted: bool, backward: bool) -> float:
    """Bytes of the logits at this number of positions, at their worst moment.

    That is, in float32, when the adapter's product (`adapted`) is added to the base's: both and the sum. In 16 bits it
    is the float32 copy of the sum, which turns into the gradient in place, with the gradients of both products.
    """
    if width == 4:
        return positions * shape.vocabulary * (12.0 if adapted else 8.0)
    return float(positions * shape.vocabulary * (width + 4 + (width * (1 + adapted) if backward else 0)))


def training_seconds(
    shape: ModelShape,
    trained: int,
    tokens: float,
    scored: float,
    mean_length: float,
    options: LocalOptions,
    device: Device,
) -> float:
    """Time of forward and backward over padded tokens, of which some are scored.

    A frozen weight costs 2 FLOPs a token forward and 2 backward (no gradient for itself), a trained one 2 more;
    gradient checkpointing computes the layers once more.
    """
    body = shape.layers * shape.layer_parameters
    # Causal, so half of T x T, for scores and values.
    attention = shape.layers * 2 * shape.queries * mean_length
    is_recomputed = options.gradient_checkpointing == "on"
    passes = 6 if options.method == "full" else 4
    layers = tokens * body * (passes + 2 * is_recomputed)
    rest = tokens * attention * (3 + is_recomputed) + scored * passes * shape.head_parameters
    if options.method != "full":
        rest += tokens * 6 * trained
    speedup = 1.0
    if device.rates is not None and stores_bfloat16(options, device):
        speedup = device.rates.bfloat16 / device.rates.float32
    return (layers / speedup + rest) / device.flops


def sampling_seconds(
    shape: ModelShape, load: Load, questions: int, device: Device, weights: float, width: int
) -> float:
    """Time to answer questions: prefill at the matrix rate; a step reads the weights or computes."""
    passed = 2.0 * shape.layers * shape.layer_parameters
    prefill = questions * load.prompt * passed / device.flops
    cache = load.cache_positions * shape.layers * 2.0 * shape.keys * width
    step = max(
        (weights + cache) / device.bandwidth, load.sequences * (passed + 2 * shape.head_parameters) / device.flops
    )
    return prefill + -(-questions // load.sequences) * load.answer * step
