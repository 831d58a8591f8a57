"""Answers that a step learns from, and the data made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tinker import types

from text2sql.runs.rollouts import GradedGroup, SampledAnswer, SampledGroup


@dataclass(frozen=True)
class TrainedAnswer:
    """One answer that a step learns from.

    Attributes:
        prompt: Token ids of the prompt ``[P]``.
        tokens: Token ids of the answer ``[A]``.
        sampling_logprobs: Log-probabilities of the answer's tokens when they were sampled ``[A]``; None for a gold
            answer, which was not sampled.
        reference_logprobs: Log-probabilities of the answer's tokens under the reference model ``[A]``; None where
            there is none.
        advantage: Advantage of the answer within its group; 0 with a method that has no advantages.
        forced_tokens: Indices of tokens that the model did not sample: those that close a thinking block.
    """

    prompt: Sequence[int]
    tokens: Sequence[int]
    sampling_logprobs: np.ndarray | None
    reference_logprobs: np.ndarray | None = None
    advantage: float = 0.0
    forced_tokens: range = range(0)

    @property
    def sampled_mask(self) -> np.ndarray:
        """Which tokens the model sampled, as booleans ``[A]``."""
        mask = np.ones(len(self.tokens), dtype=bool)
        mask[self.forced_tokens.start : self.forced_tokens.stop] = False
        return mask

    @property
    def log_ratio(self) -> np.ndarray:
        """Log q - log r of each token ``[A]``: q when it was sampled, r under the reference model."""
        assert self.sampling_logprobs is not None and self.reference_logprobs is not None
        return self.sampling_logprobs - self.reference_logprobs


@dataclass(frozen=True)
class AnswerDatum:
    """An answer with its datum."""

    answer: TrainedAnswer
    datum: types.Datum


def trained_answers(sampled: SampledGroup, graded: GradedGroup) -> list[TrainedAnswer]:
    """The answers of a group, none of them with an advantage yet."""
    references = graded.reference_logprobs or (None,) * len(sampled.answers)
    return [
        _trained_answer(sampled, answer, reference)
        for answer, reference in zip(sampled.answers, references, strict=True)
    ]


def _trained_answer(group: SampledGroup, answer: SampledAnswer, reference: Sequence[float] | None) -> TrainedAnswer:
    return TrainedAnswer(
        prompt=group.prompt,
        tokens=answer.tokens,
        sampling_logprobs=np.asarray(answer.logprobs),
        reference_logprobs=None if reference is None else np.asarray(reference),
        forced_tokens=answer.forced_tokens,
    )


def make_datum(answer: TrainedAnswer, **inputs: np.ndarray | float) -> types.Datum:
    """An answer as a datum.

    Args:
        answer: The answer.
        **inputs: Loss inputs, each a number for every token of the answer or an array of them ``[A]``; they are 0 on
            the prompt.
    """
    ids = np.asarray([*answer.prompt, *answer.tokens], dtype=np.int64)  # [P + A]
    loss_inputs = {"target_tokens": types.TensorData.from_numpy(ids[1:])}
    for name, values in inputs.items():
        # Position i predicts token i + 1.
        padded = np.zeros(len(ids) - 1, dtype=np.float32)  # [P + A - 1]
        padded[len(answer.prompt) - 1 :] = values
        loss_inputs[name] = types.TensorData.from_numpy(padded)
    return types.Datum(model_input=types.ModelInput.from_ints(ids[:-1].tolist()), loss_fn_inputs=loss_inputs)
