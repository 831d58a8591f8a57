"""Training, validation and test examples: by seed, by schema, and what leaks between them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from text2sql.config import DataConfig, RlConfig
from text2sql.data.example import Example
from text2sql.data.facts import KnownTexts
from text2sql.errors import UserError
from text2sql.formats import pluralize


class Split(NamedTuple):
    """Three disjoint lists of examples."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]


def draw(examples: Sequence[Example], data: DataConfig) -> list[Example]:
    """Shuffle by seed and keep `limit` rows; the bundled set keeps its order, and `limit` cuts its training side."""
    if data.source == "bundled":
        return list(examples)
    shuffled = list(examples)
    random.Random(f"split-{data.seed}").shuffle(shuffled)
    return shuffled[: data.limit]


def split_examples(examples: Sequence[Example], data: DataConfig, known: KnownTexts | None = None) -> Split:
    """Hold out the first `test_size` and `validation_size` of the drawn examples and train on the others.

    ``split_by: schema`` moves whole groups of examples that share a table (its name and columns), so no table stands
    on two sides. The bundled set keeps its own test domains.

    Args:
        examples: The drawn ones.
        data: Sizes, `split_by` and `seed`.
        known: Facts of the examples that have been read already.

    Raises:
        UserError: There are too few examples, or too few that share no table with the others.
    """
    if data.source == "bundled":
        return _split_bundled(examples, data)
    held_out = data.test_size + data.validation_size
    if held_out >= len(examples):
        raise UserError(_too_few(len(examples), data.test_size, data.validation_size))
    if data.split_by == "schema":
        return _split_by_schema(examples, data, known or KnownTexts())
    return Split(list(examples[held_out:]), list(examples[data.test_size : held_out]), list(examples[: data.test_size]))


def hold_back(split: Split, rl: RlConfig, known: KnownTexts | None = None) -> tuple[Split, list[Example]]:
    """Set training examples aside, for a run that learns from verdicts; and those that were.

    They are the last ones; by schema, whole groups that share a table, from the last example's on. Two runs that draw
    the same examples set the same ones aside.

    Args:
        split: The three sides.
        rl: Says how many, and by what.
        known: Facts of the examples that have been read already.

    Raises:
        UserError: Nothing would be left to train on, or nothing would be set aside.
    """
    if not rl.holdout:
        return split, []
    train = split.train
    wanted = round(rl.holdout * len(train))
    if rl.holdout_by == "schema":
        aside = _last_groups(_components(train, known or KnownTexts()), wanted)
    else:
        aside = set(range(len(train) - wanted, len(train)))
    if not 0 < len(aside) < len(train):
        whole = "; they share tables: set rl.holdout_by=question" if rl.holdout_by == "schema" else ""
        raise UserError(
            f"rl.holdout={rl.holdout:g} of {len(train)} training examples leaves one of the sides empty{whole}."
        )
    taught = [example for place, example in enumerate(train) if place not in aside]
    return split._replace(train=taught), [train[place] for place in sorted(aside)]


def _last_groups(roots: Sequence[int], wanted: int) -> set[int]:
    """The places of whole groups, those that end last, as many as come nearest to so many places."""
    groups: dict[int, list[int]] = {}
    for place in reversed(range(len(roots))):
        groups.setdefault(roots[place], []).append(place)
    aside: set[int] = set()
    for places in groups.values():
        if abs(len(aside) + len(places) - wanted) < abs(len(aside) - wanted):
            aside.update(places)
    return aside


def split_with_test(examples: Sequence[Example], test: Sequence[Example], data: DataConfig) -> Split:
    """Hold out validation examples of the drawn ones, and draw the test examples from those given for it.

    Raises:
        UserError: There are too few of either, or ``split_by: schema`` is asked for: the test's tables are given.
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
    """What to say where the sides that are held out leave nothing to train on, with sizes that would do."""
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
    # Whole domains, so that they are unseen in training, as those of the test are.
    while len(validation) < data.validation_size and names:
        chosen.add(names.pop())
        validation = [e for e in rest if e.db_id in chosen]
    train = [e for e in rest if e.db_id not in chosen]
    random.Random(f"train-{data.seed}").shuffle(train)
    if len(test) < data.test_size or len(validation) < data.validation_size or not train:
        raise UserError(f"data: the bundled set has {len(test)} test examples and {len(rest)} others; ask for fewer.")
    return Split(train[: data.limit], validation[: data.validation_size], test[: data.test_size])


def _split_by_schema(examples: Sequence[Example], data: DataConfig, known: KnownTexts) -> Split:
    """Fill test, then validation, with whole groups of examples that share tables, in the order of the draw.

    A group that would overfill a side is passed over, so the largest ones, which no held-out set could hold, are
    trained on. What then is missing is taken from the smallest group left, and the rest of that group set aside.
    """
    groups: dict[int, list[Example]] = {}
    for example, root in zip(examples, _components(examples, known), strict=True):
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
    kept = {example.id for group in groups.values() for example in group}
    return Split([example for example in examples if example.id in kept], sides[1], sides[0])


def _components(examples: Sequence[Example], known: KnownTexts) -> list[int]:
    """For each example, the smallest index of those it is connected to through shared tables (union-find)."""
    parent = list(range(len(examples)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[str, int] = {}
    for i, example in enumerate(examples):
        for table in known.of(example).tables:
            a, b = root(first.setdefault(table, i)), root(i)
            parent[max(a, b)] = min(a, b)
    return [root(i) for i in range(len(examples))]


def count_leaks(split: Split, known: KnownTexts | None = None) -> dict[str, int]:
    """Test examples whose table, or whose question, also stands in the training or validation examples.

    Args:
        split: The three sides.
        known: Facts of the examples that have been read already.
    """
    texts = known or KnownTexts()
    others = [*split.train, *split.validation]

    def shared(key: Callable[[Example], Iterable[str]]) -> int:
        asked = [set(key(example)) for example in split.test]
        wanted = set().union(*asked)
        there = {part for example in others for part in key(example) if part in wanted}
        return sum(not there.isdisjoint(parts) for parts in asked)

    return {
        "tables": shared(lambda e: texts.of(e).tables),
        "questions": shared(lambda e: [" ".join(e.question.lower().split())]),
    }
