"""The gold queries of a data set, examined before a model is asked; see `text2sql.evaluation.golds`."""

from __future__ import annotations

from dataclasses import replace

from backends.tokenizer import Tokenizer
from text2sql.config import Config
from text2sql.console import progress_bar
from text2sql.data.dataset import Dataset
from text2sql.data.prompts import PromptFormat, render_completion
from text2sql.evaluation.golds import (
    FAILS,
    FAILS_IN_ENGINE,
    Gold,
    check_golds,
    examine_golds,
    examine_running,
    long_golds,
    stopped_golds,
)
from text2sql.formats import count

# Queries of the training side that are looked at, and that are named.
_SAMPLE, _NAMED = 300, 3


def with_gold_faults(dataset: Dataset, config: Config) -> Dataset:
    """The data set with what is wrong with the gold queries of its test side, as far as no tokenizer is needed."""
    test = dataset.split.test
    golds = [Gold(example.id, example.context, example.answer, example.db, example.dialect) for example in test]
    with progress_bar("Examining gold queries", len(golds)) as bar:
        found = examine_golds(golds, config.evaluation, config.data.seed, lambda amount: bar.advance(amount, 0))
    answers = {example.id: render_completion(example, PromptFormat.of(config)) for example in test}
    return replace(dataset, faults=(*found, *stopped_golds(answers, config.evaluation.stop)))


def describe_training_golds(dataset: Dataset, config: Config) -> list[str]:
    """How many queries of the training side do not run, in a sentence; none where all do.

    Of a large data set as many as `_SAMPLE` are looked at, at even distances: that takes seconds. A training goes on
    whatever is found, since nothing is measured on them.
    """
    train = dataset.split.train
    taken = train if len(train) <= _SAMPLE else [train[place * len(train) // _SAMPLE] for place in range(_SAMPLE)]
    golds = [
        Gold(example.id, example.context, example.answer, None if example.context else example.db, example.dialect)
        for example in taken
    ]
    # Whether a query runs does not depend on how many databases it is run on.
    settings = config.evaluation.model_copy(update={"databases": 1})
    with progress_bar("Examining training queries", len(golds)) as bar:
        found = examine_golds(golds, settings, config.data.seed, lambda amount: bar.advance(amount, 0), examine_running)
    failing = [str(fault) for fault in found if fault.kind in (FAILS, FAILS_IN_ENGINE)]
    if not failing:
        return []
    of = f"{count(len(failing))} of "
    of += count(len(train)) if taken is train else f"the {count(len(taken))} looked at ({count(len(train))} in all)"
    named = "; ".join(failing[:_NAMED]) + ("; ..." if len(failing) > _NAMED else "")
    return [f"Training queries: {of} do not run. The model will learn to write such all the same. {named}"]


def with_long_golds(dataset: Dataset, tokenizer: Tokenizer, config: Config) -> Dataset:
    """The data set with the gold queries that no answer is long enough for, and without faults of examples now gone."""
    test = dataset.split.test
    ids = tokenizer([example.answer for example in test], add_special_tokens=False)["input_ids"] if test else []
    lengths = {example.id: len(tokens) for example, tokens in zip(test, ids, strict=True)}
    kept = [fault for fault in dataset.faults if fault.id in lengths]
    return replace(dataset, faults=(*kept, *long_golds(lengths, config.evaluation.max_new_tokens)))


def check_gold_faults(dataset: Dataset, config: Config) -> None:
    """Raises UserError where too many gold queries are unusable (`evaluation.max_unusable_golds`)."""
    check_golds(dataset.faults, len(dataset.split.test), config.evaluation.max_unusable_golds)
