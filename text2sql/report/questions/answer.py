"""One question with a model's answer in full."""

from __future__ import annotations

from dataclasses import dataclass

from text2sql.formats import clip, count
from text2sql.report.failures import benchmark_line, judge_line
from text2sql.report.witness import WitnessView, witness_view
from text2sql.runs.records import Prediction

# Characters of one text: enough for the prompt of a large schema; an endless answer is cut.
_MAX_CHARACTERS = 200_000


@dataclass(frozen=True)
class FullAnswer:
    """An answer as it is shown when it is opened.

    Attributes:
        id: The id of the question.
        question: The question in natural language.
        context: The schema.
        gold: The gold query.
        sql: The query in the answer.
        correct: Whether it counts as correct in the accuracy.
        status: Status of the verdict.
        reason: Reason of the verdict.
        labels: Error labels.
        facts: Names and values of further facts.
        remarks: Sentences on the benchmarks' metrics and the LLM judge's opinion.
        witness: A database on which the queries differ, with their results.
        prompt: Text of the prompt.
        raw: Raw text of the answer.
        thought: Text of the thinking block.
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
        question=clip(row.question, _MAX_CHARACTERS),
        context=clip(row.context, _MAX_CHARACTERS),
        gold=clip(row.gold, _MAX_CHARACTERS),
        sql=clip(row.sql, _MAX_CHARACTERS),
        correct=row.correct,
        status=verdict.status,
        reason=clip(verdict.reason, _MAX_CHARACTERS),
        labels=list(row.labels),
        facts=_facts(row),
        remarks=[line for line in (benchmark_line(row), judge_line(row), verdict.unused_database) if line],
        witness=witness_view(verdict.witness) if verdict.witness else None,
        prompt=clip(row.prompt, _MAX_CHARACTERS),
        raw=clip(row.raw, _MAX_CHARACTERS),
        thought=clip(row.thought or "", _MAX_CHARACTERS),
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
