"""Sampling the groups of a step into the journal, and the steps ahead of it while it is learnt from."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future as Done
from concurrent.futures import wait
from queue import SimpleQueue

from tinker import types

from backends.tokenizer import Tokenizer
from text2sql.config import Config
from text2sql.data.prompts import PromptFormat
from text2sql.inference.generate import GenerationRequest, sampling_params
from text2sql.inference.thinking_block import ThinkingBlock
from text2sql.rl.journal import Journal
from text2sql.rl.pending import PendingGroup, Question, Snapshot
from text2sql.runs.budget import BudgetReached, TokenCount
from text2sql.runs.rollouts import SampledGroup
from text2sql.runs.session import RunSession


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
        block = thinking_block(snapshot.tokenizer, config)
        waiting, in_flight = deque(missing), deque[PendingGroup]()
        most = len(missing) if together else config.evaluation.concurrency
        try:
            while waiting or in_flight:
                while waiting and len(in_flight) < most:
                    place = waiting[0]
                    in_flight.append(self._submit(snapshot, step, place, questions[place], block))
                    waiting.popleft()
                if together:
                    # What all of them have thought is there before the first answer is asked for.
                    for pending in in_flight:
                        pending.answer()
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
                pending.cancel()
            raise
        if together:
            self._journal.write(groups)

    def _submit(
        self, snapshot: Snapshot, step: int, place: int, question: Question, block: ThinkingBlock | None
    ) -> PendingGroup:
        config = self._session.config
        size = config.rl.group
        read = len(question.prompt)
        if block is not None:
            # Each answer is asked for behind the prompt and what was thought.
            read += len(question.prompt) + block.max_tokens + len(block.closing)
        most = TokenCount(prefill=read * size, sample=config.longest_answer * size)
        self._session.budget.reserve(most)
        seed = rollout_seed(config, step, place)
        request = GenerationRequest([question.example], samples=size, temperature=config.rl.temperature, seed=seed)
        params = sampling_params(request, snapshot.tokenizer, config)
        first = params if block is None else block.params(params)
        sampled = snapshot.sampler.sample(types.ModelInput.from_ints(question.prompt), size, first)
        return PendingGroup(step, place, question, seed, snapshot, most, sampled, params, block)

    def _collect(self, pending: PendingGroup) -> SampledGroup:
        answers, read, cached = pending.results()
        example, prompt = pending.question.example, pending.question.prompt
        actual = TokenCount(
            prefill=read,
            sample=sum(len(answer.tokens) - len(answer.given) for answer in answers),
            cached=cached,
        )
        self._session.budget.spend("rollouts", pending.most, actual)
        return SampledGroup(
            step=pending.step,
            place=pending.place,
            id=example.id,
            question=example.question,
            context=example.context,
            gold=example.answer,
            seed=pending.seed,
            prompt=tuple(prompt),
            answers=tuple(answers),
            # The rule is that a step samples from the weights that the one before it left.
            version=None if pending.snapshot.version == pending.step else pending.snapshot.version,
        )


def thinking_block(tokenizer: Tokenizer, config: Config) -> ThinkingBlock | None:
    """The block in front of every answer of a model that thinks; None of one that does not."""
    return ThinkingBlock.of(PromptFormat.of(config).turn_start(tokenizer), tokenizer, config)


def rollout_seed(config: Config, step: int, place: int) -> int:
    """The seed of a group's sampling: a pure function of the run's seed, the step and the place."""
    digest = hashlib.sha256(f"rollout-{config.seed}-{step}-{place}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


class Ahead:
    """Work for later steps, done one after another in a separate thread.

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
