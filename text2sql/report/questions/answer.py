"""One question with a model's answer, all that is known of it."""

from __future__ import annotations

from dataclasses import dataclass

from text2sql.formats import clip, count
from text2sql.report.failures import benchmark_line, judge_line
from text2sql.report.witness import WitnessView, witness_view
from text2sql.runs.records import Prediction

# Characters of one text: a prompt with all of a large schema has them, an answer that never ends is cut.
_LONGEST = 200_000


@dataclass(frozen=True)
class FullAnswer:
    """What is shown of an answer when somebody opens it.

    Attributes:
        id: Of the question.
        question: In natural language.
        context: The schema.
        gold: The gold query.
        sql: The query in the answer.
        correct: What accuracy counts.
        status: Of the verdict.
        reason: Of the verdict.
        labels: In which ways the answer departs from the gold query.
        facts: Names and values of what else is known.
        remarks: What benchmarks and a judge say, in sentences.
        witness: A database that shows the difference, with what the two queries return there.
        prompt: What the model was given.
        raw: What it wrote.
        thought: What it thought before.
    """

    id: str
    question: str
    context: str
    gold: str
    sql: str
    correct: bool
    status: str
    reason: str
    labels: list[str]
    facts: list[tuple[str, str]]
    remarks: list[str]
    witness: WitnessView | None
    prompt: str
    raw: str
    thought: str


def full_answer(row: Prediction) -> FullAnswer:
    """The view of a prediction."""
    verdict = row.verdict
    return FullAnswer(
        id=row.id,
        question=clip(row.question, _LONGEST),
        context=clip(row.context, _LONGEST),
        gold=clip(row.gold, _LONGEST),
        sql=clip(row.sql, _LONGEST),
        correct=row.correct,
        status=verdict.status,
        reason=clip(verdict.reason, _LONGEST),
        labels=list(row.labels),
        facts=_facts(row),
        remarks=[line for line in (benchmark_line(row), judge_line(row), verdict.unused_database) if line],
        witness=witness_view(verdict.witness) if verdict.witness else None,
        prompt=clip(row.prompt, _LONGEST),
        raw=clip(row.raw, _LONGEST),
        thought=clip(row.thought or "", _LONGEST),
    )


def _facts(row: Prediction) -> list[tuple[str, str]]:
    verdict = row.verdict
    facts = [
        ("Hardness", row.hardness),
        ("Database", row.cluster),
        ("Evidence", row.evidence),
        ("Databases compared", f"{count(verdict.databases)}, {count(verdict.informative)} of them telling"),
        ("Rests on", verdict.proof),
        ("Lenient", "equal as sets of rows" if verdict.lenient and not row.correct else None),
        ("Answer", f"{count(row.tokens)} tokens" + (", cut off" if row.stop_reason == "length" else "")),
        ("Prompt", f"{count(row.prompt_tokens)} tokens"),
        ("Chosen from", f"{count(row.samples)} answers" if row.samples > 1 else None),
        ("Right among them", None if row.right_samples is None else count(row.right_samples)),
    ]
    return [(name, clip(value, 1000)) for name, value in facts if value]
