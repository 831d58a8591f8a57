"""Sizes of the micro-batches that the local backend cuts a batch of examples into, from their lengths and tokens."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backends.planning.batch_plan import padded_tokens, plan_batches
from backends.planning.prefix_tree import cut_micro_batches, sort_by_prefix


@dataclass(frozen=True)
class Lengths:
    """Lengths of the examples, in tokens.

    Attributes:
        prompts: Prompt tokens of each, int ``[n]``.
        completions: Completion tokens of each, int ``[n]``.
        counted: Whether they were counted or guessed.
        ids: Input ids of each example, which leave its last token out; None where lengths were guessed.
    """

    prompts: np.ndarray
    completions: np.ndarray
    counted: bool
    ids: list[np.ndarray] | None = None

    @property
    def totals(self) -> np.ndarray:
        """Tokens of each sequence, int ``[n]``."""
        return self.prompts + self.completions


def micro_batch_sizes(
    examples: Lengths, batch: Sequence[int], *, budget: int, packing: bool, sharing: bool
) -> list[tuple[int, int]]:
    """Computed tokens, padding included, and scored positions of each micro-batch of a batch of examples.

    Args:
        examples: All examples.
        batch: Indices of those in one optimiser batch; one that occurs twice has two answers to its prompt.
        budget: Tokens in a micro-batch.
        packing: Whether rows are packed end to end.
        sharing: Whether common prefixes are computed once.
    """
    # The last token of an example is only predicted, never an input.
    lengths = [int(total) - 1 for total in examples.totals[batch]]
    scored = examples.completions[batch]
    if sharing and examples.ids is not None:
        order, shared = sort_by_prefix([examples.ids[i] for i in batch])
        for k, (previous, index) in enumerate(itertools.pairwise(order), 1):
            if batch[previous] == batch[index]:
                # Two answers to one prompt differ, though only one is known.
                shared[k] = min(shared[k], int(examples.prompts[batch[index]]))
        if any(shared):
            return [
                (
                    lengths[order[rows[0]]] + sum(lengths[order[k]] - shared[k] for k in rows[1:]),
                    int(scored[[order[k] for k in rows]].sum()),
                )
                for rows in cut_micro_batches([lengths[i] for i in order], shared, budget)
            ]
    return [
        (padded_tokens([lengths[i] for i in rows], packing=packing), int(scored[rows].sum()))
        for rows in plan_batches(lengths, budget, packing=packing)
    ]
