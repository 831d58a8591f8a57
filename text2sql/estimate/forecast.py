"""Forecast of the tokens that a run trains on, reads and samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backends.planning.micro_batch_sizes import Lengths
from backends.planning.shape import model_shape
from backends.tokenizer import Tokenizer
from text2sql.config import Config
from text2sql.data import prompts
from text2sql.data.cache import tokenize_cached
from text2sql.data.dataset import Dataset
from text2sql.data.example import Example
from text2sql.data.prompts import FewShotPrefixes
from text2sql.errors import UserError
from text2sql.inference.plan import plan_run
from text2sql.training.batches import SHUFFLED, OrderKeys, epoch_order, order_keys, total_steps

# Characters of SQL and schemas per token, assumed where no tokenizer is on the disk.
CHARACTERS_PER_TOKEN = 3.2
# Control tokens of one turn of a chat, assumed where no tokenizer is on the disk.
TOKENS_PER_TURN = 5


@dataclass(frozen=True)
class QuestionLoad:
    """Questions that a run asks a model.

    Attributes:
        lengths: Lengths of prompts and gold answers in tokens.
        times: How often all of them are asked; may be a fraction.
        samples: Number of answers to each.
        only_on_failure: Whether they are asked only where the first answer does not run.
    """

    lengths: Lengths
    times: float
    samples: int = 1
    only_on_failure: bool = False


@dataclass(frozen=True)
class TokenForecast:
    """Numbers of tokens of a run.

    Attributes:
        steps: Number of optimiser steps.
        trained: Tokens of all training batches.
        scored: Those of them that have a loss weight.
        validated: Tokens of all validations.
        prefilled: Prompt tokens of all evaluations.
        sampled: Sampled tokens: at the mean length of the gold answers without retries; and at most.
        questions: Number of answers at most.
    """

    steps: int
    trained: int
    scored: int
    validated: int
    prefilled: int
    sampled: tuple[int, int]
    questions: int


@dataclass(frozen=True)
class Forecast:
    """The work of a run, as far as it follows from the data.

    Attributes:
        train: Lengths of the training examples that are short enough.
        batches: The batches of the first epoch as indices of these examples; see `planned_batches`.
        validation: Lengths of the validation examples.
        loads: The questions of the evaluations.
        work: The numbers of tokens.
        counted_with: The tokenizer that they were counted with, in words.
    """

    train: Lengths
    batches: list[list[int]]
    validation: Lengths
    loads: list[QuestionLoad]
    work: TokenForecast
    counted_with: str = "the model's tokenizer"


def forecast_run(config: Config, dataset: Dataset) -> Forecast:
    """Forecast the work of a run, counted with a tokenizer that is on the disk: the model's, else `base_model`'s.

    Raises:
        UserError: No training example is short enough.
    """
    tokenizer, name, missing = prompts.find_tokenizer_of(config, on_disk=True)
    sides = [measure_lengths(side, tokenizer, config) for side in (dataset.split.train, dataset.split.validation)]
    loads = forecast_questions(config, dataset, tokenizer)
    # Indices of the training and of the validation examples that are short enough.
    kept_indices = [np.flatnonzero(side.totals <= config.data.max_tokens) for side in sides]
    train, validation = (_select(side, indices) for side, indices in zip(sides, kept_indices, strict=True))
    work = forecast_tokens(config, train, validation, loads)
    keys = SHUFFLED
    if config.rl.method is None:
        keys = order_keys(config, [dataset.split.train[index] for index in kept_indices[0]], dataset.known)
    batches = planned_batches(config, len(kept_indices[0]), keys)
    name = f"the tokenizer of {name}" if missing else "the model's tokenizer"
    return Forecast(train, batches, validation, loads, work, name)


def planned_passes(config: Config, examples: int) -> tuple[int, float]:
    """Optimiser steps of a run, and how often they go through the training examples, each answer to one counted."""
    training, rl = config.training, config.rl
    if rl.method is not None:
        steps = rl.total_steps(examples)
        return steps, steps * rl.questions * rl.group / examples
    steps = total_steps(config, examples)
    return steps, min(steps * training.batch_size, examples * training.epochs) / examples


def planned_batches(config: Config, examples: int, keys: OrderKeys) -> list[list[int]]:
    """The batches of the first epoch, as indices of training examples: one for each sequence in it."""
    size, copies = config.training.batch_size, 1
    if config.rl.method is not None:
        size, copies = config.rl.questions, config.rl.group
    order = epoch_order(config.seed, 0, examples, keys)
    batches = [order[start : start + size] for start in range(0, examples, size)]
    steps, _ = planned_passes(config, examples)
    return [[index for index in batch for _ in range(copies)] for batch in batches[:steps]]


def forecast_questions(config: Config, dataset: Dataset, tokenizer: Tokenizer | None) -> list[QuestionLoad]:
    """The questions that the evaluations of a run ask."""
    max_prompt_tokens = None
    if tokenizer is not None and config.capabilities.runs_locally:
        max_prompt_tokens = model_shape(config.trained_model).context - config.longest_answer
    loads: list[QuestionLoad] = []
    # Lengths of prompts without examples by the identity of the questions, which most evaluations share.
    zero_shot: dict[int, Lengths] = {}
    plan = plan_run(config, dataset.split.test)
    for evaluation in (*plan.before, *plan.after):
        questions = evaluation.questions
        strategy = evaluation.strategy.prepare(questions, dataset.split.train, tokenizer, config, max_prompt_tokens)
        request = strategy.request(questions)
        if request.few_shot is not None:
            lengths = measure_lengths(questions, tokenizer, config, request.few_shot)
        else:
            lengths = zero_shot.get(id(questions)) or measure_lengths(questions, tokenizer, config)
            zero_shot[id(questions)] = lengths
        loads.append(QuestionLoad(lengths, 1, request.samples))
        if strategy.max_retries:
            loads.append(QuestionLoad(lengths, strategy.max_retries, only_on_failure=True))
    return loads


def measure_lengths(
    examples: Sequence[Example], tokenizer: Tokenizer | None, config: Config, few_shot: FewShotPrefixes | None = None
) -> Lengths:
    """The lengths of prompts and gold answers in tokens, estimated from their characters without a tokenizer."""
    form, ids = prompts.PromptFormat.of(config), None
    if tokenizer is not None:
        # Cached, so that a run that follows finds most of the tokens.
        tokens = (
            prompts.tokenize(examples, tokenizer, form, few_shot)
            if few_shot
            else tokenize_cached(examples, tokenizer, form)
        )
        pairs = [(len(t.prompt), len(t.completion)) for t in tokens]
        ids = [np.concatenate([t.prompt, t.completion])[:-1] for t in tokens]
    else:
        prefixes = few_shot or [()] * len(examples)
        pairs = [_count_by_characters(e, form, prefix) for e, prefix in zip(examples, prefixes, strict=True)]
    counts = np.array(pairs, dtype=int).reshape(-1, 2)
    return Lengths(counts[:, 0], counts[:, 1], tokenizer is not None, ids)


def _count_by_characters(example: Example, form: prompts.PromptFormat, few_shot: Sequence[Example]) -> tuple[int, int]:
    """Estimate prompt and completion tokens from the number of characters, and of turns in a chat."""
    if prompts.is_chat(form):
        *turns, answer = prompts.messages(example, form, few_shot)
        prompt, completion = "".join(turn["content"] for turn in turns), answer["content"]
        control_tokens = TOKENS_PER_TURN * (len(turns) + 1)
    else:
        prompt = prompts.render_prompt(example, form, few_shot=few_shot)
        completion, control_tokens = prompts.render_completion(example, form), 0
    prompt_tokens = math.ceil(len(prompt) / CHARACTERS_PER_TOKEN) + control_tokens
    return prompt_tokens, math.ceil(len(completion) / CHARACTERS_PER_TOKEN)


def _select(lengths: Lengths, indices: np.ndarray) -> Lengths:
    """The lengths of some of the examples."""
    ids = None if lengths.ids is None else [lengths.ids[index] for index in indices]
    return Lengths(lengths.prompts[indices], lengths.completions[indices], lengths.counted, ids)


def forecast_tokens(
    config: Config, train: Lengths, validation: Lengths, loads: Sequence[QuestionLoad]
) -> TokenForecast:
    """Compute the numbers of tokens of a run (UserError if no training example is short enough)."""
    training, longest = config.training, config.longest_answer
    if not len(train.prompts):
        raise UserError(f"data.max_tokens={config.data.max_tokens}: no training example is short enough.")
    steps, passes = planned_passes(config, len(train.prompts))
    validations = steps // training.validate_every if training.validate_every else int(len(validation.prompts) > 0)
    first = slice(training.validation_questions)
    loads = [*loads, QuestionLoad(Lengths(validation.prompts[first], validation.completions[first], True), validations)]
    if config.rl.method is not None:
        loads.append(QuestionLoad(train, passes / config.rl.group, config.rl.group))
    answers = [(round(a.times * len(a.lengths.prompts)) * a.samples, a.only_on_failure) for a in loads]
    # The reference model, or the teacher, reads every answer with its prompt.
    read_again = passes * train.totals.sum() if config.rl.uses_reference_model else 0.0
    if config.prompt.thinking == "on":
        # Each answer is sampled behind the prompt and the thinking block.
        thought = config.evaluation.max_thinking_tokens
        read_again += sum(a.times * a.samples * (a.lengths.prompts + thought).sum() for a in loads)
    learnt = passes * config.rl.max_trained_answers / config.rl.group if config.rl.method is not None else passes
    mean = min(float(train.completions.mean()), longest)
    return TokenForecast(
        steps=steps,
        trained=int(learnt * train.totals.sum()),
        scored=int(learnt * train.completions.sum()),
        validated=int(validations * validation.totals.sum()),
        prefilled=int(read_again + sum(a.times * a.lengths.prompts.sum() for a in loads)),
        sampled=(
            int(mean * sum(n for n, on_failure in answers if not on_failure)),
            longest * sum(n for n, _ in answers),
        ),
        questions=sum(n for n, _ in answers),
    )
