"""`text2sql data list`, `inspect` and `stats`: print what a configuration trains and tests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from backends.tokenizer import Tokenizer
from text2sql.config import Config, SchemaText
from text2sql.console import console
from text2sql.data import prompts
from text2sql.data.dataset import Dataset, length_percentiles, load_dataset, tokenize_split
from text2sql.data.example import Example
from text2sql.data.golds import check_gold_faults, describe_training_golds, with_gold_faults, with_long_golds
from text2sql.data.prompts import Tokens
from text2sql.data.schema_text import gold_tables, read_tables, shown_tables
from text2sql.errors import UserError
from text2sql.evaluation.golds import describe_faults
from text2sql.formats import percent
from text2sql.sql.features import FEATURES
from text2sql.sql.hardness import LEVELS


def list_sources() -> None:
    """Prints the named sources and how to name others."""
    from text2sql.data.sources import NAMED
    from text2sql.rows import READERS

    table = Table("data.source", "what it is")
    for name, source in NAMED.items():
        if source.load is not None:
            table.add_row(name, f"{len(source.load())} {source.about} ({source.licence}); comes with text2sql")
            continue
        place = "FILE or DIRECTORY" if source.read_directory else "FILE"
        about = f"{source.about} ({source.licence}); Hub id {source.hub_id}"
        table.add_row(name, f"{about}, `data fetch {name}`, or data.path={place}")
    table.add_row("a file", ", ".join(READERS) + "; columns question, context, answer, or data.columns")
    table.add_row("owner/name", "any Hugging Face dataset; data.hub_split, data.columns")
    console.print(table)


def inspect(config: Config) -> None:
    """Prints counts, dropped rows, leaks, lengths and one example of each side."""
    dataset, tokenizer = _load_and_describe(config)
    form = prompts.PromptFormat.of(config)
    for name, side in dataset.split._asdict().items():
        if side and prompts.is_chat(form) and tokenizer is None:
            turns = prompts.messages(side[0], form)
            text = "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
        elif side:
            text = prompts.render_prompt(side[0], form, tokenizer)
            text += prompts.render_completion(side[0], form)
        if side:
            console.print(f"\n{name}: {side[0].id}\n{text.rstrip()}", markup=False)


def stats(config: Config) -> None:
    """Prints what `inspect` prints, without the examples but with the features of the sides' SQL."""
    dataset, _ = _load_and_describe(config)
    sides = {name: side for name, side in dataset.split._asdict().items() if side}
    table = Table("gold queries", *sides)
    known = {name: [dataset.known.of(e) for e in side] for name, side in sides.items()}
    counts = {name: Counter(feature for facts in side for feature in facts.features) for name, side in known.items()}
    levels = {name: Counter(facts.level for facts in side) for name, side in known.items()}
    for feature in FEATURES:
        table.add_row(feature, *(percent(counts[name][feature] / len(side)) for name, side in sides.items()))
    for level in LEVELS:
        table.add_row(f"level {level}", *(percent(levels[name][level] / len(side)) for name, side in sides.items()))
    console.print(table)
    if config.prompt.schema_text.tables == "linked":
        for name, side in sides.items():
            covered = sum(_shows_gold_tables(e, config.prompt.schema_text) for e in side)
            console.print(
                f"{name}: the tables shown hold those of the gold query for {covered} of {len(side)} questions."
            )


def _shows_gold_tables(example: Example, options: SchemaText) -> bool:
    return set(gold_tables(read_tables(example.context), example.answer)) <= set(shown_tables(example, options))


def _load_and_describe(config: Config) -> tuple[Dataset, Tokenizer | None]:
    """Prints counts, dropped rows, leaks and lengths; returns the data set, and the tokenizer if it is available."""
    dataset = with_gold_faults(load_dataset(config), config)
    tokenizer = _find_tokenizer(config)
    if tokenizer is not None:
        dataset, tokens, _ = tokenize_split(dataset, tokenizer, config, None)
        dataset = with_long_golds(dataset, tokenizer, config)
    table = Table("side", "examples", "distinct schemas")
    for name, side in dataset.split._asdict().items():
        table.add_row(name, str(len(side)), str(len({e.context for e in side})))
    console.print(table)
    console.print(dataset.counts())
    leaks = dataset.leaks
    console.print(
        f"Test examples that share a table with training: {leaks['tables']}; a question: {leaks['questions']}."
    )
    _print_faults(dataset, config)
    if tokenizer is not None:
        _print_lengths(tokens)
    return dataset, tokenizer


def _print_faults(dataset: Dataset, config: Config) -> None:
    """Prints the faults of gold queries, and whether a run would stop at them."""
    golds = len(dataset.split.test)
    for sentence in [
        *describe_faults(dataset.faults, golds, max_listed=None),
        *describe_training_golds(dataset, config),
    ]:
        console.print(sentence, markup=False)
    try:
        check_gold_faults(dataset, config)
    except UserError:
        console.print(
            f"A run stops at these: they are more than evaluation.max_unusable_golds="
            f"{config.evaluation.max_unusable_golds:g} allows."
        )


def _find_tokenizer(config: Config) -> Tokenizer | None:
    """The tokenizer; prints a message if it is not available."""
    tokenizer, name, reason = prompts.find_tokenizer_of(config)
    if tokenizer is None:
        console.print(
            f"No lengths: the tokenizer of {name} cannot be had ({reason}). Over-long examples are not counted here.",
            markup=False,
        )
    elif reason:
        console.print(
            f"Lengths and prompts by the tokenizer of {name}: the one that a run reads cannot be had ({reason}).",
            markup=False,
        )
    return tokenizer


def _print_lengths(tokens: Sequence[Tokens]) -> None:
    lengths = length_percentiles(tokens)
    table = Table("training tokens", *next(iter(lengths.values())))
    for name, row in lengths.items():
        table.add_row(name, *map(str, row.values()))
    console.print(table)
