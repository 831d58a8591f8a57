"""Answers that a step learns from, and the data made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tinker import types

from text2sql.runs.rollouts import PaidGroup, SampledAnswer, SampledGroup


@dataclass(frozen=True)
class TrainedAnswer:
    """One answer that a step learns from.

    Attributes:
        prompt: Token ids ``[P]``.
        tokens: Of the answer ``[A]``.
        sampled: Their log-probabilities when they were sampled, ``[A]``; None of a gold answer, which was not.
        reference: Those under the model that is asked too ``[A]``; None where none is.
        advantage: Over the group; of a method without advantages, 0.
        given: Places of tokens that the model did not choose: what closes a block of thinking.
    """

    prompt: Sequence[int]
    tokens: Sequence[int]
    sampled: np.ndarray | None
    reference: np.ndarray | None = None
    advantage: float = 0.0
    given: range = range(0)

    @property
    def chosen(self) -> np.ndarray:
        """Which tokens the model chose, ``[A]``."""
        chosen = np.ones(len(self.tokens), dtype=bool)
        chosen[self.given.start : self.given.stop] = False
        return chosen

    @property
    def divergence(self) -> np.ndarray:
        """Difference of log q and log r at each token: q when it was sampled, r under the reference."""
        assert self.sampled is not None and self.reference is not None
        return self.sampled - self.reference


@dataclass(frozen=True)
class AnswerDatum:
    """An answer with its datum."""

    answer: TrainedAnswer
    datum: types.Datum


def sampled_answers(sampled: SampledGroup, paid: PaidGroup) -> list[TrainedAnswer]:
    """The answers of a group, none of them with an advantage yet."""
    references = paid.reference_logprobs or (None,) * len(sampled.answers)
    return [_answer(sampled, answer, reference) for answer, reference in zip(sampled.answers, references, strict=True)]


def _answer(group: SampledGroup, answer: SampledAnswer, reference: Sequence[float] | None) -> TrainedAnswer:
    asked = None if reference is None else np.asarray(reference)
    return TrainedAnswer(group.prompt, answer.tokens, np.asarray(answer.logprobs), asked, given=answer.given)


def make_datum(answer: TrainedAnswer, **inputs: np.ndarray | float) -> types.Datum:
    """An answer as a datum.

    Args:
        answer: The answer.
        **inputs: Loss inputs, each a number for every token of the answer or an array of them ``[A]``; they are 0 on
            the prompt.
    """
    ids = np.asarray([*answer.prompt, *answer.tokens], dtype=np.int64)
    found = {"target_tokens": types.TensorData.from_numpy(ids[1:])}
    for name, values in inputs.items():
        # Position i predicts token i + 1.
        placed = np.zeros(len(ids) - 1, dtype=np.float32)
        placed[len(answer.prompt) - 1 :] = values
        found[name] = types.TensorData.from_numpy(placed)
    return types.Datum(model_input=types.ModelInput.from_ints(ids[:-1].tolist()), loss_fn_inputs=found)
