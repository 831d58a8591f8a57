"""Rejection sampling: of the answers to a question the right ones are imitated, as if they were gold.

Rejection-sampling fine-tuning (Yuan et al., 2023) without its separate rounds: each step samples from the weights that
the step before it left, so a later question profits from what an earlier one has taught.
"""

from __future__ import annotations

from collections.abc import Sequence

from text2sql.config.rl import RewardConfig
from text2sql.data.prompts import Tokens
from text2sql.rl.answers import AnswerDatum, TrainedAnswer, make_datum, sampled_answers
from text2sql.runs.rollouts import PaidAnswer, PaidGroup, SampledGroup
from text2sql.sql.tokens import fold, tokenize


def is_right(answer: PaidAnswer, table: RewardConfig) -> bool:
    """Whether an answer is paid as much as one that is equivalent to the gold query."""
    return answer.reward is not None and answer.reward >= table.equivalent


def normalised(sql: str) -> str:
    """A query without what does not tell it from another: white space, comments, case of words, a last semicolon."""
    # Read as tokens alone: only the processes that judge parse a model's text.
    return " ".join(fold(token.text) if token.kind == "word" else token.text for token in tokenize(sql)).rstrip("; ")


def distinct(paid: Sequence[PaidAnswer], wanted: Sequence[int], most: int) -> list[int]:
    """The first places of different queries, at most N of them."""
    places: dict[str, int] = {}
    for place in wanted:
        places.setdefault(normalised(paid[place].sql), place)
    return list(places.values())[:most]


def right_answers(sampled: SampledGroup, paid: PaidGroup, table: RewardConfig, most: int) -> list[TrainedAnswer]:
    """The first different right answers of a group."""
    right = [place for place, answer in enumerate(paid.paid) if is_right(answer, table)]
    answers = sampled_answers(sampled, paid)
    return [answers[place] for place in distinct(paid.paid, right, most)]


def gold_answer(tokens: Tokens) -> TrainedAnswer:
    """The gold answer to a question, as one that is learnt from."""
    return TrainedAnswer(tokens.prompt.tolist(), tokens.completion.tolist(), None)


def imitation_data(answers: Sequence[TrainedAnswer]) -> list[AnswerDatum]:
    """Answers as data whose summed cross-entropy is a mean over their tokens."""
    weight = 1.0 / sum(len(answer.tokens) for answer in answers)
    return [AnswerDatum(answer, make_datum(answer, weights=weight)) for answer in answers]
