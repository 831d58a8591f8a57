"""The head of a run's page: its results, and the list of its answers."""

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
        name: The name of the run.
        lead: The base model, the backend and the time.
        sentence: The paired result in words; empty before there is one.
        scores: The execution accuracy by model.
        charts: The curves of its training.
        answers: The evaluations with answers.
        config: The text of ``config.yaml`` with masked secrets.
        has_report: Whether there is a ``report.html``.
        notes: Notes for the reader of the numbers.
        problems: What could not be read.
        vocabulary: The values of the filters of answers.
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


def read_overview(path: Path) -> Overview:
    """Reads the existing parts of a run without its answers; parts that cannot be read are listed."""
    try:
        run = load_run(path, (), in_progress=True)
    except UserError:
        # There may be answers anyway.
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
    headline = run.summary.headline if run.summary else None
    if headline is None or not (headline.base or headline.tuned or headline.start):
        return ""
    baseline, paired = ("start", headline.paired_start) if headline.start else ("base", headline.paired)
    return result_sentence(run.score(baseline), headline.tuned, paired, "start" if headline.start else "base")
