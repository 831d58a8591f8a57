"""The two models question by question: accuracy by hardness, and which answers were won and lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TypeVar

from text2sql.evaluation import wilson_interval
from text2sql.formats import clip
from text2sql.report.failures import benchmark_line, judge_line
from text2sql.report.load import RunData
from text2sql.report.prediction_index import IndexedPrediction
from text2sql.report.witness import WitnessView, witness_view
from text2sql.runs.models import SIDES
from text2sql.runs.records import Prediction
from text2sql.sql.hardness import LEVELS, Hardness

T = TypeVar("T")
# The answers of the models to one question, by side: in brief, and in full.
Answered = dict[str, IndexedPrediction]
Shown = dict[IndexedPrediction, Prediction]
# What the list of questions calls the groups.
_OUTCOMES = {"won": "won", "lost": "lost", "still-wrong": "both wrong", "wrong": "wrong", "right": "right"}


@dataclass(frozen=True)
class Tally:
    """Correct answers among ``n``, with the 95% Wilson interval."""

    n: int
    correct: int

    @property
    def accuracy(self) -> float:
        """Share of correct answers."""
        return self.correct / self.n

    @property
    def bounds(self) -> tuple[float, float]:
        """Low and high end of the 95% Wilson interval."""
        return wilson_interval(self.correct, self.n)


@dataclass(frozen=True)
class Answer:
    """What one model wrote for one question, and how it was judged."""

    side: str
    sql: str
    correct: bool
    status: str
    reason: str
    labels: list[str]
    witness: WitnessView | None
    benchmark: str = ""
    judge: str = ""


@dataclass(frozen=True)
class Case:
    """One question with the answers of the models that were asked."""

    question: str
    schema: str
    gold: str
    hardness: str
    answers: list[Answer]


@dataclass(frozen=True)
class Group:
    """Cases with the same outcome; ``total`` counts them all, ``cases`` are those shown, ``outcome`` finds them all."""

    key: str
    title: str
    explanation: str
    total: int
    cases: list[Case]
    outcome: str


@dataclass(frozen=True)
class Limits:
    """How much of the examples goes on the page."""

    cases: int = 12
    text: int = 2500

    def halved(self) -> Limits:
        """Half as many cases, half as long."""
        return Limits(max(1, self.cases // 2), max(200, self.text // 2))


def by_hardness(run: RunData) -> dict[Hardness, dict[str, Tally]]:
    """Tallies by hardness, easiest first, then by side; levels that no question has are absent."""
    tallies: dict[Hardness, dict[str, list[bool]]] = {level: {} for level in LEVELS}
    for side, rows in run.predictions.items():
        for row in rows:
            tallies[row.hardness].setdefault(side, []).append(row.correct)
    return {
        level: {side: Tally(len(found), sum(found)) for side, found in own.items()}
        for level, own in tallies.items()
        if own
    }


def status_counts(run: RunData) -> dict[str, dict[str, int]]:
    """Verdict statuses by side: from the summary, else counted in the predictions."""
    counts: dict[str, dict[str, int]] = {}
    for side in SIDES:
        if evaluation := run.evaluation(side):
            counts[side] = dict(evaluation.counts.items())
        elif rows := run.predictions.get(side):
            counts[side] = dict(Counter(row.status for row in rows))
    return counts


def label_counts(run: RunData) -> dict[str, dict[str, int]]:
    """Error labels by side: from the summary, else counted in the predictions."""
    counts: dict[str, dict[str, int]] = {}
    for side in SIDES:
        if evaluation := run.evaluation(side):
            counts[side] = evaluation.error_labels
        elif rows := run.predictions.get(side):
            counts[side] = dict(Counter(label for row in rows for label in row.labels))
    return counts if any(counts.values()) else {}


def groups(run: RunData, limits: Limits) -> list[Group]:
    """Cases by outcome: won, lost, still wrong; with one model only, wrong and right.

    Of a group larger than the limit, cases at even distances through the file are taken, so that what is
    shown does not depend on how the file is ordered.
    """
    if not run.predictions:
        return []
    outcomes = _outcomes_of_one(run) if len(run.predictions) == 1 else _outcomes_of_two(run)
    chosen = {key: _spread(found, limits.cases) for key, _, _, found in outcomes}
    shown: Shown = {}
    for side, file in run.predictions.items():
        shown |= file.read([pair[side] for pairs in chosen.values() for pair in pairs])
    return [
        Group(
            key,
            title,
            explanation,
            len(found),
            [_case(pair, shown, limits) for pair in chosen[key]],
            _OUTCOMES[key],
        )
        for key, title, explanation, found in outcomes
    ]


def _outcomes_of_one(run: RunData) -> list[tuple[str, str, str, list[Answered]]]:
    ((side, rows),) = run.predictions.items()
    wrong = [{side: row} for row in rows if not row.correct]
    right = [{side: row} for row in rows if row.correct]
    return [
        ("wrong", "Wrong", f"The {side} model got these wrong.", wrong),
        ("right", "Right", f"The {side} model got these right.", right),
    ]


def _outcomes_of_two(run: RunData) -> list[tuple[str, str, str, list[Answered]]]:
    tuned = {row.id: row for row in run.predictions["tuned"]}
    by_outcome: dict[tuple[bool, bool], list[Answered]] = {}
    for base in run.predictions["base"]:
        if base.id in tuned:
            pair = {"base": base, "tuned": tuned[base.id]}
            by_outcome.setdefault((base.correct, pair["tuned"].correct), []).append(pair)
    return [
        (key, title, explanation, by_outcome.get(outcome, []))
        for key, title, explanation, outcome in (
            ("won", "Won", "The base model got these wrong, the tuned model right.", (False, True)),
            ("lost", "Lost", "The base model got these right, the tuned model wrong.", (True, False)),
            ("still-wrong", "Still wrong", "Both models got these wrong.", (False, False)),
        )
    ]


def both_right(run: RunData) -> int | None:
    """How many questions both models got right, or None when there are not two models."""
    if len(run.predictions) < 2:
        return None
    tuned = {row.id: row.correct for row in run.predictions["tuned"]}
    return sum(row.correct and tuned.get(row.id, False) for row in run.predictions["base"])


@dataclass(frozen=True)
class NovelAnswer:
    """What one model answered to a question on a new schema; ``correct`` is None where it was not judged."""

    side: str
    sql: str
    correct: bool | None
    reason: str


@dataclass(frozen=True)
class NovelCase:
    """A question on a new schema with the answers of the models that were asked."""

    question: str
    schema: str
    gold: str
    answers: list[NovelAnswer]


def novel_cases(run: RunData, limits: Limits) -> list[NovelCase]:
    """The questions on new schemas with the answers side by side."""
    cases = []
    for item in (run.summary.novel if run.summary else ())[:20]:
        answers = [
            NovelAnswer(side, clip(sql or "", limits.text), correct, clip(reason or "", 600))
            for side, sql, correct, reason in (
                ("base", item.base_sql, item.base_correct, item.base_reason),
                ("tuned", item.tuned_sql, item.tuned_correct, item.tuned_reason),
            )
            if sql is not None or correct is not None
        ]
        question, schema, gold = (clip(text, limits.text) for text in (item.question, item.context, item.gold))
        cases.append(NovelCase(question, schema, gold, answers))
    return cases


def _spread(items: list[T], limit: int) -> list[T]:
    if len(items) <= limit:
        return items
    return [items[index * len(items) // limit] for index in range(limit)]


def _case(pair: Answered, shown: Shown, limits: Limits) -> Case:
    first = shown[next(iter(pair.values()))]
    answers = []
    for side, outcome in pair.items():
        row = shown[outcome]
        witness = row.verdict.witness
        answers.append(
            Answer(
                side=side,
                sql=clip(row.sql, limits.text),
                correct=row.correct,
                status=row.verdict.status,
                reason=clip(row.verdict.reason, 600),
                labels=[clip(label, 60) for label in row.labels[:6]],
                witness=witness_view(witness, row.verdict.judged_on) if witness and not row.correct else None,
                benchmark=benchmark_line(row),
                judge=judge_line(row),
            )
        )
    return Case(
        question=clip(first.question, 600),
        schema=clip(first.context, limits.text),
        gold=clip(first.gold, limits.text),
        hardness=first.hardness,
        answers=answers,
    )
