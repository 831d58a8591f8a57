"""The estimate of a run's memory, time and cost, on the terminal."""

from __future__ import annotations

from rich.table import Table

from backends.options import Prices
from backends.planning.estimate import (
    BYTES,
    Device,
    Load,
    Memory,
    sampling_seconds,
    stored_quantization,
    stores_bfloat16,
    training_seconds,
    weight_bytes,
)
from backends.planning.prices import find_prices
from backends.planning.shape import model_shape
from text2sql.config import Config
from text2sql.console import console
from text2sql.data.dataset import load_dataset
from text2sql.estimate.devices import find_device, unsupported_settings
from text2sql.estimate.forecast import CHARACTERS_PER_TOKEN, Forecast, TokenForecast, forecast_run
from text2sql.estimate.memory import USABLE_SHARE, describe_fit, forecast_memory, trained_parameters
from text2sql.formats import count, duration, size


def print_estimate(config: Config, device: str) -> None:
    """Print memory and time on a device (see `find_device`) or, with backend=tinker, tokens and cost.

    Raises:
        UserError: No training example is short enough.
        BackendError: The shape of the model cannot be had.
    """
    local = None if config.capabilities.charges else find_device(device)
    forecast = forecast_run(config, load_dataset(config))
    work = forecast.work
    tokenizer = config.backend_options.tokenizer_name(config.base_model)
    how = f"counted with {forecast.counted_with}" if forecast.train.counted else (
        f"estimated at {CHARACTERS_PER_TOKEN} characters a token: {tokenizer} has no tokenizer on this disk"
    )  # fmt: skip
    console.print(
        f"{config.name}: {config.trained_model}, {len(forecast.train.prompts):,} training examples, "
        f"{work.steps} steps, {work.trained:,} tokens of which {work.scored:,} are learnt ({how})."
    )
    if local is None:
        _print_cost(config, work)
    else:
        _print_local(config, forecast, local)


# The Tinker API


def _print_cost(config: Config, work: TokenForecast) -> None:
    table = Table("", "tokens")
    table.add_row("trained on", f"{work.trained:,}")
    table.add_row("validated on (charged as training here)", f"{work.validated:,}")
    table.add_row("prompts of evaluations", f"{work.prefilled:,}")
    table.add_row("sampled", f"about {work.sampled[0]:,}, at most {work.sampled[1]:,}")
    console.print(table)
    priced = find_prices(config.trained_model, config.tinker)
    if priced is None:
        console.print(
            f"No price of {config.trained_model} is known: no cost. Set tinker.prices.train, tinker.prices.prefill and "
            "tinker.prices.sample, in dollars for a million tokens."
        )
        return
    prices, source = priced
    low, high = (prices.cost(work.trained + work.validated, work.prefilled, sampled) for sampled in work.sampled)
    console.print(
        f"Cost: about ${low:.2f}, at most ${high:.2f}, at ${prices.train:g} (training), ${prices.prefill:g} (prompts) "
        f"and ${prices.sample:g} (sampling) for a million tokens, after {source}; storage not included. "
        f"{_cache_note(prices, work.prefilled)}",
        markup=False,
    )
    if config.rl.method == "distill":
        console.print("What the teacher reads is counted at these prices; another model has its own.")
    limit = config.tinker.max_cost
    if limit is not None:
        verdict = "is enough" if limit >= high else "may stop the run" if limit >= low else "will stop the run"
        console.print(f"tinker.max_cost=${limit:g} {verdict}.")


def _cache_note(prices: Prices, prefilled: int) -> str:
    """A sentence on how much cached prompts would save at most."""
    if prices.cached_prefill is None:
        return "All prompts are counted in full."
    saved = prices.cost(0, prefilled, 0) - prices.cost(0, prefilled, 0, cached=prefilled)
    return f"Prompts are counted in full; those read before cost ${prices.cached_prefill:g}, ${saved:.2f} less at most."


# A device


def _print_local(config: Config, forecast: Forecast, device: Device) -> None:
    shape, work = model_shape(config.trained_model), forecast.work
    memory, load = forecast_memory(config, forecast, device)
    _print_memory(memory, load)
    _print_verdict(memory, config, forecast, device)
    for problem in unsupported_settings(config, device):
        console.print(problem, style="bold red", markup=False)
    width = BYTES[device.dtype if config.local.dtype == "auto" else config.local.dtype]
    is_narrow = stores_bfloat16(config.local, device)
    quantization = stored_quantization(config.local, device)
    weights = weight_bytes(shape, quantization, config.local.double_quantization, width, narrow=is_narrow)
    seconds = training_seconds(
        shape,
        trained_parameters(config, shape),
        load.computed * work.trained,
        work.scored,
        float(forecast.train.totals.mean()),
        config.local,
        device,
    )
    tested = sampling_seconds(shape, load, work.questions, device, weights, width)
    parts, part = (work.steps, "a step") if config.rl.method is not None else (config.training.epochs, "an epoch")
    rate = "measured just now" if not device.is_gpu else "assumed"
    bfloat16 = ", with products of frozen weights in bfloat16" if is_narrow else ""
    console.print(
        f"Time: training about {duration(seconds)} ({duration(seconds / parts)} {part}, "
        f"{count(work.trained / seconds)} tokens/s), evaluations at most {duration(tested)}; at "
        f"{device.flops / 1e12:.3g} TFLOP/s and {device.bandwidth / 1e9:.0f} GB/s, {rate} of {device.name}{bfloat16}."
    )


def _print_memory(memory: Memory, load: Load) -> None:
    table = Table("memory", "while training", "while sampling")
    for name, held in memory.base.items():
        table.add_row(name, size(held), size(held))
    for name, held in memory.training.items():
        if held:
            table.add_row(name, size(held), "")
    for name, held in memory.sampling.items():
        if held:
            table.add_row(name, "", size(held))
    base = sum(memory.base.values())
    totals = (size(base + sum(part.values())) for part in (memory.training, memory.sampling))
    table.add_section()
    table.add_row("at its peak", *totals, style="bold")
    console.print(table)
    console.print(
        f"Largest micro-batch: {load.tokens:,} tokens, {load.scored:,} learnt. {load.sequences} questions at a time, "
        f"of up to {load.prompt} tokens, answered in up to {load.answer}."
    )


def _print_verdict(memory: Memory, config: Config, forecast: Forecast, device: Device) -> None:
    text = describe_fit(memory, config, forecast, device)
    fits = memory.peak <= USABLE_SHARE * device.memory
    console.print(text, style="bold green" if fits else "bold red")
    if config.local.fsdp:
        console.print("local.fsdp: each process holds its share of the weights; here they are counted whole.")
