"""The gold queries of the test examples, examined before a model is asked; see `text2sql.evaluation.golds`."""

from __future__ import annotations

from dataclasses import replace

from backends.tokenizer import Tokenizer
from text2sql.config import Config
from text2sql.console import stage
from text2sql.data.dataset import Dataset
from text2sql.data.prompts import PromptFormat, render_completion
from text2sql.evaluation.golds import Gold, check_golds, examine_golds, long_golds, stopped_golds


def with_gold_faults(dataset: Dataset, config: Config) -> Dataset:
    """The data set with what is wrong with the gold queries of its test side, as far as no tokenizer is needed."""
    test = dataset.split.test
    golds = [Gold(example.id, example.context, example.answer, example.db, example.dialect) for example in test]
    with stage("Examining gold queries", len(golds)) as bar:
        found = examine_golds(golds, config.evaluation, config.data.seed, lambda count: bar.advance(count, 0))
    answers = {example.id: render_completion(example, PromptFormat.of(config)) for example in test}
    return replace(dataset, faults=(*found, *stopped_golds(answers, config.evaluation.stop)))


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
