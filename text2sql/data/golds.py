"""Checks the gold queries of a data set before the run; see `text2sql.evaluation.golds`."""

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

# Queries of the training side that are checked.
_SAMPLE = 300
# Failing queries that a message names.
_NAMED = 3


def with_gold_faults(dataset: Dataset, config: Config) -> Dataset:
    """Adds the faults of the test side's gold queries, except those that need a tokenizer."""
    test = dataset.split.test
    golds = [Gold(example.id, example.context, example.answer, example.db, example.dialect) for example in test]
    with progress_bar("Examining gold queries", len(golds)) as bar:
        faults = examine_golds(golds, config.evaluation, config.data.seed, lambda amount: bar.advance(amount, 0))
    answers = {example.id: render_completion(example, PromptFormat.of(config)) for example in test}
    return replace(dataset, faults=(*faults, *stopped_golds(answers, config.evaluation.stop)))


def describe_training_golds(dataset: Dataset, config: Config) -> list[str]:
    """A sentence on the number of training queries that do not run; empty if all run.

    Of a large data set, `_SAMPLE` evenly spaced queries are checked, which takes seconds. Training goes on in any case,
    because nothing is measured on them.
    """
    train = dataset.split.train
    sample = train if len(train) <= _SAMPLE else [train[index * len(train) // _SAMPLE] for index in range(_SAMPLE)]
    golds = [
        Gold(example.id, example.context, example.answer, None if example.context else example.db, example.dialect)
        for example in sample
    ]
    # Whether a query runs does not depend on the number of databases.
    settings = config.evaluation.model_copy(update={"databases": 1})
    with progress_bar("Examining training queries", len(golds)) as bar:
        faults = examine_golds(
            golds, settings, config.data.seed, lambda amount: bar.advance(amount, 0), examine_running
        )
    failing = [str(fault) for fault in faults if fault.kind in (FAILS, FAILS_IN_ENGINE)]
    if not failing:
        return []
    share = f"{count(len(failing))} of "
    share += (
        count(len(train)) if sample is train else f"the {count(len(sample))} looked at ({count(len(train))} in all)"
    )
    examples = "; ".join(failing[:_NAMED]) + ("; ..." if len(failing) > _NAMED else "")
    return [f"Training queries: {share} do not run. The model will learn to write such all the same. {examples}"]


def with_long_golds(dataset: Dataset, tokenizer: Tokenizer, config: Config) -> Dataset:
    """Adds gold queries longer than an answer may be, and removes the faults of examples that were dropped."""
    test = dataset.split.test
    ids = tokenizer([example.answer for example in test], add_special_tokens=False)["input_ids"] if test else []
    lengths = {example.id: len(tokens) for example, tokens in zip(test, ids, strict=True)}
    kept = [fault for fault in dataset.faults if fault.id in lengths]
    return replace(dataset, faults=(*kept, *long_golds(lengths, config.evaluation.max_new_tokens)))


def check_gold_faults(dataset: Dataset, config: Config) -> None:
    """Raises UserError if too many gold queries are unusable (`evaluation.max_unusable_golds`)."""
    check_golds(dataset.faults, len(dataset.split.test), config.evaluation.max_unusable_golds)
