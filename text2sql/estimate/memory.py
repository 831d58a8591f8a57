"""Whether a run fits a device, and what makes it fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from backends.planning.batch_plan import may_pack, may_share_prefixes, tokens_at_once
from backends.planning.cores import available_cores
from backends.planning.decode_plan import can_share_prefixes, first_batch_positions
from backends.planning.estimate import Device, Load, Memory, estimate_memory, stored_quantization
from backends.planning.micro_batch_sizes import micro_batch_sizes
from backends.planning.shape import ModelShape, model_shape
from text2sql.config import Config
from text2sql.estimate.forecast import Asked, Forecast
from text2sql.formats import size

# Of a device's memory: above it a run may fail, as the estimate is not exact and other programs take some.
ROOM = 0.9
# Groups of questions whose shared beginnings are looked for, those that would take the most without.
COUNTED = 16


def trained_parameters(config: Config, shape: ModelShape) -> int:
    """How many numbers a training changes."""
    if not config.trains_adapter:
        return shape.parameters
    lora = config.lora
    return shape.lora_parameters(lora.rank, attn=lora.train_attn, mlp=lora.train_mlp, unembed=lora.train_unembed)


def forecast_memory(config: Config, seen: Forecast, device: Device) -> tuple[Memory, Load]:
    """What a run holds at its peak, and the load that does it (BackendError if the model's shape cannot be had)."""
    shape = model_shape(config.trained_model)
    load = largest_load(config, seen, device)
    return estimate_memory(shape, trained_parameters(config, shape), config.lora.rank, load, config.local, device), load


def find_remedies(config: Config, seen: Forecast, device: Device) -> list[str]:
    """The fewest settings, of those that change no result before those that do, with which a run fits a device.

    Returns:
        Overrides for a command line; none where nothing helps.
    """

    def peak(settings: Mapping[str, str | int]) -> float:
        tried = config.model_copy(update={"local": config.local.model_copy(update=settings)})
        return forecast_memory(tried, seen, device)[0].peak

    limit, taken = ROOM * device.memory, dict[str, str | int]()
    for key, values in _ways(config, seen, device):
        for value in values:
            if peak({**taken, key: value}) < peak(taken):
                taken[key] = value
            if peak(taken) <= limit:
                return [f"local.{name}={value}" for name, value in _needed(taken, peak, limit).items()]
    return []


def _needed(
    settings: dict[str, str | int], peak: Callable[[Mapping[str, str | int]], float], limit: float
) -> dict[str, str | int]:
    """The settings without those that what came after them has made superfluous."""
    for name in list(settings):
        fewer = {other: value for other, value in settings.items() if other != name}
        if peak(fewer) <= limit:
            settings = fewer
    return settings


def describe_fit(memory: Memory, config: Config, seen: Forecast, device: Device) -> str:
    """Whether a run fits, and with what it would."""
    share = memory.peak / device.memory
    room = f"the peak of {size(memory.peak)} is {share:.0%} of the {size(device.memory)} of {device.name}"
    if share <= ROOM:
        return f"Fits: {room}."
    remedies = find_remedies(config, seen, device)
    if remedies:
        way = f"It fits with {' '.join(remedies)}."
    elif device.is_gpu and config.trains_adapter:
        way = (
            "No setting alone helps: split it over several GPUs (local.fsdp=true and --processes), or take a smaller "
            "model or data.max_tokens."
        )
    else:
        way = "No setting alone helps: take a smaller model, a lower data.max_tokens, or a machine with more memory."
    # What the local backend halves by itself is the work of one pass, and no weights.
    halved = sum(memory.base.values()) < ROOM * device.memory
    note = " The local backend halves what does not fit, so the run may succeed without, slower." if halved else ""
    return f"{'Tight' if share <= 1 else 'Does not fit'}: {room}. {way}{note}"


def _ways(config: Config, seen: Forecast, device: Device) -> Iterator[tuple[str, list[str | int]]]:
    """What can be set, each with the values to try one after another."""
    options = config.local
    load = largest_load(config, seen, device)
    memory = forecast_memory(config, seen, device)[0]
    base = sum(memory.base.values())
    limit = ROOM * device.memory
    # Where the weights alone are too much, nothing that changes what is done with them helps.
    if base < limit and sum(memory.sampling.values()) + base > limit:
        yield "sample_batch_size", _halves(load.sequences, 1)
    if base < limit and sum(memory.training.values()) + base > limit:
        longest = int(max(seen.train.totals.max(initial=1), 1))
        yield (
            "micro_batch_tokens",
            _halves(tokens_at_once(options, on_gpu=device.is_gpu, threads=available_cores()), longest),
        )
        if options.gradient_checkpointing != "on":
            yield "gradient_checkpointing", ["on"]
    if device.is_gpu and config.trains_adapter and stored_quantization(options, device) == "none":
        yield "quantization", ["nf4"]
        yield "sample_batch_size", _halves(load.sequences, 1)


def _halves(value: int, least: int) -> list[str | int]:
    found: list[str | int] = []
    while value // 2 >= least:
        value //= 2
        found.append(value)
    return found


def largest_load(config: Config, seen: Forecast, device: Device) -> Load:
    """The largest micro-batch of the first epoch, and the largest batch of questions."""
    train, validation, asked = seen.train, seen.validation, seen.asked
    budget = tokens_at_once(config.local, on_gpu=device.is_gpu, threads=available_cores())
    packing = may_pack(config.local, on_gpu=device.is_gpu)
    sharing = may_share_prefixes(config.local, on_gpu=device.is_gpu)
    sizes = partial(micro_batch_sizes, budget=budget, packing=packing, sharing=sharing)
    # Logits weigh more than the layers' activations, per position: the micro-batch with the most of both.
    tokens = scored = computed = 0
    for batch in seen.batches:
        for padded, learnt in sizes(train, batch):
            tokens, scored, computed = max(tokens, padded), max(scored, learnt), computed + padded
    # The last token of an example is never an input.
    given = sum(int((train.totals[batch] - 1).sum()) for batch in seen.batches)
    every = list(range(len(validation.prompts)))
    forward = max((padded for padded, _ in sizes(validation, every)), default=0)
    evaluation = config.evaluation
    if config.rl.method is not None:
        # Each step samples a group of answers to each of its questions.
        asked = [*asked, Asked(train, 1, config.rl.group)]
    flight = [min(evaluation.concurrency, len(a.lengths.prompts)) for a in asked]
    together = max(
        1, min(config.local.sample_batch_size, max(n * a.samples for n, a in zip(flight, asked, strict=True)))
    )
    longest = max(int(a.lengths.prompts.max(initial=0)) for a in asked)
    prefill = max(longest, min(budget, together * longest))
    columns = max(map(partial(_columns, config, device), asked))
    return Load(tokens, scored, forward, longest, config.longest_answer, together, prefill, columns, computed / given)


def _columns(config: Config, device: Device, asked: Asked) -> int:
    """Columns of keys and values of the questions of a flight that take the most."""
    lengths, answer, rows = asked.lengths, config.longest_answer, config.local.sample_batch_size
    flight, count = config.evaluation.concurrency, len(asked.lengths.prompts)
    groups = [range(start, min(start + flight, count)) for start in range(0, count, flight)]

    def copies(group: range) -> int:
        return min(rows, len(group) * asked.samples) * (int(lengths.prompts[group].max()) + answer - 1)

    sharing = can_share_prefixes(config.local, model_shape(config.trained_model).family, on_gpu=device.is_gpu)
    if lengths.ids is None or not sharing:
        return max(map(copies, groups), default=0)
    ids, prompts = lengths.ids, lengths.prompts
    return max(
        (
            first_batch_positions(
                [tuple(ids[k][: prompts[k]].tolist()) for k in group], asked.samples, answer, rows, sharing=True
            )
            for group in sorted(groups, key=copies)[-COUNTED:]
        ),
        default=0,
    )
