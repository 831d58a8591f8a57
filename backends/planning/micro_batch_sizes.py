"""How large the micro-batches are that the local backend makes of examples, from their lengths and tokens."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backends.planning.batch_plan import padded_tokens, plan_batches
from backends.planning.prefix_tree import cut, in_tree_order


@dataclass(frozen=True)
class Lengths:
    """Prompt and completion tokens of the examples.

    Attributes:
        prompts: Their numbers, int ``[n]``.
        completions: Likewise.
        counted: Whether they were counted or guessed.
        ids: What each example is trained on, its last token left out; None where they were guessed.
    """

    prompts: np.ndarray
    completions: np.ndarray
    counted: bool
    ids: list[np.ndarray] | None = None

    @property
    def totals(self) -> np.ndarray:
        """Length of the sequences."""
        return self.prompts + self.completions


def micro_batch_sizes(
    examples: Lengths, batch: Sequence[int], *, budget: int, packing: bool, sharing: bool
) -> list[tuple[int, int]]:
    """Tokens, with padding, and scored positions of the micro-batches of some examples.

    Args:
        examples: All examples.
        batch: The places of those in one optimiser batch; one that stands there twice has two answers to its prompt.
        budget: Tokens in a micro-batch.
        packing: Whether rows lie end to end.
        sharing: Whether what they begin with is computed once.
    """
    # The last token of an example is only predicted, never an input.
    lengths = [int(total) - 1 for total in examples.totals[batch]]
    scored = examples.completions[batch]
    if sharing and examples.ids is not None:
        order, shared = in_tree_order([examples.ids[place] for place in batch])
        for k, (before, place) in enumerate(itertools.pairwise(order), 1):
            if batch[before] == batch[place]:
                shared[k] = min(shared[k], int(examples.prompts[batch[place]]))
        if any(shared):
            return [
                (
                    lengths[order[places[0]]] + sum(lengths[order[k]] - shared[k] for k in places[1:]),
                    int(scored[[order[k] for k in places]].sum()),
                )
                for places in cut([lengths[place] for place in order], shared, budget)
            ]
    return [
        (padded_tokens([lengths[i] for i in places], packing=packing), int(scored[places].sum()))
        for places in plan_batches(lengths, budget, packing=packing)
    ]
