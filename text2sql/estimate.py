"""What a configuration would take in memory, time and dollars, before it is run."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from rich.table import Table

from backends.options import Prices
from backends.planning.batch_plan import may_pack, may_share_prefixes, tokens_at_once
from backends.planning.cores import available_cores
from backends.planning.estimate import (
    BYTES,
    CPU_OVERHEAD,
    DEVICES,
    Device,
    Load,
    Memory,
    estimate_memory,
    quantised,
    sampling_seconds,
    training_flops,
    weight_bytes,
)
from backends.planning.micro_batch_sizes import Lengths, micro_batch_sizes
from backends.planning.prices import find_prices
from backends.planning.shape import model_shape
from backends.tokenizer import Tokenizer
from text2sql.config import Config
from text2sql.console import console
from text2sql.data import prompts
from text2sql.data.dataset import Dataset, load_dataset
from text2sql.data.example import Example
from text2sql.data.prompts import FewShotPrefixes
from text2sql.errors import UserError
from text2sql.formats import count, duration, size
from text2sql.inference.plan import plan_run
from text2sql.training.batches import planned_batches, planned_passes

# Of SQL and schemas, where the tokenizer is not at hand.
CHARACTERS_PER_TOKEN = 3.2
# Tokens around a turn of a conversation, where the tokenizer is not at hand.
MARKS = 5
# What a training step on a CPU reaches of a large matrix product's rate, as scripts/check_estimate.py measures it.
SUSTAINED = 0.7


@dataclass(frozen=True)
class Asked:
    """Questions that a run has answered.

    Attributes:
        lengths: Prompts and gold answers.
        times: How often all of them are asked, or in what share.
        samples: Answers to each.
        only_on_failure: Whether it is asked only where the first answer does not run.
    """

    lengths: Lengths
    times: float
    samples: int = 1
    only_on_failure: bool = False


@dataclass(frozen=True)
class TokenForecast:
    """Tokens of a run.

    Attributes:
        steps: Optimiser steps.
        trained: Tokens in all of them.
        scored: Those that carry weight.
        validated: Tokens of all validations.
        prefilled: Prompt tokens of all evaluations.
        sampled: Answers at the mean length of the gold ones, without second tries; and the longest that are allowed.
        questions: How many answers.
    """

    steps: int
    trained: int
    scored: int
    validated: int
    prefilled: int
    sampled: tuple[int, int]
    questions: int


def print_estimate(config: Config, device: str) -> None:
    """Print memory and time on a device (see `find_device`) or, with backend=tinker, tokens and cost.

    Raises:
        UserError: No training example is short enough.
        BackendError: The shape of the model cannot be had.
    """
    local = None if config.capabilities.charges else find_device(device)
    dataset = load_dataset(config)
    tokenizer, _ = prompts.find_tokenizer(config.base_model, on_disk=True)
    sides = [_lengths(side, tokenizer, config) for side in (dataset.split.train, dataset.split.validation)]
    asked = _asked(config, dataset, tokenizer)
    train, validation = (_within(side, config.data.max_tokens) for side in sides)
    work = _work(config, train, validation, asked)
    how = "counted with the model's tokenizer" if train.counted else (
        f"estimated at {CHARACTERS_PER_TOKEN} characters a token: {config.base_model} has no tokenizer on this disk"
    )  # fmt: skip
    console.print(
        f"{config.name}: {config.trained_model}, {len(train.prompts):,} training examples, {work.steps} steps, "
        f"{work.trained:,} tokens of which {work.scored:,} are learnt ({how})."
    )
    if local is None:
        _print_cost(config, work)
    else:
        _print_local(config, work, train, validation, asked, local)


def _asked(config: Config, dataset: Dataset, tokenizer: Tokenizer | None) -> list[Asked]:
    """What the evaluations of a run ask."""
    limit = None
    if tokenizer is not None and config.capabilities.computes_here:
        limit = model_shape(config.trained_model).context - config.longest_answer
    asked: list[Asked] = []
    # Most evaluations are of the same questions with the same prompts, which are counted once.
    bare: dict[int, Lengths] = {}
    plan = plan_run(config, dataset.split.test)
    for evaluation in (*plan.before, *plan.after):
        questions = evaluation.questions
        strategy = evaluation.strategy.prepared(questions, dataset.split.train, tokenizer, config, limit)
        request = strategy.request(questions)
        if request.few_shot is not None:
            lengths = _lengths(questions, tokenizer, config, request.few_shot)
        else:
            lengths = bare.get(id(questions)) or _lengths(questions, tokenizer, config)
            bare[id(questions)] = lengths
        asked.append(Asked(lengths, 1, request.samples))
        if strategy.attempts:
            asked.append(Asked(lengths, strategy.attempts, only_on_failure=True))
    return asked


def _lengths(
    examples: Sequence[Example], tokenizer: Tokenizer | None, config: Config, few_shot: FewShotPrefixes | None = None
) -> Lengths:
    form, ids = prompts.PromptFormat.of(config), None
    if tokenizer is not None:
        tokens = prompts.tokenize(examples, tokenizer, form, few_shot)
        pairs = [(len(t.prompt), len(t.completion)) for t in tokens]
        ids = [np.concatenate([t.prompt, t.completion])[:-1] for t in tokens]
    else:
        prefixes = few_shot or [()] * len(examples)
        pairs = [_count_by_characters(e, form, prefix) for e, prefix in zip(examples, prefixes, strict=True)]
    counts = np.array(pairs, dtype=int).reshape(-1, 2)
    return Lengths(counts[:, 0], counts[:, 1], tokenizer is not None, ids)


def _count_by_characters(example: Example, form: prompts.PromptFormat, few_shot: Sequence[Example]) -> tuple[int, int]:
    """Prompt and completion tokens by the number of characters, and of turns in a conversation."""
    if prompts.is_chat(form):
        *asked, answer = prompts.messages(example, form, few_shot)
        prompt, completion = "".join(turn["content"] for turn in asked), answer["content"]
        marks = MARKS * (len(asked) + 1)
    else:
        prompt = prompts.render_prompt(example, form, few_shot=few_shot)
        completion, marks = prompts.render_completion(example, form), 0
    return math.ceil(len(prompt) / CHARACTERS_PER_TOKEN) + marks, math.ceil(len(completion) / CHARACTERS_PER_TOKEN)


def _within(lengths: Lengths, limit: int) -> Lengths:
    kept = lengths.totals <= limit
    ids = None if lengths.ids is None else [lengths.ids[place] for place in np.flatnonzero(kept)]
    return Lengths(lengths.prompts[kept], lengths.completions[kept], lengths.counted, ids)


def _work(config: Config, train: Lengths, validation: Lengths, asked: Sequence[Asked]) -> TokenForecast:
    training, longest = config.training, config.longest_answer
    if not len(train.prompts):
        raise UserError(f"data.max_tokens={config.data.max_tokens}: no training example is short enough.")
    steps, seen = planned_passes(config, len(train.prompts))
    validations = steps // training.validate_every if training.validate_every else int(len(validation.prompts) > 0)
    held = slice(training.validation_questions)
    asked = [*asked, Asked(Lengths(validation.prompts[held], validation.completions[held], True), validations)]
    if config.rl.method is not None:
        asked.append(Asked(train, seen / config.rl.group, config.rl.group))
    answers = [(round(a.times * len(a.lengths.prompts)) * a.samples, a.only_on_failure) for a in asked]
    # The start model, or the teacher, reads every answer with its prompt.
    read_again = seen * train.totals.sum() if config.rl.asks_another else 0.0
    if config.prompt.thinking == "on":
        # Each answer is asked for behind the prompt and what was thought.
        thought = config.evaluation.max_thinking_tokens
        read_again += sum(a.times * a.samples * (a.lengths.prompts + thought).sum() for a in asked)
    learnt = seen * config.rl.learnt_at_most / config.rl.group if config.rl.method is not None else seen
    mean = min(float(train.completions.mean()), longest)
    return TokenForecast(
        steps=steps,
        trained=int(learnt * train.totals.sum()),
        scored=int(learnt * train.completions.sum()),
        validated=int(validations * validation.totals.sum()),
        prefilled=int(read_again + sum(a.times * a.lengths.prompts.sum() for a in asked)),
        sampled=(
            int(mean * sum(n for n, on_failure in answers if not on_failure)),
            longest * sum(n for n, _ in answers),
        ),
        questions=sum(n for n, _ in answers),
    )


# The Tinker API


def _print_cost(config: Config, work: TokenForecast) -> None:
    table = Table("", "tokens")
    table.add_row("trained on", f"{work.trained:,}")
    table.add_row("validated on (charged as training here)", f"{work.validated:,}")
    table.add_row("prompts of evaluations", f"{work.prefilled:,}")
    table.add_row("sampled", f"about {work.sampled[0]:,}, at most {work.sampled[1]:,}")
    console.print(table)
    found = find_prices(config.trained_model, config.tinker)
    if found is None:
        console.print(
            f"No price of {config.trained_model} is known: no cost. Set tinker.prices.train, tinker.prices.prefill and "
            "tinker.prices.sample, in dollars for a million tokens."
        )
        return
    prices, source = found
    low, high = (prices.cost(work.trained + work.validated, work.prefilled, sampled) for sampled in work.sampled)
    console.print(
        f"Cost: about ${low:.2f}, at most ${high:.2f}, at ${prices.train:g} (training), ${prices.prefill:g} (prompts) "
        f"and ${prices.sample:g} (sampling) for a million tokens, after {source}; storage not included. "
        f"{_cached(prices, work.prefilled)}",
        markup=False,
    )
    if config.rl.method == "distill":
        console.print("What the teacher reads is counted at these prices; another model has its own.")
    limit = config.tinker.max_cost
    if limit is not None:
        verdict = "is enough" if limit >= high else "may stop the run" if limit >= low else "will stop the run"
        console.print(f"tinker.max_cost=${limit:g} {verdict}.")


def _cached(prices: Prices, prefilled: int) -> str:
    """What prompts that the service has read before would save at most."""
    if prices.cached_prefill is None:
        return "All prompts are counted in full."
    saved = prices.cost(0, prefilled, 0) - prices.cost(0, prefilled, 0, cached=prefilled)
    return f"Prompts are counted in full; those read before cost ${prices.cached_prefill:g}, ${saved:.2f} less at most."


# A device


def find_device(name: str) -> Device:
    """The device of a name of `DEVICES`, or this machine's: its processor for ``cpu``, a GPU before it for ``here``."""
    if name in DEVICES:
        return DEVICES[name]
    if name == "here" and (gpu := _gpu_here()) is not None:
        return gpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Device("cpu", memory, *_measured_rates(), "float32", CPU_OVERHEAD)


def _gpu_here() -> Device | None:
    """The CUDA GPU of this machine, at the rates of the named one that it is most like in memory."""
    import torch

    if not torch.cuda.is_available():
        return None
    memory = torch.cuda.get_device_properties(0).total_memory
    like = min(DEVICES.values(), key=lambda device: abs(device.memory - memory))
    name = torch.cuda.get_device_name(0)
    dtype = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    return Device(f"{name} (at a {like.name}'s rates)", memory, like.flops, like.bandwidth, dtype, like.overhead)


def _measured_rates() -> tuple[float, float]:
    """FLOP/s that training sustains and bytes/s of this CPU, in a fraction of a second."""
    a = np.random.default_rng(0).standard_normal((1024, 1024), dtype=np.float32)
    product = min(_timed(lambda: a @ a) for _ in range(4))
    large = np.ones(2**24)
    read = min(_timed(large.sum) for _ in range(4))
    return SUSTAINED * 2 * 1024**3 / product, large.nbytes / read


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def unsuited(config: Config, device: Device) -> list[str]:
    """What a device cannot compute as the configuration asks for it, or only slowly; with the way on."""
    # The GPUs before Ampere are those that have float16 alone.
    if not (device.is_gpu and device.dtype == "float16"):
        return []
    problems = []
    if config.local.dtype == "bfloat16":
        problems.append(
            f"local.dtype=bfloat16: a {device.name} has no bfloat16. PyTorch emulates it, many times slower, and some "
            "kernels refuse it. Set local.dtype=auto, which is float16 there."
        )
    if config.local.attention == "flash_attention_2":
        problems.append(
            f"local.attention=flash_attention_2: its kernels do not run on a {device.name}. Set local.attention=auto."
        )
    return problems


def _print_local(
    config: Config, work: TokenForecast, train: Lengths, validation: Lengths, asked: Sequence[Asked], device: Device
) -> None:
    shape, lora = model_shape(config.trained_model), config.lora
    trained = shape.parameters
    if config.trains_adapter:
        trained = shape.lora_parameters(lora.rank, attn=lora.train_attn, mlp=lora.train_mlp, unembed=lora.train_unembed)
    load = largest_load(config, train, validation, asked, device)
    memory = estimate_memory(shape, trained, lora.rank, load, config.local, device)
    _print_memory(memory, load, device)
    _print_verdict(memory, config, device)
    for problem in unsuited(config, device):
        console.print(problem, style="bold red", markup=False)
    width = BYTES[device.dtype if config.local.dtype == "auto" else config.local.dtype]
    weights = weight_bytes(shape, quantised(config.local, device), config.local.double_quantization, width)
    flops = training_flops(shape, trained, work.trained, work.scored, float(train.totals.mean()), config.local)
    seconds = flops / device.flops
    tested = sampling_seconds(shape, load, work.questions, device, weights, width)
    parts, part = (work.steps, "a step") if config.rl.method is not None else (config.training.epochs, "an epoch")
    rate = "measured just now" if not device.is_gpu else "assumed"
    console.print(
        f"Time: training about {duration(seconds)} ({duration(seconds / parts)} {part}, "
        f"{count(work.trained / seconds)} tokens/s), evaluations at most {duration(tested)}; at {rate} rates of "
        f"{device.flops / 1e12:.3g} TFLOP/s and {device.bandwidth / 1e9:.0f} GB/s on {device.name}."
    )


def largest_load(config: Config, train: Lengths, validation: Lengths, asked: Sequence[Asked], device: Device) -> Load:
    """The largest micro-batch of the first epoch, and the largest batch of questions."""
    budget = tokens_at_once(config.local, on_gpu=device.is_gpu, threads=available_cores())
    packing = may_pack(config.local, on_gpu=device.is_gpu)
    sharing = may_share_prefixes(config.local, on_gpu=device.is_gpu)
    sizes = partial(micro_batch_sizes, budget=budget, packing=packing, sharing=sharing)
    # Logits weigh more than the layers' activations, per position: the micro-batch with the most of both.
    tokens = scored = 0
    for batch in planned_batches(config, len(train.prompts)):
        for padded, learnt in sizes(train, batch):
            tokens, scored = max(tokens, padded), max(scored, learnt)
    every = list(range(len(validation.prompts)))
    forward = max((padded for padded, _ in sizes(validation, every)), default=0)
    evaluation = config.evaluation
    answers = max(min(evaluation.concurrency, len(a.lengths.prompts)) * a.samples for a in asked)
    together = max(1, min(config.local.sample_batch_size, answers))
    longest = max(int(a.lengths.prompts.max(initial=0)) for a in asked)
    prefill = max(longest, min(budget, together * longest))
    return Load(tokens, scored, forward, longest, config.longest_answer, together, prefill)


def _print_memory(memory: Memory, load: Load, device: Device) -> None:
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
        f"Largest micro-batch: {load.tokens:,} tokens, {load.scored:,} learnt. {load.together} questions at a time, of "
        f"up to {load.prompt} tokens, answered in up to {load.answer}."
    )


def _print_verdict(memory: Memory, config: Config, device: Device) -> None:
    share = memory.peak / device.memory
    room = f"the peak of {size(memory.peak)} is {share:.0%} of the {size(device.memory)} of {device.name}"
    if share <= 0.9:
        console.print(f"Fits: {room}.", style="bold green")
        return
    advice = []
    if quantised(config.local, device) == "none" and device.is_gpu and config.trains_adapter:
        advice += ["local.quantization=nf4", "local.fsdp=true on several cards"]
    if sum(memory.training.values()) > sum(memory.sampling.values()):
        advice += ["a lower local.micro_batch_tokens", "local.gradient_checkpointing=on"]
    else:
        advice.append("a lower local.sample_batch_size")
    word = "Tight" if share <= 1 else "Does not fit"
    console.print(f"{word}: {room}. What helps: {', '.join(advice)}.", style="bold red")
    if config.local.fsdp:
        console.print("local.fsdp: each process holds its share of the weights; here they are counted whole.")
    if share > 1 and sum(memory.base.values()) < 0.9 * device.memory:
        console.print("The local backend halves micro-batches that do not fit, so the run may still succeed, slower.")
