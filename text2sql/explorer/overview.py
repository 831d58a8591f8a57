"""What stands above the questions of a run: what it came to, and which answers there are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from backends.capabilities import capabilities_of
from text2sql.errors import UserError
from text2sql.formats import clip, timestamp
from text2sql.report.curves import Chart, charts
from text2sql.report.headline import result_sentence
from text2sql.report.load import RunData, load_run
from text2sql.report.questions.head import AnswersOf, Vocabulary, answers_of
from text2sql.runs.models import MODELS
from text2sql.runs.summary import Score


@dataclass(frozen=True)
class Overview:
    """The head of a run's page.

    Attributes:
        name: Of the run.
        lead: Base model, backend and time.
        sentence: The paired result in words; empty before there is one.
        scores: Execution accuracy by model.
        charts: The course of its training.
        answers: Which there are.
        config: Text of ``config.yaml``, secrets masked.
        has_report: Whether there is a ``report.html``.
        notes: What a reader must know of the numbers.
        problems: What could not be read.
        vocabulary: What answers are filtered by.
    """

    name: str
    lead: list[str]
    sentence: str
    scores: dict[str, Score]
    charts: list[Chart]
    answers: list[AnswersOf]
    config: str
    has_report: bool
    notes: list[str]
    problems: list[str]
    vocabulary: Vocabulary = field(default_factory=Vocabulary)


def overview(path: Path) -> Overview:
    """Read what there is of a run, its answers apart; what cannot be read is named."""
    try:
        run = load_run(path, (), in_progress=True)
    except UserError:
        # There may be answers all the same.
        run = RunData(path.resolve().name)
    return Overview(
        name=run.name,
        lead=_lead(run),
        sentence=_sentence(run),
        scores={model: score for model in MODELS if (score := run.score(model)) and score.accuracy is not None},
        charts=charts(run.metrics),
        answers=answers_of(path),
        config=clip(run.config, 40_000),
        has_report=(path / "report.html").is_file(),
        notes=[clip(note, 600) for note in run.summary.notes] if run.summary else [],
        problems=run.problems,
    )


def _lead(run: RunData) -> list[str]:
    if run.summary is None:
        return []
    known = capabilities_of(run.summary.backend)
    backend = known.title if known else run.summary.backend
    return [clip(part, 200) for part in (run.summary.base_model, backend, timestamp(run.summary.created)) if part]


def _sentence(run: RunData) -> str:
    head = run.summary.headline if run.summary else None
    if head is None or not (head.base or head.tuned or head.start):
        return ""
    before, paired = ("start", head.paired_start) if head.start else ("base", head.paired)
    return result_sentence(run.score(before), head.tuned, paired, "start" if head.start else "base")
