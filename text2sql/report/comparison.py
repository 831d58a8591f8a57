"""The two models of a run question by question: accuracy by hardness, and examples of questions won and lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from text2sql.evaluation.statistics import wilson_interval
from text2sql.formats import clip
from text2sql.report.failures import benchmark_line, judge_line
from text2sql.report.load import RunData
from text2sql.report.prediction_index import IndexedPrediction
from text2sql.report.witness import WitnessView, witness_view
from text2sql.runs.models import SIDES
from text2sql.runs.records import Prediction
from text2sql.sql.hardness import LEVELS, Hardness

T = TypeVar("T")
# The predictions of the models for one question, by side.
BySide = dict[str, IndexedPrediction]
# The full prediction of each index entry that is shown.
FullPredictions = dict[IndexedPrediction, Prediction]
# The filter in the list of questions for each group.
_OUTCOMES = {"won": "won", "lost": "lost", "still-wrong": "both wrong", "wrong": "wrong", "right": "right"}


@dataclass(frozen=True)
class Tally:
    """Number of questions and of correct answers."""

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
    """A model's answer to one question with its verdict."""

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
    """One question with the answers of the models."""

    question: str
    schema: str
    gold: str
    hardness: str
    answers: list[Answer]


@dataclass(frozen=True)
class Group:
    """Questions with the same outcome.

    Attributes:
        key: Id of the section in the page.
        title: Heading.
        explanation: Sentence below the heading.
        total: Number of questions.
        cases: The questions that are shown.
        outcome: Value of the filter that selects all of them in the list of questions.
    """

    key: str
    title: str
    explanation: str
    total: int
    cases: list[Case]
    outcome: str


@dataclass(frozen=True)
class Limits:
    """Limits on the examples of the page: cases of a group, and characters of a text."""

    cases: int = 12
    text: int = 2500

    def halved(self) -> Limits:
        """Half as many cases, half as long."""
        return Limits(max(1, self.cases // 2), max(200, self.text // 2))


def by_hardness(run: RunData) -> dict[Hardness, dict[str, Tally]]:
    """Correct answers by hardness, easiest first, and side; levels without a question are left out."""
    tallies: dict[Hardness, dict[str, list[bool]]] = {level: {} for level in LEVELS}
    for side, rows in run.predictions.items():
        for row in rows:
            tallies[row.hardness].setdefault(side, []).append(row.correct)
    return {
        level: {side: Tally(len(values), sum(values)) for side, values in by_side.items()}
        for level, by_side in tallies.items()
        if by_side
    }


def status_counts(run: RunData) -> dict[str, dict[str, int]]:
    """Number of verdicts by side and status, from the summary or, without it, from the predictions."""
    counts: dict[str, dict[str, int]] = {}
    for side in SIDES:
        if evaluation := run.evaluation(side):
            counts[side] = dict(evaluation.counts.items())
        elif rows := run.predictions.get(side):
            counts[side] = dict(Counter(row.status for row in rows))
    return counts


def label_counts(run: RunData) -> dict[str, dict[str, int]]:
    """Number of error labels by side, from the summary or, without it, from the predictions."""
    counts: dict[str, dict[str, int]] = {}
    for side in SIDES:
        if evaluation := run.evaluation(side):
            counts[side] = evaluation.error_labels
        elif rows := run.predictions.get(side):
            counts[side] = dict(Counter(label for row in rows for label in row.labels))
    return counts if any(counts.values()) else {}


def groups(run: RunData, limits: Limits) -> list[Group]:
    """Questions by outcome: won, lost, still wrong; with one model only, wrong and right.

    Of a group larger than the limit, cases evenly spaced through the file are taken, so that the selection does not
    depend on how the file is ordered.
    """
    if not run.predictions:
        return []
    outcomes = _outcomes_of_one(run) if len(run.predictions) == 1 else _outcomes_of_two(run)
    chosen = {outcome.key: _evenly_spaced(outcome.questions, limits.cases) for outcome in outcomes}
    full: FullPredictions = {}
    for side, index in run.predictions.items():
        full |= index.read([by_side[side] for questions in chosen.values() for by_side in questions])
    return [
        Group(
            key=outcome.key,
            title=outcome.title,
            explanation=outcome.explanation,
            total=len(outcome.questions),
            cases=[_case(by_side, full, limits) for by_side in chosen[outcome.key]],
            outcome=_OUTCOMES[outcome.key],
        )
        for outcome in outcomes
    ]


class _Outcome(NamedTuple):
    """All questions with one outcome, before some of them are chosen for a `Group`."""

    key: str
    title: str
    explanation: str
    questions: list[BySide]


def _outcomes_of_one(run: RunData) -> list[_Outcome]:
    ((side, rows),) = run.predictions.items()
    wrong = [{side: row} for row in rows if not row.correct]
    right = [{side: row} for row in rows if row.correct]
    return [
        _Outcome("wrong", "Wrong", f"The {side} model got these wrong.", wrong),
        _Outcome("right", "Right", f"The {side} model got these right.", right),
    ]


def _outcomes_of_two(run: RunData) -> list[_Outcome]:
    tuned = {row.id: row for row in run.predictions["tuned"]}
    # By whether the base and the tuned model are correct.
    by_correct: dict[tuple[bool, bool], list[BySide]] = {}
    for base in run.predictions["base"]:
        if base.id in tuned:
            by_side = {"base": base, "tuned": tuned[base.id]}
            by_correct.setdefault((base.correct, by_side["tuned"].correct), []).append(by_side)
    return [
        _Outcome(key, title, explanation, by_correct.get(correct, []))
        for key, title, explanation, correct in (
            ("won", "Won", "The base model got these wrong, the tuned model right.", (False, True)),
            ("lost", "Lost", "The base model got these right, the tuned model wrong.", (True, False)),
            ("still-wrong", "Still wrong", "Both models got these wrong.", (False, False)),
        )
    ]


def both_right(run: RunData) -> int | None:
    """Number of questions that both models got right; None if there are not two models."""
    if len(run.predictions) < 2:
        return None
    tuned = {row.id: row.correct for row in run.predictions["tuned"]}
    return sum(row.correct and tuned.get(row.id, False) for row in run.predictions["base"])


@dataclass(frozen=True)
class NovelAnswer:
    """A model's answer to a question on a new schema; ``correct`` is None where it was not scored."""

    side: str
    sql: str
    correct: bool | None
    reason: str


@dataclass(frozen=True)
class NovelCase:
    """A question on a new schema with the answers of the models."""

    question: str
    schema: str
    gold: str
    answers: list[NovelAnswer]


def novel_cases(run: RunData, limits: Limits) -> list[NovelCase]:
    """The questions on new schemas with the answers of both models."""
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


def _evenly_spaced(items: list[T], limit: int) -> list[T]:
    if len(items) <= limit:
        return items
    return [items[index * len(items) // limit] for index in range(limit)]


def _case(by_side: BySide, full: FullPredictions, limits: Limits) -> Case:
    first = full[next(iter(by_side.values()))]
    answers = []
    for side, entry in by_side.items():
        row = full[entry]
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
