"""Sampling the groups of a step into the journal, and the steps ahead of it while it is learnt from."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future as Done
from concurrent.futures import wait
from dataclasses import dataclass
from queue import SimpleQueue

from tinker import types

from backends.interface import Future, SamplingClient
from backends.tokenizer import Tokenizer
from text2sql.config import Config
from text2sql.data.example import Example
from text2sql.data.prompts import Tokens
from text2sql.errors import UserError
from text2sql.inference.generate import Request, check_numbers, sampling_params
from text2sql.rl.journal import Journal
from text2sql.runs.budget import BudgetReached, TokenCount
from text2sql.runs.rollouts import SampledAnswer, SampledGroup
from text2sql.runs.session import RunSession


@dataclass(frozen=True)
class Question:
    """A question of a step.

    Attributes:
        example: With its gold query, which the model is not shown.
        tokens: Its prompt and gold answer.
    """

    example: Example
    tokens: Tokens

    @property
    def prompt(self) -> list[int]:
        """Token ids."""
        return self.tokens.prompt.tolist()


@dataclass(frozen=True)
class Snapshot:
    """Weights to sample from.

    Attributes:
        sampler: They.
        tokenizer: Of their model.
        version: The steps that they had learnt from.
    """

    sampler: SamplingClient
    tokenizer: Tokenizer
    version: int


class GroupSampler:
    """Samples what the journal lacks.

    Args:
        session: The run.
        journal: What there is.
    """

    def __init__(self, session: RunSession, journal: Journal) -> None:
        self._session, self._journal = session, journal

    def lacking(self, step: int, questions: Sequence[Question]) -> list[int]:
        """The places of the questions of a step that have not been sampled."""
        there = self._journal.sampled(step)
        return [place for place in range(len(questions)) if place not in there]

    def sample(self, snapshot: Snapshot, step: int, questions: Sequence[Question]) -> None:
        """Sample the groups of a step that the journal lacks.

        A sampler that decodes calls together gets all of a step at once, and all of it is written at once: in other
        company its answers would be others. Any other's groups are written as they come.

        Raises:
            BudgetReached: Sampling could cost more than the run may; what was sampled is in the journal.
            UserError: The sampler gives no log-probabilities.
        """
        config, together = self._session.config, self._session.config.capabilities.batches_sampling
        missing = self.lacking(step, questions)
        if not missing:
            return
        if together:
            missing = list(range(len(questions)))
        groups = []
        waiting, in_flight = deque(missing), deque[_PendingGroup]()
        most = len(missing) if together else config.evaluation.concurrency
        try:
            while waiting or in_flight:
                while waiting and len(in_flight) < most:
                    place = waiting[0]
                    in_flight.append(self._submit(snapshot, step, place, questions[place]))
                    waiting.popleft()
                groups.append(self._collect(in_flight[0]))
                in_flight.popleft()
                if not together:
                    self._journal.write(groups[-1:])
        except BudgetReached:
            # What is under way is paid for.
            self._journal.write([self._collect(pending) for pending in in_flight] if not together else [])
            raise
        except BaseException:
            for pending in in_flight:
                pending.answers.future().cancel()
            raise
        if together:
            self._journal.write(groups)

    def _submit(self, snapshot: Snapshot, step: int, place: int, question: Question) -> _PendingGroup:
        config = self._session.config
        size = config.rl.group
        most = TokenCount(prefill=len(question.prompt) * size, sample=config.evaluation.max_new_tokens * size)
        self._session.budget.reserve(most)
        seed = rollout_seed(config, step, place)
        request = Request([question.example], samples=size, temperature=config.rl.temperature, seed=seed)
        params = sampling_params(request, snapshot.tokenizer, config)
        answers = snapshot.sampler.sample(types.ModelInput.from_ints(question.prompt), size, params)
        return _PendingGroup(step, place, question, seed, snapshot.version, most, answers)

    def _collect(self, pending: _PendingGroup) -> SampledGroup:
        response = pending.answers.result()
        sequences = response.sequences
        example, prompt = pending.question.example, pending.question.prompt
        actual = TokenCount(
            prefill=len(prompt),
            sample=sum(len(sequence.tokens) for sequence in sequences),
            cached=min(response.prompt_cache_hit_tokens, len(prompt)),
        )
        self._session.budget.spend("rollouts", pending.most, actual)
        check_numbers(example, sequences)
        for sequence in sequences:
            if sequence.logprobs is None or len(sequence.logprobs) != len(sequence.tokens):
                raise UserError(
                    f"The sampler gave no log-probability of each token where it answers {example.id}: an answer is "
                    "weighed by how likely it was. Sample with another server; the run's files are whole."
                )
        return SampledGroup(
            step=pending.step,
            place=pending.place,
            id=example.id,
            question=example.question,
            context=example.context,
            gold=example.answer,
            seed=pending.seed,
            prompt=tuple(prompt),
            answers=tuple(
                SampledAnswer(
                    tokens=tuple(map(int, sequence.tokens)),
                    logprobs=tuple(map(float, sequence.logprobs or ())),
                    stop_reason=sequence.stop_reason,
                )
                for sequence in sequences
            ),
            # The rule is that a step samples from the weights that the one before it left.
            version=None if pending.version == pending.step else pending.version,
        )


@dataclass(frozen=True)
class _PendingGroup:
    """A group under way."""

    step: int
    place: int
    question: Question
    seed: int
    version: int
    most: TokenCount
    answers: Future[types.SampleResponse]


def rollout_seed(config: Config, step: int, place: int) -> int:
    """The seed of a group's sampling: a pure function of the run's seed, the step and the place."""
    digest = hashlib.sha256(f"rollout-{config.seed}-{step}-{place}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


class Ahead:
    """Work for later steps, done one after another in a thread of its own.

    The thread waits for a sampler most of the time. One step's calls are all made before the next step's, so that a
    sampler that decodes calls together has the same ones together every time.
    """

    def __init__(self) -> None:
        self._work: dict[int, Done[None]] = {}
        self._queue: SimpleQueue[tuple[Done[None], Callable[[], None]] | None] = SimpleQueue()
        # A process that ends does not wait for it: what is missing then is sampled again.
        self._thread = threading.Thread(target=self._run, name="sampling ahead", daemon=True)

    def begin(self, step: int, work: Callable[[], None]) -> None:
        """Have the work for a step done, once."""
        if step in self._work:
            return
        if not self._thread.is_alive():
            self._thread.start()
        done: Done[None] = Done()
        self._work[step] = done
        self._queue.put((done, work))

    def finish(self, step: int) -> None:
        """Wait for the work for a step, if there is any; raises what it raised."""
        if done := self._work.pop(step, None):
            done.result()

    def settle(self) -> None:
        """Wait for all work that has been begun; what it raised is told when its step is finished."""
        wait(self._work.values())

    def close(self) -> None:
        """Begin no more work, and wait for none."""
        for done in self._work.values():
            done.cancel()
        self._queue.put(None)

    def _run(self) -> None:
        while item := self._queue.get():
            done, work = item
            if not done.set_running_or_notify_cancel():
                continue
            try:
                work()
            except BaseException as error:
                done.set_exception(error)
            else:
                done.set_result(None)
