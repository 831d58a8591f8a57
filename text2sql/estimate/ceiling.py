"""Memory that a run does not exceed, from its settings and the size of its texts: nothing is tokenised."""

from __future__ import annotations

import math

from backends.planning.batch_plan import tokens_at_once
from backends.planning.cores import available_cores
from backends.planning.estimate import Device, Load, estimate_memory
from backends.planning.shape import model_shape
from text2sql.config import Config
from text2sql.data import prompts
from text2sql.data.dataset import Dataset
from text2sql.data.example import Example
from text2sql.data.prompts import PromptFormat
from text2sql.estimate.memory import trained_parameters

# Tokens that a template puts around a question beside its text: marks of turns, a system prompt of the model's own.
AROUND = 128


def memory_ceiling(config: Config, dataset: Dataset, device: Device) -> float:
    """Bytes that a run does not exceed by the estimate; infinite where that cannot be said without a tokenizer.

    A token takes a byte of text at least, and what is trained on has `data.max_tokens` at most.

    Args:
        config: The run's.
        dataset: Its examples.
        device: Where it runs.

    Raises:
        BackendError: The model's shape cannot be had.
    """
    evaluation, options = config.evaluation, config.local
    if evaluation.few_shot is not None:
        # Which examples stand before a question is found with a tokenizer.
        return math.inf
    shape, trained, form = model_shape(config.trained_model), config.data.max_tokens, PromptFormat.of(config)
    # What all sequences of a micro-batch begin with comes on top of its tokens; a longer sequence has one to itself.
    tokens = tokens_at_once(options, on_gpu=device.is_gpu, threads=available_cores()) + trained
    # The last token of an answer is predicted, and never read.
    answers = config.training.batch_size
    samples = 1
    if config.rl.method is not None:
        samples = config.rl.group
        answers = config.rl.questions * samples
    if evaluation.self_consistency is not None:
        samples = max(samples, evaluation.self_consistency.samples)
    longest = max((_most_tokens(example, form) for example in dataset.split.test), default=0)
    longest = max(longest, trained if config.rl.method is not None else 0)
    together = max(1, min(options.sample_batch_size, evaluation.concurrency * samples))
    load = Load(
        tokens=tokens,
        scored=tokens + answers,
        forward_only=tokens,
        prompt=longest,
        answer=config.longest_answer,
        sequences=together,
        prefill=max(longest, tokens),
        cache_positions=together * (longest + config.longest_answer),
    )
    return estimate_memory(shape, trained_parameters(config, shape), config.lora.rank, load, options, device).peak


def _most_tokens(example: Example, form: PromptFormat) -> int:
    """Tokens that a prompt does not exceed."""
    if prompts.is_chat(form):
        *asked, _ = prompts.messages(example, form, ())
        text = "".join(turn["content"] for turn in asked)
    else:
        text = prompts.render_prompt(example, form)
    return len(text.encode("utf-8", "surrogatepass")) + AROUND
