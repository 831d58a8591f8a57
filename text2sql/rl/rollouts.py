"""A step's rollouts: its questions sampled, judged and paid, each of it taken from the journal where it is there."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tinker import types

from backends.interface import SamplingClient, TrainingClient
from backends.tokenizer import Tokenizer
from text2sql.errors import UserError
from text2sql.evaluation.match_options import match_options
from text2sql.inference.generate import decode_answer
from text2sql.rl.journal import Journal
from text2sql.rl.pending import Question, Snapshot
from text2sql.rl.rewards import RewardedAnswer, pay
from text2sql.rl.sampling import Ahead, GroupSampler
from text2sql.runs.budget import TokenCount
from text2sql.runs.rollouts import Asked, PaidGroup, SampledGroup
from text2sql.runs.session import RunSession
from text2sql.training.batches import epoch_order


@dataclass(frozen=True)
class Rollouts:
    """What a step learns from.

    Attributes:
        questions: Of the step.
        sampled: A group for each.
        paid: Likewise.
        sampling_seconds: That were waited for it in this process.
        judging_seconds: Likewise.
    """

    questions: list[Question]
    sampled: list[SampledGroup]
    paid: list[PaidGroup]
    sampling_seconds: float
    judging_seconds: float

    @property
    def prefilled_tokens(self) -> int:
        """Of all prompts, each once, of what was read behind a thought, and of what the reference was asked."""
        asked = sum(
            len(sampled.answers) * len(sampled.prompt) + sum(len(answer.tokens) for answer in sampled.answers)
            for sampled, paid in zip(self.sampled, self.paid, strict=True)
            if paid.reference_logprobs is not None
        )
        behind = sum(
            len(group.prompt) + answer.given.stop
            for group in self.sampled
            for answer in group.answers
            if answer.thought is not None
        )
        return sum(len(group.prompt) for group in self.sampled) + behind + asked


@dataclass(frozen=True)
class Reference:
    """A model that is asked how likely it finds the answers.

    Attributes:
        name: Which it is.
        sampler: It.
    """

    name: Asked
    sampler: SamplingClient


class RolloutSource:
    """Makes the rollouts of a run.

    Args:
        session: The run.
        questions: What to ask.
        reference: The model that is asked for its log-probabilities of all answers, where the method needs them.
        journal: What there is already.
        total: Steps of the whole run.
    """

    def __init__(
        self,
        session: RunSession,
        questions: Sequence[Question],
        reference: Reference | None,
        journal: Journal,
        total: int,
    ) -> None:
        self._session, self._reference, self._journal, self._total = session, reference, journal, total
        self._sampler, self._ahead = GroupSampler(session, journal), Ahead()
        self._all = questions

    def questions(self, step: int) -> list[Question]:
        """The questions of a step: those of all epochs in a row, each epoch in its own order."""
        config, count = self._session.config, len(self._all)
        first = step * config.rl.questions
        places = range(first, first + config.rl.questions)
        orders = {epoch: epoch_order(config.seed, epoch, count) for epoch in {place // count for place in places}}
        return [self._all[orders[place // count][place % count]] for place in places]

    def make(self, client: TrainingClient, step: int) -> Rollouts:
        """Sample, judge and pay what is missing of a step; begin to sample the steps ahead that the run allows.

        Args:
            client: Its weights, as they are now, are sampled from; not asked where all has been sampled.
            step: Counted from 0.

        Raises:
            BudgetReached: Sampling could cost more than the run may; what was sampled is in the journal.
            UserError: The sampler gives no log-probabilities, or a reward function of the user's own failed.
        """
        self._journal.forget_before(step)
        questions, began = self.questions(step), time.monotonic()
        self._ahead.finish(step)
        self._sample(client, step, questions)
        sampled = self._journal.sampled(step)
        groups = [sampled[place] for place in range(len(questions))]
        asked = self._ask_reference(step, groups)
        judged_from = time.monotonic()
        self._pay(client.get_tokenizer(), step, questions, groups, asked)
        paid = self._journal.paid(step)
        return Rollouts(
            questions=questions,
            sampled=groups,
            paid=[paid[place] for place in range(len(questions))],
            sampling_seconds=judged_from - began,
            judging_seconds=time.monotonic() - judged_from,
        )

    def settle(self) -> None:
        """Wait for the steps that are being sampled ahead: a checkpoint then has in the journal what comes after it."""
        self._ahead.settle()

    def close(self) -> None:
        """Sample no more."""
        self._journal.close()
        self._ahead.close()

    def _sample(self, client: TrainingClient, step: int, questions: Sequence[Question]) -> None:
        last = min(step + self._session.config.rl.max_steps_off_policy, self._total - 1)
        later = {of: self.questions(of) for of in range(step + 1, last + 1)}
        wanted = [of for of, asked in {step: questions, **later}.items() if self._sampler.lacking(of, asked)]
        if not wanted:
            return
        # Before the step's update is sent, so that these are the weights that the step before it left.
        sampler = client.save_weights_and_get_sampling_client().result()
        snapshot = Snapshot(sampler, client.get_tokenizer(), step)
        self._sampler.sample(snapshot, step, questions)
        for of, asked in later.items():
            self._ahead.begin(of, partial(self._sampler.sample, snapshot, of, asked))

    # Judging

    def _ask_reference(self, step: int, groups: Sequence[SampledGroup]) -> list[tuple[tuple[float, ...], ...]] | None:
        """Log-probabilities of all answers under the reference, by group; None where they are not needed."""
        if self._reference is None or len(self._journal.paid(step)) == len(groups):
            return None
        pairs = [(group, answer) for group in groups for answer in group.answers]
        sequences = [[*group.prompt, *answer.tokens] for group, answer in pairs]
        # Whoever asks for log-probabilities is also given a token, which nobody reads.
        count = TokenCount(prefill=sum(map(len, sequences)), sample=len(sequences))
        self._session.budget.reserve(count)
        asked = [self._reference.sampler.compute_logprobs(types.ModelInput.from_ints(ids)) for ids in sequences]
        found = iter(
            [
                _numbers(future.result()[len(group.prompt) :], self._reference.name)
                for future, (group, _) in zip(asked, pairs, strict=True)
            ]
        )
        self._session.budget.spend("rollouts", count, count)
        return [tuple(next(found) for _ in group.answers) for group in groups]

    def _pay(
        self,
        tokenizer: Tokenizer,
        step: int,
        questions: Sequence[Question],
        groups: Sequence[SampledGroup],
        asked: Sequence[tuple[tuple[float, ...], ...]] | None,
    ) -> None:
        """Judge and pay the groups that the journal lacks."""
        config, there = self._session.config, self._journal.paid(step)
        missing = [place for place in range(len(groups)) if place not in there]
        if not missing:
            return
        answers, names = [], []
        for place in missing:
            example = questions[place].example
            for number, answer in enumerate(groups[place].answers, start=1):
                _, text = decode_answer(answer.answer, tokenizer, config)
                cut_off = answer.stop_reason == "length"
                answers.append(
                    RewardedAnswer(
                        example.question, example.context, example.answer, text, cut_off, example.db, example.dialect
                    )
                )
                names.append(f"answer {number} to {example.id} in step {step + 1}")
        paid = iter(
            pay(
                answers,
                config.rl.reward,
                names=names,
                **match_options(config),
            )
        )
        key = f"{self._reference.name}_logprobs" if self._reference else ""
        self._journal.write(
            [
                PaidGroup(step=step, place=place, paid=tuple(next(paid) for _ in groups[place].answers)).model_copy(
                    update={key: asked[place]} if asked else {}
                )
                for place in missing
            ]
        )


def _numbers(values: Sequence[float | None], model: Asked) -> tuple[float, ...]:
    found = tuple(value for value in values if value is not None and math.isfinite(value))
    if len(found) < len(values):
        raise UserError(
            f"The {model} model gives no finite log-probability of a token, and the method needs one. What was sampled "
            "is kept."
        )
    return found
