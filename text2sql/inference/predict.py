"""Generate and score the answers of an evaluation, into a file that grows and that a second start continues."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from backends.interface import SamplingClient
from text2sql.config import Config
from text2sql.console import progress_bar
from text2sql.data.example import Example
from text2sql.errors import UserError
from text2sql.evaluation.score import ScoringCase, score_answers
from text2sql.evaluation.statistics import paired_comparison
from text2sql.inference.generate import Generation, GenerationRequest, PendingGenerations
from text2sql.inference.plan import Evaluation, known_evaluations
from text2sql.inference.strategies import Strategy
from text2sql.runs.budget import TokenCount
from text2sql.runs.records import TIMINGS, Prediction, Timing, predictions_file
from text2sql.runs.session import RunSession
from text2sql.runs.summary import PairedComparison

# Groups in flight where the sampler answers calls one by one.
MAX_GROUPS_IN_FLIGHT = 8


@dataclass(frozen=True)
class BudgetedGenerator:
    """A model whose tokens count towards a run's budget: reserved before a request, and spent after it.

    Attributes:
        session: The run.
        sampler: The model.
        stage: The stage under which the tokens are counted.
    """

    session: RunSession
    sampler: SamplingClient
    stage: str

    def submit(self, request: GenerationRequest) -> PendingGenerations:
        """Send a request without waiting for the answers.

        Raises:
            BudgetReached: It could cost more than the run may spend; nothing was sent.
        """
        pending = PendingGenerations(request, self.sampler, self.session.config)
        self.session.budget.reserve(_max_tokens(pending))
        pending.submit()
        return pending

    def collect(self, pending: PendingGenerations) -> list[list[Generation]]:
        """Wait for the answers to each question."""
        answers = pending.results()
        sampled = sum(generation.tokens for generations in answers for generation in generations)
        actual = TokenCount(prefill=pending.prompt_tokens, sample=sampled, cached=pending.cached_tokens)
        self.session.budget.spend(self.stage, _max_tokens(pending), actual)
        return answers

    def generate(self, request: GenerationRequest) -> list[list[Generation]]:
        """Send a request and wait for the answers to each question."""
        return self.collect(self.submit(request))


def _max_tokens(pending: PendingGenerations) -> TokenCount:
    return TokenCount(prefill=pending.max_prompt_tokens, sample=pending.max_tokens)


def predict(session: RunSession, evaluation: Evaluation, sampler: SamplingClient) -> list[Prediction]:
    """Answer and score the questions of an evaluation into ``predictions-LABEL.jsonl``.

    At most `evaluation.concurrency` questions are in flight. A sampler that decodes calls together gets them in groups
    of that size, and only whole groups are kept from an earlier start: every question is then sampled in the same batch
    whether or not the run was interrupted, with the same result. Any other sampler gets smaller groups,
    `MAX_GROUPS_IN_FLIGHT` of them at a time, so that it stays busy while answers come in.

    Returns:
        One prediction for each question, in order.

    Raises:
        BudgetReached: The next questions could cost more than the run may spend; the answers so far are kept.
    """
    run, config, label = session.run, session.config, evaluation.label
    questions, strategy = evaluation.questions, evaluation.strategy
    generator = BudgetedGenerator(session, sampler, label)
    max_in_flight = 1 if config.capabilities.batches_sampling else MAX_GROUPS_IN_FLIGHT
    group_size = math.ceil(config.evaluation.concurrency / max_in_flight)
    predictions = _resumable_predictions(session, evaluation, group_size)
    done = len(predictions)
    run.replace_rows(predictions_file(label), predictions)
    groups = deque(questions[start : start + group_size] for start in range(done, len(questions), group_size))
    in_flight: deque[PendingGenerations] = deque()

    def submit_next() -> None:
        in_flight.append(generator.submit(strategy.request(groups.popleft())))

    with progress_bar(evaluation.title, len(questions), done) as bar, _cancelling_on_error(in_flight):
        start = time.monotonic()
        while groups or in_flight:
            while groups and len(in_flight) < max_in_flight:
                submit_next()
            group = in_flight[0].request.questions
            answers = generator.collect(in_flight[0])
            in_flight.popleft()
            # The device works on the next group while queries are executed, unless this one may be asked again first.
            if groups and not strategy.max_retries:
                submit_next()
            generations = strategy.choose(group, answers, generator.generate, config)
            scored = _score_group(strategy, group, answers, generations, config)
            predictions.extend(scored)
            run.append(predictions_file(label), scored)
            now = time.monotonic()
            run.append(TIMINGS, [Timing(stage=label, seconds=now - start)])
            start = now
            correct = sum(prediction.correct for prediction in predictions)
            # Sampled tokens alone count for the rate: prompts are read much faster.
            tokens = sum(generation.tokens for generation in generations)
            bar.advance(len(group), tokens, correct=f"{correct}/{len(predictions)}")
    return predictions


def _score_group(
    strategy: Strategy,
    questions: Sequence[Example],
    answers: Sequence[Sequence[Generation]],
    generations: Sequence[Generation],
    config: Config,
) -> list[Prediction]:
    """Score the chosen answers and, where the strategy asks for it, count the correct ones among all samples."""
    correct_samples = strategy.count_correct(questions, answers, config)
    scored = score_generations(questions, generations, config)
    if correct_samples is None:
        return scored
    return [row.model_copy(update={"right_samples": count}) for row, count in zip(scored, correct_samples, strict=True)]


def _resumable_predictions(session: RunSession, evaluation: Evaluation, group_size: int) -> list[Prediction]:
    """The predictions of an earlier start that are kept: whole groups, or all if the evaluation was finished.

    Raises:
        UserError: They are predictions for other questions than those of the evaluation.
    """
    predictions = session.run.predictions(evaluation.label)
    questions = evaluation.questions
    if (other := first_mismatch(predictions, questions)) is not None:
        # The questions on new schemas come with the program, and a later version may have others.
        known = known_evaluations().get(evaluation.label)
        if known and not known.scored:
            return []
        raise UserError(
            f"{session.run.file(predictions_file(evaluation.label))} answers other questions than the data have now: "
            f"{other.id} is not the same any more. Restore the data and run the same command again; or say "
            "on_existing=new, which begins another run with what there is now and keeps this one."
        )
    if len(predictions) == len(questions):
        return predictions
    return predictions[: len(predictions) // group_size * group_size]


def first_mismatch(predictions: Sequence[Prediction], questions: Sequence[Example]) -> Prediction | None:
    """The first prediction that does not belong to the question at its index; None if all belong."""
    for index, row in enumerate(predictions):
        if index == len(questions):
            return row
        question = questions[index]
        predicted_for = (row.id, row.question, row.context, row.gold, row.evidence)
        expected = (question.id, question.question, question.context, question.answer, question.evidence or None)
        if predicted_for != expected:
            return row
    return None


@contextmanager
def _cancelling_on_error(in_flight: deque[PendingGenerations]) -> Iterator[None]:
    """Cancel the requests in flight if the block ends with an exception."""
    try:
        yield
    except BaseException:
        for pending in in_flight:
            pending.cancel()
        raise


def score_generations(
    questions: Sequence[Example], generations: Sequence[Generation], config: Config
) -> list[Prediction]:
    """Execute answers, compare them with their gold queries, and make predictions of them."""
    cases = [
        ScoringCase(
            question.context, question.answer, generation.text, (question.db,) if question.db else (), question.dialect
        )
        for question, generation in zip(questions, generations, strict=True)
    ]
    answers = score_answers(cases, config)
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
            sql=answer.sql,
            labels=answer.analysis.labels,
            hardness=answer.analysis.hardness,
            checks=answer.analysis.checks,
            verdict=answer.verdict,
            benchmark=answer.benchmark,
        )
        for question, generation, answer in zip(questions, generations, answers, strict=True)
    ]


def compare(base: Sequence[Prediction], tuned: Sequence[Prediction]) -> PairedComparison:
    """The paired comparison of two lists of predictions over the same questions."""
    return paired_comparison([row.correct for row in base], [row.correct for row in tuned])
