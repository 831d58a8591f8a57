"""Splits examples into training, validation and test sides by seed or by schema, and counts leaks between them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from text2sql.config import DataConfig, RlConfig
from text2sql.data.example import Example
from text2sql.data.facts import ExampleFacts
from text2sql.errors import UserError
from text2sql.formats import pluralize


class Split(NamedTuple):
    """Three disjoint lists of examples."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]


def draw(examples: Sequence[Example], data: DataConfig) -> list[Example]:
    """Shuffles by seed and keeps `limit` rows; the bundled set keeps its order, and `limit` cuts its training side."""
    if data.source == "bundled":
        return list(examples)
    shuffled = list(examples)
    random.Random(f"split-{data.seed}").shuffle(shuffled)
    return shuffled[: data.limit]


def split_examples(examples: Sequence[Example], data: DataConfig, facts: ExampleFacts | None = None) -> Split:
    """Holds out the first `test_size` and `validation_size` of the drawn examples; the others are for training.

    ``split_by: schema`` moves whole groups of examples that share a table (by name and columns), so no table is
    on two sides. The bundled set keeps its own test domains.

    Args:
        examples: The drawn examples.
        data: The sizes, `split_by` and `seed`.
        facts: Facts of the examples that have been read already.

    Raises:
        UserError: There are too few examples, or too few that share no table with the others.
    """
    if data.source == "bundled":
        return _split_bundled(examples, data)
    held_out = data.test_size + data.validation_size
    if held_out >= len(examples):
        raise UserError(_too_few(len(examples), data.test_size, data.validation_size))
    if data.split_by == "schema":
        return _split_by_schema(examples, data, facts or ExampleFacts())
    return Split(list(examples[held_out:]), list(examples[data.test_size : held_out]), list(examples[: data.test_size]))


def hold_back(split: Split, rl: RlConfig, facts: ExampleFacts | None = None) -> tuple[Split, list[Example]]:
    """Splits the training examples into those that stay and a holdout for reinforcement learning.

    The holdout is the last examples, or, by schema, the last groups of examples that share a table. Two runs that draw
    the same examples hold out the same ones.

    Args:
        split: The three sides.
        rl: The size of the holdout, and whether it is by schema.
        facts: Facts of the examples that have been read already.

    Raises:
        UserError: One of the two parts would be empty.
    """
    if not rl.holdout:
        return split, []
    train = split.train
    size = round(rl.holdout * len(train))
    if rl.holdout_by == "schema":
        holdout = _last_groups(_components(train, facts or ExampleFacts()), size)
    else:
        holdout = set(range(len(train) - size, len(train)))
    if not 0 < len(holdout) < len(train):
        advice = "; they share tables: set rl.holdout_by=question" if rl.holdout_by == "schema" else ""
        raise UserError(
            f"rl.holdout={rl.holdout:g} of {len(train)} training examples leaves one of the sides empty{advice}."
        )
    remaining = [example for index, example in enumerate(train) if index not in holdout]
    return split._replace(train=remaining), [train[index] for index in sorted(holdout)]


def _last_groups(roots: Sequence[int], size: int) -> set[int]:
    """The indexes of whole groups, those that end last, whose total size is nearest to `size`."""
    groups: dict[int, list[int]] = {}
    for index in reversed(range(len(roots))):
        groups.setdefault(roots[index], []).append(index)
    chosen: set[int] = set()
    for members in groups.values():
        if abs(len(chosen) + len(members) - size) < abs(len(chosen) - size):
            chosen.update(members)
    return chosen


def split_with_test(examples: Sequence[Example], test: Sequence[Example], data: DataConfig) -> Split:
    """Holds out validation examples of the drawn ones, and draws the test examples from the given test set.

    Raises:
        UserError: There are too few of either, or ``split_by: schema`` is set, which a given test set excludes.
    """
    if data.split_by == "schema":
        raise UserError("data.split_by=schema splits one set of rows; data.test gives another for the test.")
    if data.test_size > len(test):
        raise UserError(f"data.test: {len(test)} examples are fewer than test_size={data.test_size}; ask for fewer.")
    if data.validation_size >= len(examples):
        raise UserError(_too_few(len(examples), 0, data.validation_size))
    drawn = list(test)
    random.Random(f"test-{data.seed}").shuffle(drawn)
    return Split(
        list(examples[data.validation_size :]), list(examples[: data.validation_size]), drawn[: data.test_size]
    )


def _too_few(examples: int, test: int, validation: int) -> str:
    """A message for when the held-out sides leave nothing to train on, with sizes that would."""
    sizes = {"data.test_size": test, "data.validation_size": validation}
    sides = {key: size for key, size in sizes.items() if size}
    held_out = " and ".join(f"{key}={size}" for key, size in sides.items())
    fifth = max(1, examples // 5)
    smaller = " ".join(f"{key}={min(size, fifth)}" for key, size in sides.items())
    remedy = f"Set {smaller}, for example, or give more." if fifth * len(sides) < examples else "Give more."
    return f"data: {pluralize(examples, 'example')} cannot hold out {held_out} and leave some to train on. {remedy}"


def _split_bundled(examples: Sequence[Example], data: DataConfig) -> Split:
    from text2sql.data.sources.bundled import domains

    test_domains = domains("test")
    test = [e for e in examples if e.db_id in test_domains]
    rest = [e for e in examples if e.db_id not in test_domains]
    random.Random(f"split-{data.seed}").shuffle(test)
    names = sorted({str(e.db_id) for e in rest})
    random.Random(f"validation-{data.seed}").shuffle(names)
    validation: list[Example] = []
    chosen: set[str] = set()
    # Whole domains, so that the validation domains are unseen in training, like those of the test.
    while len(validation) < data.validation_size and names:
        chosen.add(names.pop())
        validation = [e for e in rest if e.db_id in chosen]
    train = [e for e in rest if e.db_id not in chosen]
    random.Random(f"train-{data.seed}").shuffle(train)
    if len(test) < data.test_size or len(validation) < data.validation_size or not train:
        raise UserError(f"data: the bundled set has {len(test)} test examples and {len(rest)} others; ask for fewer.")
    return Split(train[: data.limit], validation[: data.validation_size], test[: data.test_size])


def _split_by_schema(examples: Sequence[Example], data: DataConfig, facts: ExampleFacts) -> Split:
    """Fills test, then validation, with whole groups of examples that share tables, in the order of the draw.

    A group that would overfill a side is skipped, so the largest groups are trained on. If a side is still too small,
    it is filled from the smallest remaining group, and the rest of that group is dropped.
    """
    groups: dict[int, list[Example]] = {}
    for example, root in zip(examples, _components(examples, facts), strict=True):
        groups.setdefault(root, []).append(example)
    sides: list[list[Example]] = []
    for size in (data.test_size, data.validation_size):
        side: list[Example] = []
        for root, group in list(groups.items()):
            if len(side) + len(group) <= size:
                side.extend(groups.pop(root))
        if len(side) < size and groups:
            smallest = min(groups, key=lambda root: len(groups[root]))
            side.extend(groups.pop(smallest)[: size - len(side)])
        if len(side) < size or not groups:
            raise UserError(
                "data.split_by=schema: too many examples share tables to hold out "
                f"test_size={data.test_size} and validation_size={data.validation_size}; ask for fewer."
            )
        sides.append(side)
    remaining = {example.id for group in groups.values() for example in group}
    return Split([example for example in examples if example.id in remaining], sides[1], sides[0])


def _components(examples: Sequence[Example], facts: ExampleFacts) -> list[int]:
    """For each example, the smallest index of those it is connected to through shared tables (union-find)."""
    parent = list(range(len(examples)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    for i, example in enumerate(examples):
        for table in facts.of(example).tables:
            a, b = root(first.setdefault(table, i)), root(i)
            parent[max(a, b)] = min(a, b)
    return [root(i) for i in range(len(examples))]


def count_leaks(split: Split, facts: ExampleFacts | None = None) -> dict[str, int]:
    """Counts the test examples whose table, or whose question, is also in the training or validation examples.

    Args:
        split: The three sides.
        facts: Facts of the examples that have been read already.
    """
    known_facts = facts or ExampleFacts()
    others = [*split.train, *split.validation]

    def shared(key: Callable[[Example], Iterable[str]]) -> int:
        test_keys = [set(key(example)) for example in split.test]
        all_test_keys = set().union(*test_keys)
        leaked = {value for example in others for value in key(example) if value in all_test_keys}
        return sum(not leaked.isdisjoint(keys) for keys in test_keys)

    return {
        "tables": shared(lambda e: known_facts.of(e).tables),
        "questions": shared(lambda e: [" ".join(e.question.lower().split())]),
    }
