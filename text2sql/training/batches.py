"""Which examples every supervised step takes: a pure function of the seed and the number of the step."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from text2sql.config import Config
from text2sql.data.example import Example
from text2sql.data.facts import ExampleFacts
from text2sql.data.prompts import Tokens
from text2sql.sql.hardness import LEVELS


class OrderKeys(NamedTuple):
    """What the order of an epoch depends on, beside chance.

    Attributes:
        levels: How hard each example is, for a curriculum; None for none.
        schemas: The schema of each example, where examples on one schema stand together; None where they do not.
        run_length: Most examples on one schema that stand together.
    """

    levels: Sequence[int] | None = None
    schemas: Sequence[str] | None = None
    run_length: int = 0


# An order by chance alone.
SHUFFLED = OrderKeys()


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a supervised training learns from.

    Attributes:
        train: The training examples.
        ids: Ids of these examples, for messages.
        keys: What their order depends on.
    """

    train: list[Tokens]
    ids: list[str]
    keys: OrderKeys


def order_keys(config: Config, examples: Sequence[Example], known: ExampleFacts) -> OrderKeys:
    """What the order of supervised examples depends on, as configured."""
    training = config.training
    return OrderKeys(
        levels=[LEVELS.index(known.of(example).level) for example in examples]
        if training.order == "curriculum"
        else None,
        schemas=[example.context for example in examples] if training.group_by_schema else None,
        run_length=training.group_by_schema,
    )


def epoch_order(seed: int, epoch: int, count: int, keys: OrderKeys = SHUFFLED) -> list[int]:
    """The order in which an epoch goes through the examples: shuffled, and where they have levels, low ones first.

    Where examples on one schema stand together, it is as random as before which of its examples do, and where in the
    epoch.

    Args:
        seed: The run's seed.
        epoch: Counted from 0.
        count: Number of examples.
        keys: What the order depends on, beside chance.
    """
    levels, schemas, run_length = keys
    order = list(range(count))
    random.Random(f"order-{seed}-{epoch}").shuffle(order)
    if schemas is not None and run_length > 1:
        groups = [(schemas[i], 0 if levels is None else levels[i]) for i in range(count)]
        order = _group_in_runs(order, groups, run_length)
    return order if levels is None else sorted(order, key=levels.__getitem__)


def _group_in_runs(order: Sequence[int], groups: Sequence[tuple[str, int]], run_length: int) -> list[int]:
    """Examples of one group in runs of at most `run_length`, each run where its first example stood."""
    runs: list[list[int]] = []
    unfilled: dict[tuple[str, int], list[int]] = {}
    for i in order:
        run = unfilled.get(groups[i])
        if run is None or len(run) == run_length:
            run = unfilled[groups[i]] = []
            runs.append(run)
        run.append(i)
    return [i for run in runs for i in run]


def total_steps(config: Config, examples: int) -> int:
    """Optimiser steps of a supervised run; a last smaller batch of an epoch is a step too."""
    steps = math.ceil(examples / config.training.batch_size) * config.training.epochs
    return min(steps, config.training.max_steps or steps)


class Batches:
    """The batches of a run.

    Args:
        config: Seed and batch size.
        data: The examples.

    Attributes:
        total: Steps of the whole run.
        per_epoch: Steps of one epoch.
    """

    def __init__(self, config: Config, data: TrainingData) -> None:
        self._seed, self._size = config.seed, config.training.batch_size
        self._count, self._keys = len(data.train), data.keys
        self.total = total_steps(config, self._count)
        self.per_epoch = math.ceil(self._count / self._size)
        # The epoch that was asked for last, and its order.
        self._order: tuple[int, list[int]] = (-1, [])

    def indices(self, step: int) -> list[int]:
        """Which examples a step takes; steps are counted from 0."""
        epoch, batch = divmod(step, self.per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, epoch_order(self._seed, epoch, self._count, self._keys))
        return self._order[1][batch * self._size : (batch + 1) * self._size]

    def examples_before(self, step: int) -> int:
        """How many examples the steps before this one take; the last batch of an epoch may be smaller."""
        epoch, batch = divmod(step, self.per_epoch)
        return epoch * self._count + batch * self._size
