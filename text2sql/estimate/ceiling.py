"""An upper bound of the memory of a run, from its settings and the size of its texts, without a tokenizer."""

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

# Tokens that a chat template may add to a prompt: control tokens, a system prompt of the model's own.
TEMPLATE_TOKENS = 128


def memory_ceiling(config: Config, dataset: Dataset, device: Device) -> float:
    """An upper bound of a run's estimated memory in bytes; infinite where that needs a tokenizer.

    A token has at least one byte of text, and a training example at most `data.max_tokens` tokens.

    Args:
        config: The run's configuration.
        dataset: Its examples.
        device: The device that it runs on.

    Raises:
        BackendError: The model's shape cannot be had.
    """
    evaluation, options = config.evaluation, config.local
    if evaluation.few_shot is not None:
        # Which examples fit in front of a question depends on their tokens.
        return math.inf
    shape, trained, form = model_shape(config.trained_model), config.data.max_tokens, PromptFormat.of(config)
    # The shared prefix of a micro-batch adds to its tokens; a sequence above the limit has a micro-batch to itself.
    tokens = tokens_at_once(options, on_gpu=device.is_gpu, threads=available_cores()) + trained
    # The last token of each answer is a target, but never an input.
    answers = config.training.batch_size
    samples = 1
    if config.rl.method is not None:
        samples = config.rl.group
        answers = config.rl.questions * samples
    if evaluation.self_consistency is not None:
        samples = max(samples, evaluation.self_consistency.samples)
    longest = max((_max_tokens(example, form) for example in dataset.split.test), default=0)
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


def _max_tokens(example: Example, form: PromptFormat) -> int:
    """An upper bound of the tokens of a prompt."""
    if prompts.is_chat(form):
        *turns, _ = prompts.messages(example, form, ())
        text = "".join(turn["content"] for turn in turns)
    else:
        text = prompts.render_prompt(example, form)
    return len(text.encode("utf-8", "surrogatepass")) + TEMPLATE_TOKENS
