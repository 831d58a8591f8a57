"""Which examples every optimiser step takes: a pure function of the seed and the number of the step."""

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
        schemas: What each example's prompt begins with, where those that share it stand together.
    """

    levels: list[int] | None
    schemas: list[str] | None


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a supervised training learns from.

    Attributes:
        train: The training examples.
        ids: Their names, for messages.
        keys: What their order depends on.
    """

    train: list[Tokens]
    ids: list[str]
    keys: OrderKeys


def order_keys(config: Config, examples: Sequence[Example], known: ExampleFacts) -> OrderKeys:
    """What the order of supervised examples depends on, as configured; of the questions to sample for, nothing."""
    training, supervised = config.training, config.rl.method is None
    return OrderKeys(
        [LEVELS.index(known.of(example).level) for example in examples]
        if supervised and training.order == "curriculum"
        else None,
        [example.context for example in examples] if supervised and training.group_by_schema else None,
    )


def epoch_order(
    seed: int,
    epoch: int,
    count: int,
    levels: Sequence[int] | None = None,
    *,
    schemas: Sequence[str] | None = None,
    together: int = 0,
) -> list[int]:
    """The order in which an epoch goes through the examples: shuffled, and where they have levels, low ones first.

    Args:
        seed: The run's seed.
        epoch: Counted from 0.
        count: Examples.
        levels: Level of each.
        schemas: Schema of each.
        together: N examples on one schema stand together: which of its examples do, and where in the epoch, is
            as random as before.
    """
    order = list(range(count))
    random.Random(f"order-{seed}-{epoch}").shuffle(order)
    if schemas is not None and together > 1:
        order = _in_runs(order, [(schemas[i], 0 if levels is None else levels[i]) for i in range(count)], together)
    return order if levels is None else sorted(order, key=levels.__getitem__)


def _in_runs(order: Sequence[int], kinds: Sequence[tuple[str, int]], size: int) -> list[int]:
    """Examples of one kind in runs of at most `size`, each where its first example stood."""
    runs: list[list[int]] = []
    filling: dict[tuple[str, int], list[int]] = {}
    for i in order:
        run = filling.get(kinds[i])
        if run is None or len(run) == size:
            run = filling[kinds[i]] = []
            runs.append(run)
        run.append(i)
    return [i for run in runs for i in run]


def total_steps(config: Config, examples: int) -> int:
    """Optimiser steps of the whole run; a last smaller batch of an epoch is a step too."""
    steps = math.ceil(examples / config.training.batch_size) * config.training.epochs
    return min(steps, config.training.max_steps or steps)


def verdict_steps(config: Config, examples: int) -> int:
    """Steps of a run that learns from verdicts: as many as it says, or as its rounds take."""
    rl = config.rl
    return math.ceil(rl.rft.rounds * examples / rl.questions) if rl.method == "rft" else rl.steps


def planned_passes(config: Config, examples: int) -> tuple[int, float]:
    """Optimiser steps of a run, and how often they go through the training examples, each answer to one counted."""
    training, rl = config.training, config.rl
    if rl.method is not None:
        steps = verdict_steps(config, examples)
        return steps, steps * rl.questions * rl.group / examples
    steps = total_steps(config, examples)
    return steps, min(steps * training.batch_size, examples * training.epochs) / examples


def planned_batches(config: Config, examples: int, keys: OrderKeys) -> list[list[int]]:
    """The batches of the first epoch, as places of training examples: one for each sequence in it."""
    size, copies = config.training.batch_size, 1
    if config.rl.method is not None:
        size, copies = config.rl.questions, config.rl.group
    together = config.training.group_by_schema
    order = epoch_order(config.seed, 0, examples, keys.levels, schemas=keys.schemas, together=together)
    batches = [order[start : start + size] for start in range(0, examples, size)]
    steps, _ = planned_passes(config, examples)
    return [[place for place in batch for _ in range(copies)] for batch in batches[:steps]]


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
        self._together = config.training.group_by_schema
        self.total = total_steps(config, self._count)
        self.per_epoch = math.ceil(self._count / self._size)
        # The epoch that was asked for last, and its order.
        self._order: tuple[int, list[int]] = (-1, [])

    def indices(self, step: int) -> list[int]:
        """Which examples a step takes; steps are counted from 0."""
        epoch, place = divmod(step, self.per_epoch)
        if self._order[0] != epoch:
            keys = self._keys
            order = epoch_order(
                self._seed, epoch, self._count, keys.levels, schemas=keys.schemas, together=self._together
            )
            self._order = (epoch, order)
        return self._order[1][place * self._size : (place + 1) * self._size]

    def examples_before(self, step: int) -> int:
        """How many examples the steps before this one take; the last batch of an epoch may be smaller."""
        epoch, place = divmod(step, self.per_epoch)
        return epoch * self._count + place * self._size
