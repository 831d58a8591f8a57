"""Answer and judge a list of examples, in a file that grows as it goes and that a second start continues."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from backends.interface import SamplingClient, cut_at_stop
from text2sql.config import Config, Retry
from text2sql.console import stage
from text2sql.data.example import Example
from text2sql.evaluation.score import Case, judge_answers
from text2sql.evaluation.statistics import paired_comparison
from text2sql.inference.generate import Generation, PendingGenerations
from text2sql.inference.strategies import Way, combined, self_consistency, to_ask_again
from text2sql.runs.budget import TokenBudget, Tokens
from text2sql.runs.directory import RunDirectory
from text2sql.runs.records import TIMINGS, Prediction, Timing, predictions_file
from text2sql.runs.summary import PairedComparison

Group = tuple[Sequence[Example], PendingGenerations, Tokens]  # asked, their answers, what was set aside for them
WINDOW = 8  # groups in flight where calls are answered one by one


def predict(
    run: RunDirectory,
    label: str,
    title: str,
    examples: Sequence[Example],
    sampler: SamplingClient,
    config: Config,
    budget: TokenBudget,
    way: Way | None = None,
) -> list[Prediction]:
    """Answer and judge examples into ``predictions-LABEL.jsonl``.

    At most `evaluation.concurrency` questions are in flight. A sampler that decodes calls together gets them in groups
    of that size, and only whole groups are kept from an earlier start: every group is sampled in the same company
    whether or not the run was interrupted, and comes out the same. Any other gets smaller groups, `WINDOW` of them at
    a time, so that the flight stays full while answers come in.

    Returns:
        One prediction per example, in order.

    Raises:
        BudgetReached: The next questions could cost more than the run may; the answers so far are kept.
    """
    way = way or Way()
    name, ahead = predictions_file(label), 1 if config.capabilities.batches_sampling else WINDOW
    size = math.ceil(config.evaluation.concurrency / ahead)
    kept = run.predictions(label)
    done = len(kept) if len(kept) == len(examples) else len(kept) // size * size
    rows = kept[:done]
    if [row.id for row in rows] != [example.id for example in examples[:done]]:
        done, rows = 0, []
    run.replace_rows(name, rows)
    groups = deque(examples[start : start + size] for start in range(done, len(examples), size))
    flying: deque[Group] = deque()
    with stage(title, len(examples), done) as bar, _called_off(flying):
        start = time.monotonic()
        while groups or flying:
            while groups and len(flying) < ahead:
                flying.append(_submit(groups.popleft(), sampler, config, budget, way))
            asked = flying[0][0]
            generations = _collect(label, flying[0], config, budget, way)
            flying.popleft()
            # The device goes on while the queries are executed; second tries come before the next group, not among it.
            if groups and not way.retry:
                flying.append(_submit(groups.popleft(), sampler, config, budget, way))
            if way.retry:
                generations = _retried(label, asked, generations, sampler, config, budget, way.retry)
            judged = judge(asked, generations, config)
            rows.extend(judged)
            run.append(name, judged)
            now = time.monotonic()
            run.append(TIMINGS, [Timing(stage=label, seconds=now - start)])
            start = now
            correct = sum(row.correct for row in rows)
            tokens = sum(g.tokens for g in generations)  # what answering costs; prompts are read much faster
            bar.advance(len(asked), tokens, correct=f"{correct}/{len(rows)}")
    return rows


def answer(
    label: str, examples: Sequence[Example], sampler: SamplingClient, config: Config, budget: TokenBudget
) -> list[Generation]:
    """Answer examples, without judging or keeping the answers."""
    return _collect(label, _submit(examples, sampler, config, budget, Way()), config, budget, Way())


def _collect(label: str, group: Group, config: Config, budget: TokenBudget, way: Way) -> list[Generation]:
    """Wait for a group's answers, count them, and choose one for each question."""
    asked, pending, reserved = group
    answers = pending.all_results()
    prefilled = sum(own[0].prompt_tokens for own in answers)
    budget.spend(label, reserved, Tokens(prefill=prefilled, sample=sum(g.tokens for own in answers for g in own)))
    return self_consistency(asked, answers, config) if way.vote else [own[0] for own in answers]


def _retried(
    label: str,
    asked: Sequence[Example],
    generations: Sequence[Generation],
    sampler: SamplingClient,
    config: Config,
    budget: TokenBudget,
    retry: Retry,
) -> list[Generation]:
    """Ask again, `retry.attempts` times at most, where an answer does not run; one that never does stays the last."""
    current = list(generations)
    for attempt in range(1, retry.attempts + 1):
        again = to_ask_again(asked, current, retry, config)
        if not again:
            break
        group = _submit([*again.values()], sampler, config, budget, Way(), retry.temperature, config.seed + attempt)
        for place, new in zip(again, _collect(label, group, config, budget, Way()), strict=True):
            current[place] = combined(current[place], new)
    return current


def _submit(
    examples: Sequence[Example],
    sampler: SamplingClient,
    config: Config,
    budget: TokenBudget,
    way: Way,
    temperature: float | None = None,
    seed: int | None = None,
) -> Group:
    reserved = Tokens()

    def reserve(prompt: int, sampled: int) -> None:
        nonlocal reserved
        reserved = budget.reserve(Tokens(prefill=prompt, sample=sampled))

    pending = PendingGenerations(
        examples,
        sampler,
        config.prompt.template,
        config.evaluation,
        config.seed if seed is None else seed,
        reserve=reserve,
        shots=way.fronts(examples),
        samples=way.vote.samples if way.vote else 1,
        temperature=way.vote.temperature if way.vote else temperature,
    )
    return examples, pending, reserved


@contextmanager
def _called_off(flying: deque[Group]) -> Iterator[None]:
    """Call off what is in flight when the work ends early."""
    try:
        yield
    except BaseException:
        for _, pending, _ in flying:
            pending.cancel()
        raise


def judge(examples: Sequence[Example], generations: Sequence[Generation], config: Config) -> list[Prediction]:
    """Execute and compare answers with their gold queries."""
    cases = [
        Case(
            example.context,
            example.answer,
            cut_at_stop(generation.text, config.evaluation.stop),
            (example.db,) if example.db else (),
        )
        for example, generation in zip(examples, generations, strict=True)
    ]
    judged = judge_answers(cases, config)
    return [
        Prediction(
            id=example.id,
            question=example.question,
            context=example.context,
            gold=example.answer,
            prompt=generation.prompt,
            raw=generation.text,
            stop_reason=generation.stop_reason,
            tokens=generation.tokens,
            prompt_tokens=generation.prompt_tokens,
            samples=generation.samples,
            cluster=example.db_id,
            evidence=example.evidence or None,
            sql=judgement.sql,
            labels=judgement.description.labels,
            hardness=judgement.description.hardness,
            checks=judgement.description.checks,
            verdict=judgement.verdict,
            benchmark=judgement.benchmark,
        )
        for example, generation, judgement in zip(examples, generations, judged, strict=True)
    ]


def compare(base: Sequence[Prediction], tuned: Sequence[Prediction]) -> PairedComparison:
    """The paired comparison of two lists of predictions over the same examples."""
    return paired_comparison([row.correct for row in base], [row.correct for row in tuned])
