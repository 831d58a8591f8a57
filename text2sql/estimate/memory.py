"""Whether a run fits the memory of a device, and which settings would make it fit."""

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
from text2sql.estimate.forecast import Forecast, QuestionLoad
from text2sql.formats import size

# Share of a device's memory above which a run may fail: the estimate is not exact, and other programs need memory.
USABLE_SHARE = 0.9
# Number of groups of questions whose shared prefixes are counted: those that need the most memory without sharing.
MAX_COUNTED_GROUPS = 16


def trained_parameters(config: Config, shape: ModelShape) -> int:
    """Number of trained parameters."""
    if not config.trains_adapter:
        return shape.parameters
    lora = config.lora
    return shape.lora_parameters(lora.rank, attn=lora.train_attn, mlp=lora.train_mlp, unembed=lora.train_unembed)


def forecast_memory(config: Config, forecast: Forecast, device: Device) -> tuple[Memory, Load]:
    """The peak memory of a run, and the load that causes it (BackendError if the model's shape is not known)."""
    shape = model_shape(config.trained_model)
    load = largest_load(config, forecast, device)
    return estimate_memory(shape, trained_parameters(config, shape), config.lora.rank, load, config.local, device), load


def find_remedies(config: Config, forecast: Forecast, device: Device) -> list[str]:
    """Find settings with which a run fits a device, as few as possible, first of those that do not change results.

    Returns:
        Overrides for the command line; none if no settings help.
    """

    def peak(settings: Mapping[str, str | int]) -> float:
        tried = config.model_copy(update={"local": config.local.model_copy(update=settings)})
        return forecast_memory(tried, forecast, device)[0].peak

    limit, chosen = USABLE_SHARE * device.memory, dict[str, str | int]()
    for key, values in _candidates(config, forecast, device):
        for value in values:
            if peak({**chosen, key: value}) < peak(chosen):
                chosen[key] = value
            if peak(chosen) <= limit:
                return [f"local.{name}={value}" for name, value in _drop_superfluous(chosen, peak, limit).items()]
    return []


def _drop_superfluous(
    settings: dict[str, str | int], peak: Callable[[Mapping[str, str | int]], float], limit: float
) -> dict[str, str | int]:
    """The settings without those that later ones have made superfluous."""
    for name in list(settings):
        fewer = {other: value for other, value in settings.items() if other != name}
        if peak(fewer) <= limit:
            settings = fewer
    return settings


def describe_fit(memory: Memory, config: Config, forecast: Forecast, device: Device) -> str:
    """State whether a run fits a device, and otherwise with which settings it would."""
    share = memory.peak / device.memory
    comparison = f"the peak of {size(memory.peak)} is {share:.0%} of the {size(device.memory)} of {device.name}"
    if share <= USABLE_SHARE:
        return f"Fits: {comparison}."
    remedies = find_remedies(config, forecast, device)
    if remedies:
        advice = f"It fits with {' '.join(remedies)}."
    elif device.is_gpu and config.trains_adapter:
        advice = (
            "No setting alone helps: split it over several GPUs (local.fsdp=true and --processes), or take a smaller "
            "model or data.max_tokens."
        )
    else:
        advice = "No setting alone helps: take a smaller model, a lower data.max_tokens, or a machine with more memory."
    # The local backend halves the work of one pass when memory runs out, but not the weights.
    halving_helps = sum(memory.base.values()) < USABLE_SHARE * device.memory
    note = (
        " The local backend halves what does not fit, so the run may succeed without, slower." if halving_helps else ""
    )
    return f"{'Tight' if share <= 1 else 'Does not fit'}: {comparison}. {advice}{note}"


def _candidates(config: Config, forecast: Forecast, device: Device) -> Iterator[tuple[str, list[str | int]]]:
    """Yield the settings that may help, each with the values to try in order."""
    options = config.local
    load = largest_load(config, forecast, device)
    memory = forecast_memory(config, forecast, device)[0]
    base = sum(memory.base.values())
    limit = USABLE_SHARE * device.memory
    # If the weights alone do not fit, smaller batches do not help.
    if base < limit and sum(memory.sampling.values()) + base > limit:
        yield "sample_batch_size", _halves(load.sequences, 1)
    if base < limit and sum(memory.training.values()) + base > limit:
        longest = int(max(forecast.train.totals.max(initial=1), 1))
        yield (
            "micro_batch_tokens",
            _halves(tokens_at_once(options, on_gpu=device.is_gpu, threads=available_cores()), longest),
        )
        if options.gradient_checkpointing != "on":
            yield "gradient_checkpointing", ["on"]
    if device.is_gpu and config.trains_adapter and stored_quantization(options, device) == "none":
        yield "quantization", ["nf4"]
        yield "sample_batch_size", _halves(load.sequences, 1)


def _halves(value: int, minimum: int) -> list[str | int]:
    halves: list[str | int] = []
    while value // 2 >= minimum:
        value //= 2
        halves.append(value)
    return halves


def largest_load(config: Config, forecast: Forecast, device: Device) -> Load:
    """The load with the largest micro-batch of the first epoch and the largest batch of questions."""
    train, validation, loads = forecast.train, forecast.validation, forecast.loads
    budget = tokens_at_once(config.local, on_gpu=device.is_gpu, threads=available_cores())
    packing = may_pack(config.local, on_gpu=device.is_gpu)
    sharing = may_share_prefixes(config.local, on_gpu=device.is_gpu)
    sizes = partial(micro_batch_sizes, budget=budget, packing=packing, sharing=sharing)
    # Per position logits need more memory than the layers' activations, so the maximum of each is taken.
    tokens = scored = computed = 0
    for batch in forecast.batches:
        for padded, learnt in sizes(train, batch):
            tokens, scored, computed = max(tokens, padded), max(scored, learnt), computed + padded
    # The last token of an example is never an input.
    input_tokens = sum(int((train.totals[batch] - 1).sum()) for batch in forecast.batches)
    all_validation = list(range(len(validation.prompts)))
    forward = max((padded for padded, _ in sizes(validation, all_validation)), default=0)
    evaluation = config.evaluation
    if config.rl.method is not None:
        # Each step samples a group of answers to each of its questions.
        loads = [*loads, QuestionLoad(train, 1, config.rl.group)]
    in_flight = [min(evaluation.concurrency, len(a.lengths.prompts)) for a in loads]
    together = max(
        1, min(config.local.sample_batch_size, max(n * a.samples for n, a in zip(in_flight, loads, strict=True)))
    )
    longest = max(int(a.lengths.prompts.max(initial=0)) for a in loads)
    prefill = max(longest, min(budget, together * longest))
    columns = max(map(partial(_columns, config, device), loads))
    return Load(
        tokens, scored, forward, longest, config.longest_answer, together, prefill, columns, computed / input_tokens
    )


def _columns(config: Config, device: Device, load: QuestionLoad) -> int:
    """Positions in the key/value cache of the group of questions in flight that needs the most."""
    lengths, answer, rows = load.lengths, config.longest_answer, config.local.sample_batch_size
    group_size, count = config.evaluation.concurrency, len(load.lengths.prompts)
    groups = [range(start, min(start + group_size, count)) for start in range(0, count, group_size)]

    def without_sharing(group: range) -> int:
        return min(rows, len(group) * load.samples) * (int(lengths.prompts[group].max()) + answer - 1)

    sharing = can_share_prefixes(config.local, model_shape(config.trained_model).family, on_gpu=device.is_gpu)
    if lengths.ids is None or not sharing:
        return max(map(without_sharing, groups), default=0)
    ids, prompts = lengths.ids, lengths.prompts
    return max(
        (
            first_batch_positions(
                [tuple(ids[k][: prompts[k]].tolist()) for k in group], load.samples, answer, rows, sharing=True
            )
            for group in sorted(groups, key=without_sharing)[-MAX_COUNTED_GROUPS:]
        ),
        default=0,
    )
