"""Steps that learn from verdicts: sample, judge, pay, and learn from the answers as the run's method does.

Everything is Tinker's verbs: a snapshot to sample from, `sample`, `forward_backward` with what `text2sql.rl.methods`
makes of the samples, `optim_step`. A step is on its own policy: it samples from the weights that the step before it
left, so nothing is in flight while it samples. With `rl.max_steps_off_policy` later steps are sampled meanwhile, from
weights that are N steps behind; the losses weigh an answer by how likely it was when it was sampled.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from backends.interface import TrainingClient
from text2sql.console import console
from text2sql.data.example import Example
from text2sql.data.prompts import Tokens
from text2sql.rl.answers import TrainedAnswer
from text2sql.rl.journal import Journal
from text2sql.rl.measures import (
    Alarm,
    alarms,
    has_distinct,
    has_limit,
    kl_sample_train,
    measure_answers,
    selects_all,
)
from text2sql.rl.methods import find_method
from text2sql.rl.pending import Question
from text2sql.rl.preferences import preferred
from text2sql.rl.rollouts import Reference, Rollouts, RolloutSource
from text2sql.rl.start import start_sampler
from text2sql.rl.teacher import Teacher
from text2sql.runs.budget import TokenCount
from text2sql.runs.records import StepMetrics
from text2sql.runs.rollouts import RlStepMetrics
from text2sql.runs.session import RunSession
from text2sql.training.batches import verdict_steps
from text2sql.training.lr_schedule import learning_rate
from text2sql.training.steps import Update, Updater


@dataclass(frozen=True)
class SubmittedRollouts:
    """A step whose update the backend has been given.

    Attributes:
        step: Counted from 0.
        rollouts: What it learns from.
        updates: One for each part of the answers; none where nothing can be learnt.
        trained: The answers that have a gradient, in the order of the updates' data.
        tokens: What the updates are charged for.
        dropped: Groups that teach nothing.
        dollars: Spent by the run before the step, None where no price is known.
        sent: When the updates were sent, by the monotonic clock.
    """

    step: int
    rollouts: Rollouts
    updates: list[Update]
    trained: list[TrainedAnswer]
    tokens: TokenCount
    dropped: int
    dollars: float | None
    sent: float


class VerdictSteps:
    """A step's questions, a group of answers to each, and an update by what these teach.

    Args:
        session: The run.
        examples: What to ask.
        tokens: The same as tokens, with their gold answers.
        peak: Peak learning rate.
        teacher: The model that the run's method learns from, where there is one.
    """

    ahead = 0
    keeps_start = True

    def __init__(
        self,
        session: RunSession,
        examples: Sequence[Example],
        tokens: Sequence[Tokens],
        peak: float,
        teacher: Teacher | None = None,
    ) -> None:
        config, settings = session.config, session.config.rl
        self._session, self._settings, self._teacher = session, settings, teacher
        self._examples, self._tokens = examples, tokens
        self._method = find_method(settings)
        self.total, self.peak = verdict_steps(config, len(tokens)), peak
        self.batch_size = settings.questions * settings.group
        self.epochs = math.ceil(self.total * settings.questions / len(tokens))
        self._updater = Updater(
            config.training, self.total, self.peak, self._method.loss, self._method.loss_config, self._method.together
        )
        self._made: RolloutSource | None = None
        self._warned: set[Alarm] = set()
        self._done: list[RlStepMetrics] = []

    def examples_before(self, step: int) -> int:
        """As many answers in each."""
        return step * self.batch_size

    def submit(self, client: TrainingClient, step: int) -> SubmittedRollouts:
        """Sample, judge and pay the answers of a step, then send its update."""
        before = self._session.budget.dollars
        rollouts = self._source(step).make(client, step)
        groups = [
            self._method.lessons(question.tokens, sampled, paid)
            for question, sampled, paid in zip(rollouts.questions, rollouts.sampled, rollouts.paid, strict=True)
        ]
        answers = [answer for group in groups for answer in group]
        names = [question.example.id for question, group in zip(rollouts.questions, groups, strict=True) if group]
        together = self._method.together
        size = math.ceil(len(answers) / self._settings.substeps / together) * together or 1
        parts = [answers[i : i + size] for i in range(0, len(answers), size)]
        data = [self._method.data(part) for part in parts]
        trained = [made.answer for part in data for made in part]
        lengths = [len(answer.prompt) + len(answer.tokens) for answer in trained]
        tokens = self._session.budget.reserve(TokenCount(train=sum(lengths)))
        sent = time.monotonic()
        updates = [self._updater.send(client, [made.datum for made in part], step, names) for part in data if part]
        dropped = sum(not group for group in groups)
        return SubmittedRollouts(step, rollouts, updates, trained, tokens, dropped, before, sent)

    def collect(self, submitted: SubmittedRollouts, lap: Callable[[], float]) -> RlStepMetrics:
        """Wait for a step, and measure it."""
        config, rollouts, budget = self._session.config, submitted.rollouts, self._session.budget
        found = [update.wait() for update in submitted.updates]
        training_seconds = time.monotonic() - submitted.sent
        budget.spend("train", submitted.tokens, submitted.tokens)
        logprobs = [datum["logprobs"].to_numpy() for _, _, outputs in found for datum in outputs]
        # What is before the answer is the prompt's.
        own = [p[-len(answer.tokens) :] for answer, p in zip(submitted.trained, logprobs, strict=True)]
        kl = kl_sample_train(submitted.trained, own)
        norms = [norm for _, norm, _ in found if norm is not None]
        golds = [question.example.answer for question in rollouts.questions]
        measured, seconds = measure_answers(rollouts), lap()
        dollars = budget.dollars
        row = RlStepMetrics(
            step=submitted.step + 1,
            epoch=(submitted.step + 1) * len(golds) / len(self._tokens),
            loss=float(sum(loss for loss, _, _ in found)),
            learning_rate=learning_rate(submitted.step, self.total, self.peak, config.training),
            grad_norm=float(np.mean(norms)) if norms else None,
            examples=sum(len(group.answers) for group in rollouts.sampled),
            tokens=submitted.tokens.train,
            seconds=seconds,
            tokens_per_second=submitted.tokens.train / max(seconds, 1e-9),
            reward=measured.reward,
            equivalent=measured.shares.get("equivalent", 0.0),
            caught=measured.caught,
            error=measured.shares.get("error", 0.0),
            timeout=measured.shares.get("timeout", 0.0),
            refused=measured.shares.get("refused", 0.0),
            truncated=measured.shares.get("truncated", 0.0),
            undecided=measured.shares.get("undecided", 0.0),
            failed=measured.shares.get("failed", 0.0),
            empty=measured.empty,
            groups=len(golds),
            mixed=measured.mixed,
            all_good=measured.all_good,
            all_bad=measured.all_bad,
            dropped=submitted.dropped / len(golds),
            pass_at_1=measured.pass_at_1,
            pass_at_group=measured.pass_at_group,
            distinct=measured.distinct,
            entropy=measured.entropy,
            kl_sample_train=kl[0],
            kl_sample_train_v2=kl[1],
            kl_start=measured.kl_start,
            limit=measured.limit,
            gold_limit=sum(map(has_limit, golds)) / len(golds),
            distinct_clause=measured.distinct_clause,
            gold_distinct_clause=sum(map(has_distinct, golds)) / len(golds),
            select_all=measured.select_all,
            gold_select_all=sum(map(selects_all, golds)) / len(golds),
            answer_tokens=measured.answer_tokens,
            sampled_tokens=measured.sampled_tokens,
            prefilled_tokens=rollouts.prefilled_tokens,
            dollars=None if dollars is None or submitted.dollars is None else dollars - submitted.dollars,
            sampling_seconds=rollouts.sampling_seconds,
            judging_seconds=rollouts.judging_seconds,
            training_seconds=training_seconds,
            kl_teacher=measured.kl_teacher,
            staleness=max(group.staleness for group in rollouts.sampled) or None,
            learnt=len(submitted.trained),
            preferred=preferred(submitted.trained, own) if self._method.together == 2 else None,
            gold_answers=sum(answer.sampled is None for answer in submitted.trained) or None,
        )
        self._warn(row)
        return row

    def reason_to_stop(self, done: Sequence[StepMetrics]) -> str | None:
        """After `rl.patience` steps in a row in which no group taught anything."""
        last = [row for row in done if isinstance(row, RlStepMetrics)][-self._settings.patience :]
        if len(last) < self._settings.patience or any(row.dropped < 1 for row in last):
            return None
        right = sum(row.equivalent for row in last) / len(last)
        steps = f"in {len(last)} steps {self._method.nothing}"
        if right > 0.5:
            return f"{steps}, {right:.0%} of all right: these questions are used up. Give others, or harder ones"
        return (
            f"{steps}, {right:.0%} of all right: there is nothing to prefer. Begin with a model that is right now and "
            "then (training.start_from), or raise rl.group or rl.temperature"
        )

    def settle(self) -> None:
        """Wait for what is being sampled ahead."""
        if self._made is not None:
            self._made.settle()

    def close(self) -> None:
        """Sample nothing more ahead."""
        if self._made is not None:
            self._made.close()

    def _source(self, step: int) -> RolloutSource:
        """Made at the first step of this process, which knows where the run goes on."""
        if self._made is None:
            asked = [Question(e, t) for e, t in zip(self._examples, self._tokens, strict=True)]
            journal = Journal(self._session.run, kept_from=step)
            self._made = RolloutSource(self._session, asked, self._reference(), journal, self.total)
        return self._made

    def _reference(self) -> Reference | None:
        """The model that is asked for its log-probabilities of all answers."""
        if self._method.reference == "start":
            return Reference("start", start_sampler(self._session))
        if self._method.reference == "teacher":
            assert self._teacher is not None
            return Reference("teacher", self._teacher.sampler())
        return None

    def _warn(self, row: RlStepMetrics) -> None:
        """Say each alarm once a run."""
        if not self._done:
            self._done = [kept for kept in self._session.run.metrics() if isinstance(kept, RlStepMetrics)]
        self._done = [kept for kept in self._done if kept.step < row.step] + [row]
        for kind, sentence in alarms(self._done).items():
            if kind not in self._warned:
                self._warned.add(kind)
                console.print(f"Step {row.step}: {sentence}", style="yellow", markup=False)
