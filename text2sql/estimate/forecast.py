"""How many tokens a run trains on, reads and samples, before it is run."""

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
from text2sql.training.batches import order_keys, planned_batches, planned_passes

# Of SQL and schemas, where the tokenizer is not at hand.
CHARACTERS_PER_TOKEN = 3.2
# Tokens around a turn of a conversation, where the tokenizer is not at hand.
MARKS = 5


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


@dataclass(frozen=True)
class Forecast:
    """What a run reads and writes, as far as the data say.

    Attributes:
        train: Lengths of the training examples that are short enough.
        batches: The batches of the first epoch, as places of these; see `planned_batches`.
        validation: Of the validation examples.
        asked: What the evaluations ask.
        work: All of it in tokens.
        counted_with: Whose tokenizer they were counted with, where one was at hand.
    """

    train: Lengths
    batches: list[list[int]]
    validation: Lengths
    asked: list[Asked]
    work: TokenForecast
    counted_with: str = "the model's tokenizer"


def forecast(config: Config, dataset: Dataset) -> Forecast:
    """What a run reads and writes, counted with a tokenizer where it is on the disk: the model's, else `base_model`'s.

    Raises:
        UserError: No training example is short enough.
    """
    tokenizer, name, missing = prompts.find_tokenizer_of(config, on_disk=True)
    sides = [measure_lengths(side, tokenizer, config) for side in (dataset.split.train, dataset.split.validation)]
    asked = forecast_questions(config, dataset, tokenizer)
    kept = [np.flatnonzero(side.totals <= config.data.max_tokens) for side in sides]
    train, validation = (_at(side, places) for side, places in zip(sides, kept, strict=True))
    work = forecast_tokens(config, train, validation, asked)
    keys = order_keys(config, [dataset.split.train[place] for place in kept[0]], dataset.known)
    batches = planned_batches(config, len(kept[0]), keys)
    name = f"the tokenizer of {name}" if missing else "the model's tokenizer"
    return Forecast(train, batches, validation, asked, work, name)


def forecast_questions(config: Config, dataset: Dataset, tokenizer: Tokenizer | None) -> list[Asked]:
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
        strategy = evaluation.strategy.prepare(questions, dataset.split.train, tokenizer, config, limit)
        request = strategy.request(questions)
        if request.few_shot is not None:
            lengths = measure_lengths(questions, tokenizer, config, request.few_shot)
        else:
            lengths = bare.get(id(questions)) or measure_lengths(questions, tokenizer, config)
            bare[id(questions)] = lengths
        asked.append(Asked(lengths, 1, request.samples))
        if strategy.max_retries:
            asked.append(Asked(lengths, strategy.max_retries, only_on_failure=True))
    return asked


def measure_lengths(
    examples: Sequence[Example], tokenizer: Tokenizer | None, config: Config, few_shot: FewShotPrefixes | None = None
) -> Lengths:
    """Tokens of prompts and answers, by the number of characters where there is no tokenizer."""
    form, ids = prompts.PromptFormat.of(config), None
    if tokenizer is not None:
        # A run that follows finds the tokens of most in the cache.
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
    """Prompt and completion tokens by the number of characters, and of turns in a conversation."""
    if prompts.is_chat(form):
        *asked, answer = prompts.messages(example, form, few_shot)
        prompt, completion = "".join(turn["content"] for turn in asked), answer["content"]
        marks = MARKS * (len(asked) + 1)
    else:
        prompt = prompts.render_prompt(example, form, few_shot=few_shot)
        completion, marks = prompts.render_completion(example, form), 0
    return math.ceil(len(prompt) / CHARACTERS_PER_TOKEN) + marks, math.ceil(len(completion) / CHARACTERS_PER_TOKEN)


def _at(lengths: Lengths, places: np.ndarray) -> Lengths:
    """Those of some of the examples."""
    ids = None if lengths.ids is None else [lengths.ids[place] for place in places]
    return Lengths(lengths.prompts[places], lengths.completions[places], lengths.counted, ids)


def forecast_tokens(config: Config, train: Lengths, validation: Lengths, asked: Sequence[Asked]) -> TokenForecast:
    """Tokens of a run (UserError if no training example is short enough)."""
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
