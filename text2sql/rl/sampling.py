"""Sampling the groups of a step into the journal."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence

from backends.tokenizer import Tokenizer
from text2sql.config import Config
from text2sql.data.prompts import PromptFormat
from text2sql.inference.generate import GenerationRequest, sampling_params
from text2sql.inference.thinking_block import ThinkingBlock
from text2sql.inference.thinking_sampler import max_prefill_tokens
from text2sql.rl.journal import Journal
from text2sql.rl.pending import PendingGroup, PolicySnapshot, TokenizedQuestion, submit_samples
from text2sql.runs.budget import BudgetReached, TokenCount
from text2sql.runs.rollouts import SampledGroup
from text2sql.runs.session import RunSession


class GroupSampler:
    """Samples the groups that the journal lacks.

    Args:
        session: The run.
        journal: The groups that have been sampled.
    """

    def __init__(self, session: RunSession, journal: Journal) -> None:
        self._session, self._journal = session, journal

    def missing(self, step: int, questions: Sequence[TokenizedQuestion]) -> list[int]:
        """The indices of the questions of a step that have not been sampled."""
        sampled = self._journal.sampled(step)
        return [index for index in range(len(questions)) if index not in sampled]

    def sample(self, snapshot: PolicySnapshot, step: int, questions: Sequence[TokenizedQuestion]) -> None:
        """Sample the groups of a step that the journal lacks.

        A sampler that decodes calls together gets all of a step at once, and all of it is written at once: in other
        company its answers would be others. Any other's groups are written as they come.

        Raises:
            BudgetReached: Sampling could cost more than the run may; what was sampled is in the journal.
            UserError: The sampler gives no log-probabilities.
        """
        config = self._session.config
        missing = self.missing(step, questions)
        if not missing:
            return
        block = thinking_block(snapshot.tokenizer, config)
        if config.capabilities.batches_sampling:
            self._sample_together(snapshot, step, dict(enumerate(questions)), block)
        else:
            self._sample_in_turn(snapshot, step, {index: questions[index] for index in missing}, block)

    def _sample_together(
        self,
        snapshot: PolicySnapshot,
        step: int,
        questions: dict[int, TokenizedQuestion],
        block: ThinkingBlock | None,
    ) -> None:
        in_flight: list[PendingGroup] = []
        try:
            for index, question in questions.items():
                in_flight.append(self._submit(snapshot, step, index, question, block))
            # All answers are asked for before the first of them is waited for.
            for pending in in_flight:
                pending.samples.submit_answers()
            groups = [self._collect(pending) for pending in in_flight]
        except BaseException:
            for pending in in_flight:
                pending.samples.cancel()
            raise
        self._journal.write(groups)

    def _sample_in_turn(
        self,
        snapshot: PolicySnapshot,
        step: int,
        questions: dict[int, TokenizedQuestion],
        block: ThinkingBlock | None,
    ) -> None:
        waiting, in_flight = deque(questions), deque[PendingGroup]()
        try:
            while waiting or in_flight:
                while waiting and len(in_flight) < self._session.config.evaluation.concurrency:
                    in_flight.append(self._submit(snapshot, step, waiting[0], questions[waiting[0]], block))
                    waiting.popleft()
                group = self._collect(in_flight[0])
                in_flight.popleft()
                self._journal.write([group])
        except BudgetReached:
            # What is under way is paid for.
            self._journal.write([self._collect(pending) for pending in in_flight])
            raise
        except BaseException:
            for pending in in_flight:
                pending.samples.cancel()
            raise

    def _submit(
        self,
        snapshot: PolicySnapshot,
        step: int,
        index: int,
        question: TokenizedQuestion,
        block: ThinkingBlock | None,
    ) -> PendingGroup:
        config = self._session.config
        size = config.rl.group
        reserved = self._session.budget.reserve(
            TokenCount(
                prefill=max_prefill_tokens(len(question.prompt), size, block), sample=config.longest_answer * size
            )
        )
        seed = rollout_seed(config, step, index)
        request = GenerationRequest([question.example], samples=size, temperature=config.rl.temperature, seed=seed)
        params = sampling_params(request, snapshot.tokenizer, config)
        return PendingGroup(
            step=step,
            index=index,
            question=question,
            seed=seed,
            snapshot=snapshot,
            reserved=reserved,
            samples=submit_samples(question, snapshot.sampler, size, params, block),
        )

    def _collect(self, pending: PendingGroup) -> SampledGroup:
        results = pending.results()
        example, version = pending.question.example, pending.snapshot.version
        actual = TokenCount(
            prefill=results.prefill_tokens,
            sample=sum(len(answer.tokens) - len(answer.forced_tokens) for answer in results.answers),
            cached=results.cached_tokens,
        )
        self._session.budget.spend("rollouts", pending.reserved, actual)
        return SampledGroup(
            step=pending.step,
            index=pending.index,
            id=example.id,
            question=example.question,
            context=example.context,
            gold=example.answer,
            seed=pending.seed,
            prompt=tuple(pending.question.prompt),
            answers=tuple(results.answers),
            # Usually a step samples from the weights that the one before it left.
            version=None if version == pending.step else version,
        )


def thinking_block(tokenizer: Tokenizer, config: Config) -> ThinkingBlock | None:
    """The block in front of every answer of a model that thinks; None of one that does not."""
    return ThinkingBlock.of(PromptFormat.of(config).turn_start(tokenizer), tokenizer, config)


def rollout_seed(config: Config, step: int, index: int) -> int:
    """The seed of a group's sampling: a pure function of the run's seed, the step and the index of the question."""
    digest = hashlib.sha256(f"rollout-{config.seed}-{step}-{index}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
