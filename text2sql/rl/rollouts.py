"""A step's rollouts: its questions sampled and graded, each of it taken from the journal where it is there."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tinker import types

from backends.interface import TrainingClient
from backends.tokenizer import Tokenizer
from text2sql.errors import UserError
from text2sql.evaluation.match_options import match_options
from text2sql.inference.generate import decode_answer
from text2sql.rl.background_sampler import BackgroundSampler
from text2sql.rl.journal import Journal
from text2sql.rl.pending import PolicySnapshot, TokenizedQuestion
from text2sql.rl.reference import ReferenceModel
from text2sql.rl.rewards import RewardedAnswer, grade_answers
from text2sql.rl.sampling import GroupSampler
from text2sql.runs.budget import TokenCount
from text2sql.runs.rollouts import GradedGroup, ReferenceName, SampledAnswer, SampledGroup
from text2sql.runs.session import RunSession
from text2sql.training.batches import epoch_order

# Of every answer of a group, the log-probability of each token.
GroupLogprobs = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Rollouts:
    """What a step learns from.

    Attributes:
        questions: The questions of the step.
        sampled: A group for each question.
        graded: The rewards of each group.
        sampling_seconds: Time that this process waited for the sampling.
        judging_seconds: Time that this process waited for verdicts and rewards.
    """

    questions: list[TokenizedQuestion]
    sampled: list[SampledGroup]
    graded: list[GradedGroup]
    sampling_seconds: float
    judging_seconds: float

    @property
    def prefilled_tokens(self) -> int:
        """Of all prompts, each once, of the prompts of answers behind a thought, and of what a reference has read."""
        prompts = sum(len(group.prompt) for group in self.sampled)
        answer_prompts = sum(
            len(group.prompt) + answer.forced_tokens.stop
            for group in self.sampled
            for answer in group.answers
            if answer.thinking_length is not None
        )
        reference = sum(
            len(sampled.answers) * len(sampled.prompt) + sum(len(answer.tokens) for answer in sampled.answers)
            for sampled, graded in zip(self.sampled, self.graded, strict=True)
            if graded.reference_logprobs is not None
        )
        return prompts + answer_prompts + reference


class RolloutSource:
    """The rollouts of a run, step by step.

    Args:
        session: The run.
        questions: All questions.
        reference: The model that computes log-probabilities of all answers, where the method needs them.
        journal: What has been sampled and graded already.
        total: Steps of the whole run.
    """

    def __init__(
        self,
        session: RunSession,
        questions: Sequence[TokenizedQuestion],
        reference: ReferenceModel | None,
        journal: Journal,
        total: int,
    ) -> None:
        self._session, self._reference, self._journal, self._total = session, reference, journal, total
        self._sampler, self._background = GroupSampler(session, journal), BackgroundSampler()
        self._questions = questions

    def questions(self, step: int) -> list[TokenizedQuestion]:
        """The questions of a step: those of all epochs in a row, each epoch in its own order."""
        config, count = self._session.config, len(self._questions)
        first = step * config.rl.questions
        # Positions in the concatenation of all epochs.
        positions = range(first, first + config.rl.questions)
        orders = {epoch: epoch_order(config.seed, epoch, count) for epoch in {i // count for i in positions}}
        return [self._questions[orders[i // count][i % count]] for i in positions]

    def collect(self, client: TrainingClient, step: int) -> Rollouts:
        """Sample and grade what is missing of a step; begin to sample the later steps that the run allows.

        Args:
            client: The policy, whose present weights are sampled from; not used where all has been sampled.
            step: Counted from 0.

        Raises:
            BudgetReached: Sampling could cost more than the run may; what was sampled is in the journal.
            UserError: The sampler gives no log-probabilities, or a reward function of the user's own failed.
        """
        self._journal.forget_before(step)
        questions, started = self.questions(step), time.monotonic()
        self._background.finish(step)
        self._sample(client, step, questions)
        sampled_by_index = self._journal.sampled(step)
        sampled = [sampled_by_index[index] for index in range(len(questions))]
        reference_logprobs = self._compute_reference_logprobs(step, sampled)
        sampling_done = time.monotonic()
        self._grade(client.get_tokenizer(), step, questions, sampled, reference_logprobs)
        graded_by_index = self._journal.graded(step)
        return Rollouts(
            questions=questions,
            sampled=sampled,
            graded=[graded_by_index[index] for index in range(len(questions))],
            sampling_seconds=sampling_done - started,
            judging_seconds=time.monotonic() - sampling_done,
        )

    def settle(self) -> None:
        """Wait for the later steps that are being sampled: a checkpoint then has in the journal what comes after it."""
        self._background.settle()

    def close(self) -> None:
        """Sample no more."""
        self._journal.close()
        self._background.close()

    def _sample(self, client: TrainingClient, step: int, questions: Sequence[TokenizedQuestion]) -> None:
        last = min(step + self._session.config.rl.max_steps_off_policy, self._total - 1)
        later = {later_step: self.questions(later_step) for later_step in range(step + 1, last + 1)}
        steps = {step: questions, **later}
        if not any(self._sampler.missing(*item) for item in steps.items()):
            return
        # Before the step's update is sent, so that these are the weights that the step before it left.
        sampler = client.save_weights_and_get_sampling_client().result()
        snapshot = PolicySnapshot(sampler, client.get_tokenizer(), step)
        self._sampler.sample(snapshot, step, questions)
        for later_step, later_questions in later.items():
            self._background.submit(later_step, partial(self._sampler.sample, snapshot, later_step, later_questions))

    def _compute_reference_logprobs(self, step: int, groups: Sequence[SampledGroup]) -> list[GroupLogprobs] | None:
        """Log-probabilities of all answers under the reference, by group; None where they are not needed."""
        if self._reference is None or len(self._journal.graded(step)) == len(groups):
            return None
        sequences = [[*group.prompt, *answer.tokens] for group in groups for answer in group.answers]
        # A call for log-probabilities is also given a token, which nobody reads.
        count = TokenCount(prefill=sum(map(len, sequences)), sample=len(sequences))
        self._session.budget.reserve(count)
        futures = iter([self._reference.sampler.compute_logprobs(types.ModelInput.from_ints(ids)) for ids in sequences])
        logprobs = [
            tuple(
                _finite_logprobs(next(futures).result()[len(group.prompt) :], self._reference.name)
                for _ in group.answers
            )
            for group in groups
        ]
        self._session.budget.spend("rollouts", count, count)
        return logprobs

    def _grade(
        self,
        tokenizer: Tokenizer,
        step: int,
        questions: Sequence[TokenizedQuestion],
        groups: Sequence[SampledGroup],
        reference_logprobs: Sequence[GroupLogprobs] | None,
    ) -> None:
        """Grade the groups whose rewards the journal lacks."""
        config, graded = self._session.config, self._journal.graded(step)
        missing = [index for index in range(len(groups)) if index not in graded]
        if not missing:
            return
        answers, names = [], []
        for index in missing:
            for number, answer in enumerate(groups[index].answers, start=1):
                answers.append(self._answer_to_grade(questions[index], answer, tokenizer))
                names.append(f"answer {number} to {questions[index].example.id} in step {step + 1}")
        results = iter(
            grade_answers(
                answers,
                config.rl.reward,
                names=names,
                **match_options(config),
            )
        )
        rows = []
        for index in missing:
            row = GradedGroup(step=step, index=index, answers=tuple(next(results) for _ in groups[index].answers))
            if self._reference is not None and reference_logprobs is not None:
                row = row.model_copy(update={f"{self._reference.name}_logprobs": reference_logprobs[index]})
            rows.append(row)
        self._journal.write(rows)

    def _answer_to_grade(
        self, question: TokenizedQuestion, answer: SampledAnswer, tokenizer: Tokenizer
    ) -> RewardedAnswer:
        example = question.example
        _, text = decode_answer(answer.answer_tokens, tokenizer, self._session.config)
        return RewardedAnswer(
            question=example.question,
            schema=example.context,
            gold=example.answer,
            answer=text,
            truncated=answer.stop_reason == "length",
            database=example.db,
            dialect=example.dialect,
        )


def _finite_logprobs(values: Sequence[float | None], model: ReferenceName) -> tuple[float, ...]:
    finite = tuple(value for value in values if value is not None and math.isfinite(value))
    if len(finite) < len(values):
        raise UserError(
            f"The {model} model gives no finite log-probability of a token, and the method needs one. What was sampled "
            "is kept."
        )
    return finite
