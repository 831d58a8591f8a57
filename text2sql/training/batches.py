"""Which examples every optimiser step takes: a pure function of the seed and the number of the step."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from text2sql.config import Config
from text2sql.data.prompts import Tokens


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What the loop trains and validates on.

    Attributes:
        train: The training examples.
        ids: Their names, for messages.
        validation: The validation examples.
        levels: How hard each training example is, for a curriculum; None for none.
    """

    train: list[Tokens]
    ids: list[str]
    validation: list[Tokens]
    levels: list[int] | None = None


def epoch_order(seed: int, epoch: int, count: int, levels: Sequence[int] | None = None) -> list[int]:
    """The order in which an epoch goes through the examples: shuffled, and where they have levels, low ones first."""
    order = list(range(count))
    random.Random(f"order-{seed}-{epoch}").shuffle(order)
    return order if levels is None else sorted(order, key=levels.__getitem__)


def total_steps(config: Config, examples: int) -> int:
    """Optimiser steps of the whole run; a last smaller batch of an epoch is a step too."""
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
        self._count, self._levels = len(data.train), data.levels
        self.total = total_steps(config, self._count)
        self.per_epoch = math.ceil(self._count / self._size)
        # The epoch that was asked for last, and its order.
        self._order: tuple[int, list[int]] = (-1, [])

    def indices(self, step: int) -> list[int]:
        """Which examples a step takes; steps are counted from 0."""
        epoch, place = divmod(step, self.per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, epoch_order(self._seed, epoch, self._count, self._levels))
        return self._order[1][place * self._size : (place + 1) * self._size]

    def examples_before(self, step: int) -> int:
        """How many examples the steps before this one take; the last batch of an epoch may be smaller."""
        epoch, place = divmod(step, self.per_epoch)
        return epoch * self._count + place * self._size
