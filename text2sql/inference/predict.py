"""Answer and judge a list of examples, in a file that grows as it goes and that a second start continues."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from backends.interface import SamplingClient
from text2sql.config import Config
from text2sql.console import stage
from text2sql.data.example import Example
from text2sql.errors import UserError
from text2sql.evaluation.score import Case, judge_answers
from text2sql.evaluation.statistics import paired_comparison
from text2sql.inference.generate import Generation, PendingGenerations, Request
from text2sql.inference.plan import Evaluation, known_evaluations
from text2sql.runs.budget import TokenCount
from text2sql.runs.records import TIMINGS, Prediction, Timing, predictions_file
from text2sql.runs.session import RunSession
from text2sql.runs.summary import PairedComparison

# Groups in flight where calls are answered one by one.
WINDOW = 8


@dataclass(frozen=True)
class Asker:
    """A model as a run asks it: tokens are set aside in its budget before a request, and counted after it.

    Attributes:
        session: The run.
        sampler: The model.
        stage: What the tokens are counted under.
    """

    session: RunSession
    sampler: SamplingClient
    stage: str

    def submit(self, request: Request) -> PendingGenerations:
        """Send a request; nothing is waited for.

        Raises:
            BudgetReached: It could cost more than the run may; nothing was sent.
        """
        pending = PendingGenerations(request, self.sampler, self.session.config)
        self.session.budget.reserve(_most(pending))
        pending.submit()
        return pending

    def collect(self, pending: PendingGenerations) -> list[list[Generation]]:
        """Wait for the answers to each question."""
        answers = pending.results()
        sampled = sum(answer.tokens for own in answers for answer in own)
        actual = TokenCount(prefill=pending.prompt_tokens, sample=sampled, cached=pending.cached_tokens)
        self.session.budget.spend(self.stage, _most(pending), actual)
        return answers

    def ask(self, request: Request) -> list[list[Generation]]:
        """Send a request and wait for the answers to each question."""
        return self.collect(self.submit(request))


def _most(pending: PendingGenerations) -> TokenCount:
    return TokenCount(prefill=pending.most_prompt_tokens, sample=pending.most_tokens)


def predict(session: RunSession, evaluation: Evaluation, sampler: SamplingClient) -> list[Prediction]:
    """Answer and judge the questions of an evaluation into ``predictions-LABEL.jsonl``.

    At most `evaluation.concurrency` questions are in flight. A sampler that decodes calls together gets them in groups
    of that size, and only whole groups are kept from an earlier start: every group is sampled in the same company
    whether or not the run was interrupted, and comes out the same. Any other gets smaller groups, `WINDOW` of them at
    a time, so that the flight stays full while answers come in.

    Returns:
        One prediction for each question, in order.

    Raises:
        BudgetReached: The next questions could cost more than the run may; the answers so far are kept.
    """
    run, config, label = session.run, session.config, evaluation.label
    questions, strategy = evaluation.questions, evaluation.strategy
    asker = Asker(session, sampler, label)
    ahead = 1 if config.capabilities.batches_sampling else WINDOW
    size = math.ceil(config.evaluation.concurrency / ahead)
    predictions = _kept(session, evaluation, size)
    done = len(predictions)
    run.replace_rows(predictions_file(label), predictions)
    groups = deque(questions[start : start + size] for start in range(done, len(questions), size))
    in_flight: deque[PendingGenerations] = deque()
    with stage(evaluation.title, len(questions), done) as bar, _called_off(in_flight):
        start = time.monotonic()
        while groups or in_flight:
            while groups and len(in_flight) < ahead:
                in_flight.append(asker.submit(strategy.request(groups.popleft())))
            asked = in_flight[0].request.questions
            answers = asker.collect(in_flight[0])
            in_flight.popleft()
            # The device goes on while queries are executed, unless it has second tries to make first.
            if groups and not strategy.attempts:
                in_flight.append(asker.submit(strategy.request(groups.popleft())))
            generations = strategy.choose(asked, answers, asker.ask, config)
            right = strategy.count_right(asked, answers, config)
            judged = judge_generations(asked, generations, config)
            if right is not None:
                judged = [
                    row.model_copy(update={"right_samples": count}) for row, count in zip(judged, right, strict=True)
                ]
            predictions.extend(judged)
            run.append(predictions_file(label), judged)
            now = time.monotonic()
            run.append(TIMINGS, [Timing(stage=label, seconds=now - start)])
            start = now
            correct = sum(prediction.correct for prediction in predictions)
            # The rate counts what was written: prompts are read much faster.
            tokens = sum(generation.tokens for generation in generations)
            bar.advance(len(asked), tokens, correct=f"{correct}/{len(predictions)}")
    return predictions


def _kept(session: RunSession, evaluation: Evaluation, size: int) -> list[Prediction]:
    """The predictions of an earlier start that stay: whole groups of `size`, or all where it had finished.

    Raises:
        UserError: They are predictions of other questions than are asked now.
    """
    kept = session.run.predictions(evaluation.label)
    questions = evaluation.questions
    if (other := first_other(kept, questions)) is not None:
        # Those on new schemas belong to the program, which may have been replaced by a later version.
        known = known_evaluations().get(evaluation.label)
        if known and not known.scored:
            return []
        raise UserError(
            f"{session.run.file(predictions_file(evaluation.label))} answers other questions than the data have now: "
            f"{other.id} is not the same any more. Restore the data and run the same command again; or say "
            "on_existing=new, which begins another run with what there is now and keeps this one."
        )
    return kept[: len(kept) if len(kept) == len(questions) else len(kept) // size * size]


def first_other(predictions: Sequence[Prediction], questions: Sequence[Example]) -> Prediction | None:
    """The first prediction that is not of the question in its place; None where all are."""
    for number, row in enumerate(predictions):
        if number == len(questions):
            return row
        question = questions[number]
        theirs = (row.id, row.question, row.context, row.gold, row.evidence)
        if theirs != (question.id, question.question, question.context, question.answer, question.evidence or None):
            return row
    return None


@contextmanager
def _called_off(in_flight: deque[PendingGenerations]) -> Iterator[None]:
    """Call off what is in flight when the work ends early."""
    try:
        yield
    except BaseException:
        for pending in in_flight:
            pending.cancel()
        raise


def judge_generations(
    questions: Sequence[Example], generations: Sequence[Generation], config: Config
) -> list[Prediction]:
    """Execute and compare answers with their gold queries."""
    cases = [
        Case(
            question.context, question.answer, generation.text, (question.db,) if question.db else (), question.dialect
        )
        for question, generation in zip(questions, generations, strict=True)
    ]
    return [
        Prediction(
            id=question.id,
            question=question.question,
            context=question.context,
            gold=question.answer,
            prompt=generation.prompt,
            raw=generation.raw,
            stop_reason=generation.stop_reason,
            tokens=generation.tokens,
            prompt_tokens=generation.prompt_tokens,
            samples=generation.samples,
            thought=generation.thought or None,
            cluster=question.db_id,
            evidence=question.evidence or None,
            sql=judgement.sql,
            labels=judgement.description.labels,
            hardness=judgement.description.hardness,
            checks=judgement.description.checks,
            verdict=judgement.verdict,
            benchmark=judgement.benchmark,
        )
        for question, generation, judgement in zip(questions, generations, judge_answers(cases, config), strict=True)
    ]


def compare(base: Sequence[Prediction], tuned: Sequence[Prediction]) -> PairedComparison:
    """The paired comparison of two lists of predictions over the same questions."""
    return paired_comparison([row.correct for row in base], [row.correct for row in tuned])
