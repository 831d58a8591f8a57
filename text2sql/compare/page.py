"""A comparison as one self-contained HTML page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backends.paths import written_aside
from text2sql.compare.entries import QuestionKey
from text2sql.compare.figures import draw_figures
from text2sql.compare.paired import Comparison, Disagreement
from text2sql.compare.table import TEST_COLUMNS, answer, measures, setting, tests
from text2sql.console import console
from text2sql.errors import UserError
from text2sql.formats import clip
from text2sql.report.templates import fill

# Number of questions shown of each kind of disagreement.
_MAX_CASES = 20
# Characters of a query or schema.
_MAX_TEXT = 2500


def write_page(comparison: Comparison, output: Path) -> Path:
    """Write the page.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        with written_aside(output) as aside:
            aside.write_text(render(comparison), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--html: {output} cannot be written: {error.strerror or error}.") from error
    console.print(f"Page: {output}")
    return output


def is_page(path: Path) -> bool:
    """Whether a file is a page that `write_page` has written, by the end of its title."""
    with path.open(encoding="utf-8") as file:
        return ": text-to-SQL comparison</title>" in file.read(100_000)


def render(comparison: Comparison) -> str:
    """The page as text."""
    return fill(
        "compare.html.j2",
        draw_figures(comparison),
        title=", ".join(entry.label for entry in comparison.entries),
        labels=[entry.label for entry in comparison.entries],
        cautions=comparison.cautions,
        headline=comparison.headline,
        closeness=comparison.closeness,
        measures=measures(comparison),
        test_columns=TEST_COLUMNS,
        tests=tests(comparison),
        differences={k: [clip(setting(v), 200) for v in vs] for k, vs in comparison.differences.items()},
        agreed=comparison.agreed,
        common=len(comparison.common),
        groups=[_group(comparison, group) for group in comparison.disagreements],
        problems=comparison.problems,
    )


@dataclass(frozen=True)
class AnswerView:
    """The answer of one entry to a question, with the reason of the verdict."""

    label: str
    correct: bool
    sql: str
    reason: str


@dataclass(frozen=True)
class CaseView:
    """One question with the answers of all entries."""

    question: str
    schema: str
    gold: str
    answers: list[AnswerView]


@dataclass(frozen=True)
class GroupView:
    """Questions on which the same entries are right: their number, and the cases that are shown."""

    right: list[str]
    wrong: list[str]
    total: int
    cases: list[CaseView]


def _group(comparison: Comparison, group: Disagreement) -> GroupView:
    cases = [_case(comparison, question) for question in group.questions[:_MAX_CASES]]
    return GroupView(group.right, group.wrong, len(group.questions), cases)


def _case(comparison: Comparison, question: QuestionKey) -> CaseView:
    answers = []
    for entry in comparison.entries:
        sql, reason = answer(entry, question)
        correct = entry.rows[question].correct
        answers.append(AnswerView(entry.label, correct, clip(sql, _MAX_TEXT), clip(reason, 600)))
    text, schema, gold, _ = question
    return CaseView(clip(text, 600), clip(schema, _MAX_TEXT), clip(gold, _MAX_TEXT), answers)
