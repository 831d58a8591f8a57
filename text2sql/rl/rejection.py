"""Rejection sampling: of the answers to a question the right ones are imitated, as if they were gold.

Rejection-sampling fine-tuning (Yuan et al., 2023) without its separate rounds: each step samples from the weights that
the step before it left, so a later question profits from what an earlier one has taught.
"""

from __future__ import annotations

from collections.abc import Sequence

from text2sql.config.rl import RewardConfig
from text2sql.data.prompts import Tokens
from text2sql.rl.answers import AnswerDatum, TrainedAnswer, make_datum, trained_answers
from text2sql.runs.rollouts import GradedAnswer, GradedGroup, SampledGroup
from text2sql.sql.tokens import fold, tokenize


def is_right(answer: GradedAnswer, table: RewardConfig) -> bool:
    """Whether the reward of an answer is at least that of a query equivalent to the gold one."""
    return answer.reward is not None and answer.reward >= table.equivalent


def normalise_sql(sql: str) -> str:
    """A query without what does not tell it from another: white space, comments, case of words, a last semicolon."""
    # Read as tokens alone: only the worker processes parse a model's text.
    return " ".join(fold(token.text) if token.kind == "word" else token.text for token in tokenize(sql)).rstrip("; ")


def first_distinct(answers: Sequence[GradedAnswer], candidates: Sequence[int], max_count: int) -> list[int]:
    """The indices of the first different queries among the candidate indices, at most `max_count` of them."""
    first_index: dict[str, int] = {}
    for index in candidates:
        first_index.setdefault(normalise_sql(answers[index].sql), index)
    return list(first_index.values())[:max_count]


def right_answers(
    sampled: SampledGroup, graded: GradedGroup, table: RewardConfig, max_count: int
) -> list[TrainedAnswer]:
    """The first different right answers of a group, at most `max_count` of them."""
    right = [index for index, answer in enumerate(graded.answers) if is_right(answer, table)]
    answers = trained_answers(sampled, graded)
    return [answers[index] for index in first_distinct(graded.answers, right, max_count)]


def gold_answer(tokens: Tokens) -> TrainedAnswer:
    """The gold answer to a question, to be learnt from like a sampled one."""
    return TrainedAnswer(prompt=tokens.prompt.tolist(), tokens=tokens.completion.tolist(), sampling_logprobs=None)


def imitation_data(answers: Sequence[TrainedAnswer]) -> list[AnswerDatum]:
    """Answers as data whose summed cross-entropy is a mean over their tokens."""
    weight = 1.0 / sum(len(answer.tokens) for answer in answers)
    return [AnswerDatum(answer, make_datum(answer, weights=weight)) for answer in answers]
