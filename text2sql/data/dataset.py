"""Loads, cleans, splits and tokenises the configured data, and counts the examples that are left out."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from backends.base_models import embedding_rows
from backends.tokenizer import Tokenizer
from text2sql.config import Config, expand_user
from text2sql.config.templates import needs_reasoning
from text2sql.data.cache import tokenize_cached
from text2sql.data.clean import SET_ASIDE, check_dropped, clean
from text2sql.data.decisions import apply_decisions, read_decisions
from text2sql.data.example import Example, in_dialect
from text2sql.data.facts import ExampleFacts
from text2sql.data.mixture import mix
from text2sql.data.prompts import PromptFormat, Tokens
from text2sql.data.schema_text import show_schemas
from text2sql.data.sources import load_examples, with_databases
from text2sql.data.split import Split, count_leaks, draw, hold_back, split_examples, split_with_test
from text2sql.errors import UserError
from text2sql.evaluation.golds import GoldFault

WITHOUT_REASONING = "without reasoning"


@dataclass(frozen=True)
class Dataset:
    """What a run trains and tests on.

    Attributes:
        split: The training, validation and test examples.
        available: The number of rows in the source.
        rows: The number of drawn rows (`data.limit`).
        dropped: The number of drawn rows that were left out, by reason.
        leaks: See `text2sql.data.split.count_leaks`.
        held_back: The number of training examples that the run does not use (`rl.holdout`): a supervised run leaves
            them to a reinforcement learning run, and the other way round.
        known: The facts of all examples.
        faults: The faults of the test side's gold queries; see `text2sql.data.golds`.
    """

    split: Split
    available: int
    rows: int
    dropped: dict[str, int]
    leaks: dict[str, int]
    held_back: int = 0
    known: ExampleFacts = field(default_factory=ExampleFacts, compare=False, repr=False)
    faults: tuple[GoldFault, ...] = ()

    def counts(self) -> str:
        """The number of used rows and the reasons for dropping the others, in a sentence or two."""
        drawn = f"{self.rows} of {self.available} rows drawn" if self.rows < self.available else f"{self.rows} rows"
        dropped = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items()) or "none"
        held_back = f" {self.held_back} training examples kept aside (rl.holdout)." if self.held_back else ""
        return f"{drawn}. Dropped: {dropped}.{held_back}"


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Switches the garbage collector off while data are read, which it would scan over and over."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@_without_garbage_collection()
def load_dataset(config: Config) -> Dataset:
    """Load, draw, clean and split the configured data.

    Raises:
        UserError: There is no such data, too little of it, or too much of it is unusable.
    """
    data = config.data
    available = in_dialect(_mixture(config) if data.mix else load_examples(data), data.dialect)
    drawn = draw(available, data)
    examples_left, dropped_by_decision = apply_decisions(
        drawn, read_decisions(expand_user(data.decisions)) if data.decisions else {}
    )
    known = ExampleFacts()
    examples, dropped = clean(examples_left, data.max_dropped, known)
    dropped = dropped | dropped_by_decision
    if data.test is None:
        split = split_examples(examples, data, known)
    else:
        test_examples, test_dropped = clean(in_dialect(load_examples(data.test), data.dialect), data.max_dropped, known)
        dropped = dropped | {f"{reason} (test)": count for reason, count in test_dropped.items()}
        split = split_with_test(examples, test_examples, data)
        examples = [*examples, *split.test]
    set_aside = len(examples) - sum(map(len, split))
    train_count = len(split.train)
    split, holdout = hold_back(split, config.rl, known)
    if holdout and config.rl.method is not None:
        split = split._replace(train=holdout)
    held_back = train_count - len(split.train)
    # A run takes only a part of the bundled set.
    if set_aside and data.source != "bundled":
        dropped = dropped | {SET_ASIDE: set_aside}
    trains_reasoning = needs_reasoning(config.prompt.template) or config.prompt.thinking == "on"
    if config.rl.imitates_gold and config.evaluation.adapter is None and trains_reasoning:
        split, without_reasoning = _with_reasoning(split)
        dropped = dropped | ({WITHOUT_REASONING: without_reasoning} if without_reasoning else {})
    leaks = count_leaks(split, known)
    return Dataset(_complete_for_prompts(split, config), len(available), len(drawn), dropped, leaks, held_back, known)


def _mixture(config: Config) -> list[Example]:
    return mix([(part.source, part.weight, load_examples(part)) for part in config.data.mix], config.data.seed)


def _with_reasoning(split: Split) -> tuple[Split, int]:
    """Drops training and validation examples without reasoning; the split, and the number of dropped examples."""
    sides = [[e for e in side if e.reasoning] for side in (split.train, split.validation)]
    if not sides[0]:
        raise UserError(
            "prompt.template, or prompt.thinking=on: reasoning is trained, and no training example has any. "
            "`text2sql data reason` makes it; give its file with data.source."
        )
    return Split(sides[0], sides[1], split.test), len(split.train) + len(split.validation) - sum(map(len, sides))


def _complete_for_prompts(split: Split, config: Config) -> Split:
    """Adds databases to the examples, and schemas as the prompts show them."""
    options, data = config.prompt.schema_text, config.data
    split = split._replace(test=with_databases(split.test, data.test or data))
    # Rewards for answers to training questions use their databases too.
    if options.sample_rows or options.descriptions or config.rl.method is not None:
        train, validation = (with_databases(side, data) for side in (split.train, split.validation))
        split = split._replace(train=train, validation=validation)
    return Split(*(show_schemas(side, options) for side in split))


def tokenize_split(
    dataset: Dataset, tokenizer: Tokenizer, config: Config, context: int | None
) -> tuple[Dataset, list[Tokens], list[Tokens]]:
    """Tokenise the training and validation examples and drop what is too long.

    Args:
        dataset: The examples.
        tokenizer: The tokenizer of the model.
        config: `data.max_tokens` limits the prompt and completion of training and validation examples.
        context: The model's maximal sequence length, if known; it also limits test prompts.

    Returns:
        The data set without the dropped examples, and the tokens of the training and the validation side.

    Raises:
        UserError: Too many are too long, or one has a token that the model's embedding lacks.
    """
    form = PromptFormat.of(config)
    limit = min(config.data.max_tokens, context or config.data.max_tokens)
    train, train_tokens = _drop_too_long(dataset.split.train, tokenizer, form, limit)
    validation, validation_tokens = _drop_too_long(dataset.split.validation, tokenizer, form, limit)
    considered = sum(map(len, dataset.split))
    _check_vocabulary(dataset.split, tokenizer, form)
    dropped: dict[str, int] = {}
    if lost := len(dataset.split.train) + len(dataset.split.validation) - len(train) - len(validation):
        dropped[f"longer than {limit} tokens"] = lost
    test = dataset.split.test
    if context:
        tokens = tokenize_cached(test, tokenizer, form)
        short_enough = [e for e, t in zip(test, tokens, strict=True) if len(t.prompt) < context]
        if lost := len(test) - len(short_enough):
            dropped[f"test prompt longer than the model's {context} tokens"] = lost
        test = short_enough
    check_dropped(dropped, considered, config.data.max_dropped)
    if not train or not test:
        raise UserError(
            f"data.max_tokens={config.data.max_tokens}: no {'test' if train else 'training'} example is short enough."
        )
    shortened = replace(dataset, split=Split(train, validation, test), dropped=dataset.dropped | dropped)
    return shortened, train_tokens, validation_tokens


def _check_vocabulary(split: Split, tokenizer: Tokenizer, form: PromptFormat) -> None:
    """Raises UserError for examples with tokens that the model's embedding lacks."""
    location = getattr(tokenizer, "name_or_path", "")
    if not location or not isinstance(tokenizer, Sized):
        return
    rows = embedding_rows(location)
    # `len` counts added tokens, which the tokenizer's own `vocab_size` leaves out.
    if rows is None or len(tokenizer) <= rows:
        return
    examples = [example for side in split for example in side]
    tokens = tokenize_cached(examples, tokenizer, form)
    too_large = [(e, max(*t.prompt, *t.completion)) for e, t in zip(examples, tokens, strict=True)]
    too_large = [(example, token) for example, token in too_large if token >= rows]
    if too_large:
        example, token = too_large[0]
        raise UserError(
            f"base_model: the tokenizer of {location} has {len(tokenizer)} tokens, the model's embedding {rows} rows. "
            f"Examples with a token beyond them: {len(too_large)} of {len(examples)}; the first is {example.id}, with "
            f"{tokenizer.decode([int(token)])!r} ({token}). Enlarge the embedding "
            "(model.resize_token_embeddings(len(tokenizer))) and save the model, or take such texts out of the data."
        )


def check_batch_size(dataset: Dataset, config: Config) -> None:
    """Raise UserError when a batch would be larger than the training data."""
    key, size = "training.batch_size", config.training.batch_size
    if config.rl.method is not None:
        key, size = "rl.questions", config.rl.questions
    count = len(dataset.split.train)
    if size > count:
        raise UserError(f"{key}={size} is larger than the {count} training examples; lower it or use more data.")


def _drop_too_long(
    examples: Sequence[Example], tokenizer: Tokenizer, form: PromptFormat, limit: int
) -> tuple[list[Example], list[Tokens]]:
    tokens = tokenize_cached(examples, tokenizer, form)
    short = [i for i, t in enumerate(tokens) if len(t) <= limit]
    return [examples[i] for i in short], [tokens[i] for i in short]


def length_percentiles(tokens: Sequence[Tokens]) -> dict[str, dict[str, int]]:
    """Percentiles of prompt, completion and total length, in tokens."""
    columns = {
        "prompt": [len(t.prompt) for t in tokens],
        "completion": [len(t.completion) for t in tokens],
        "total": [len(t) for t in tokens],
    }
    return {
        name: {f"p{q}": int(np.percentile(lengths, q)) for q in (50, 90, 99, 100)} for name, lengths in columns.items()
    }
