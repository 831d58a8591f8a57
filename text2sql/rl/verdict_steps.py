"""Steps that learn from verdicts: sample, grade, and learn from the answers as the run's method does.

Everything is Tinker's verbs: a snapshot to sample from, `sample`, `forward_backward` with what `text2sql.rl.methods`
makes of the samples, `optim_step`. A step is on its own policy: it samples from the weights that the step before it
left, so nothing is in flight while it samples. With `rl.max_steps_off_policy` later steps are sampled meanwhile, from
weights that are N steps behind; the losses weigh an answer by how likely it was when it was sampled.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from backends.interface import TrainingClient
from text2sql.console import console
from text2sql.data.example import Example
from text2sql.data.prompts import Tokens
from text2sql.rl.answers import AnswerDatum, TrainedAnswer
from text2sql.rl.journal import Journal
from text2sql.rl.measures import Alarm, alarms, measure_rollouts, measure_training
from text2sql.rl.methods import find_method
from text2sql.rl.pending import TokenizedQuestion
from text2sql.rl.reference import ReferenceModel, reference_sampler
from text2sql.rl.rollouts import Rollouts, RolloutSource
from text2sql.rl.teacher import Teacher
from text2sql.runs.budget import TokenCount
from text2sql.runs.records import StepMetrics
from text2sql.runs.rollouts import RlStepMetrics
from text2sql.runs.session import RunSession
from text2sql.training.lr_schedule import learning_rate
from text2sql.training.steps import Update, Updater, UpdateResult


@dataclass(frozen=True)
class SubmittedRollouts:
    """A step whose update the backend has been given.

    Attributes:
        step: Counted from 0.
        rollouts: What it learns from.
        updates: The update of each substep; none where nothing can be learnt.
        trained: The answers that have a gradient, in the order of the updates' data.
        tokens: What the updates are charged for.
        dropped: Number of groups without a signal.
        dollars_before: Spent by the run before the step, None where no price is known.
        sent: Time on the monotonic clock at which the updates were sent, in seconds.
    """

    step: int
    rollouts: Rollouts
    updates: list[Update]
    trained: list[TrainedAnswer]
    tokens: TokenCount
    dropped: int
    dollars_before: float | None
    sent: float


class VerdictSteps:
    """Steps of a few questions, a group of answers to each, and an update by what these teach.

    Args:
        session: The run.
        examples: The questions.
        tokens: Tokens of each question's prompt and gold answer.
        peak: Peak learning rate.
        teacher: The model that the run's method learns from, where there is one.
    """

    ahead = 0
    keeps_reference = True

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
        self._questions = [TokenizedQuestion(e, t) for e, t in zip(examples, tokens, strict=True)]
        self._method = find_method(settings)
        self.total, self.peak = settings.total_steps(len(tokens)), peak
        self.batch_size = settings.questions * settings.group
        self.epochs = math.ceil(self.total * settings.questions / len(tokens))
        self._updater = Updater(
            training=config.training,
            total=self.total,
            peak=self.peak,
            loss=self._method.loss,
            loss_config=self._method.loss_config,
            unit_size=self._method.unit_size,
        )
        self._opened_source: RolloutSource | None = None
        self._warned: set[Alarm] = set()
        self._history: list[RlStepMetrics] = []

    def examples_before(self, step: int) -> int:
        """How many answers the steps before this one take: as many in each."""
        return step * self.batch_size

    def submit(self, client: TrainingClient, step: int) -> SubmittedRollouts:
        """Sample and grade the answers of a step, then send its update."""
        dollars_before = self._session.budget.dollars
        rollouts = self._source(step).collect(client, step)
        groups = [
            self._method.select(question.tokens, sampled, graded)
            for question, sampled, graded in zip(rollouts.questions, rollouts.sampled, rollouts.graded, strict=True)
        ]
        names = [question.example.id for question, group in zip(rollouts.questions, groups, strict=True) if group]
        substeps = self._substeps([answer for group in groups for answer in group])
        trained = [answer_datum.answer for data in substeps for answer_datum in data]
        lengths = [len(answer.prompt) + len(answer.tokens) for answer in trained]
        tokens = self._session.budget.reserve(TokenCount(train=sum(lengths)))
        sent = time.monotonic()
        updates = [
            self._updater.send(client, [answer_datum.datum for answer_datum in data], step, names)
            for data in substeps
            if data
        ]
        return SubmittedRollouts(
            step=step,
            rollouts=rollouts,
            updates=updates,
            trained=trained,
            tokens=tokens,
            dropped=sum(not group for group in groups),
            dollars_before=dollars_before,
            sent=sent,
        )

    def _substeps(self, answers: Sequence[TrainedAnswer]) -> list[list[AnswerDatum]]:
        """The data of each optimiser step, with no unit of the loss in two of them."""
        unit = self._method.unit_size
        size = math.ceil(len(answers) / self._settings.substeps / unit) * unit or 1
        return [self._method.make_data(answers[i : i + size]) for i in range(0, len(answers), size)]

    def collect(self, submitted: SubmittedRollouts, since: float) -> RlStepMetrics:
        """Wait for a step, and measure it."""
        config, budget = self._session.config, self._session.budget
        step, rollouts, tokens = submitted.step, submitted.rollouts, submitted.tokens
        results = [update.wait() for update in submitted.updates]
        training_seconds = time.monotonic() - submitted.sent
        budget.spend("train", tokens, tokens)
        norms = [result.grad_norm for result in results if result.grad_norm is not None]
        measured = measure_rollouts(rollouts)
        learnt = measure_training(
            submitted.trained, _answer_logprobs(submitted.trained, results), paired=self._method.unit_size == 2
        )
        seconds = time.monotonic() - since
        row = RlStepMetrics(
            step=step + 1,
            epoch=(step + 1) * len(rollouts.questions) / len(self._questions),
            loss=float(sum(result.loss for result in results)),
            learning_rate=learning_rate(step, self.total, self.peak, config.training),
            grad_norm=float(np.mean(norms)) if norms else None,
            examples=sum(len(group.answers) for group in rollouts.sampled),
            tokens=tokens.train,
            seconds=seconds,
            tokens_per_second=tokens.train / max(seconds, 1e-9),
            dropped=submitted.dropped / len(rollouts.questions),
            dollars=_difference(budget.dollars, submitted.dollars_before),
            training_seconds=training_seconds,
            **asdict(measured),
            **asdict(learnt),
        )
        self._warn(row)
        return row

    def reason_to_stop(self, done: Sequence[StepMetrics]) -> str | None:
        """After `rl.patience` steps in a row in which no group had a signal."""
        last = [row for row in done if isinstance(row, RlStepMetrics)][-self._settings.patience :]
        if len(last) < self._settings.patience or any(row.dropped < 1 for row in last):
            return None
        right = sum(row.equivalent for row in last) / len(last)
        steps = f"in {len(last)} steps {self._method.no_signal_reason}"
        if right > 0.5:
            return f"{steps}, {right:.0%} of all right: these questions are used up. Give others, or harder ones"
        return (
            f"{steps}, {right:.0%} of all right: there is nothing to prefer. Begin with a model that is right now and "
            "then (training.start_from), or raise rl.group or rl.temperature"
        )

    def settle(self) -> None:
        """Wait for the later steps that are being sampled."""
        if self._opened_source is not None:
            self._opened_source.settle()

    def close(self) -> None:
        """Sample no more later steps."""
        if self._opened_source is not None:
            self._opened_source.close()

    def _source(self, step: int) -> RolloutSource:
        """The source of all rollouts, opened at the first step of this process, from which the journal is read."""
        if self._opened_source is None:
            journal = Journal(self._session.run, first_step=step)
            self._opened_source = RolloutSource(self._session, self._questions, self._reference(), journal, self.total)
        return self._opened_source

    def _reference(self) -> ReferenceModel | None:
        """The model whose log-probabilities of all answers the method needs."""
        if self._method.reference == "start":
            return ReferenceModel("start", reference_sampler(self._session))
        if self._method.reference == "teacher":
            assert self._teacher is not None
            return ReferenceModel("teacher", self._teacher.sampler())
        return None

    def _warn(self, row: RlStepMetrics) -> None:
        """Say each alarm once a run."""
        if not self._history:
            self._history = [earlier for earlier in self._session.run.metrics() if isinstance(earlier, RlStepMetrics)]
        self._history = [earlier for earlier in self._history if earlier.step < row.step] + [row]
        for kind, sentence in alarms(self._history).items():
            if kind not in self._warned:
                self._warned.add(kind)
                console.print(f"Step {row.step}: {sentence}", style="yellow", markup=False)


def _answer_logprobs(trained: Sequence[TrainedAnswer], results: Sequence[UpdateResult]) -> list[np.ndarray]:
    """Of each answer, its tokens' log-probabilities in the training step ``[A]``."""
    logprobs = [output["logprobs"].to_numpy() for result in results for output in result.outputs]  # each [P + A - 1]
    return [each[-len(answer.tokens) :] for answer, each in zip(trained, logprobs, strict=True)]


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before
