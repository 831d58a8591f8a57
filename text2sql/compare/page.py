"""A comparison as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backends.paths import written_aside
from text2sql.compare.entries import Question
from text2sql.compare.figures import draw_figures
from text2sql.compare.paired import Comparison, Disagreement
from text2sql.compare.table import TEST_COLUMNS, answer, measures, setting, tests
from text2sql.console import console
from text2sql.errors import UserError
from text2sql.formats import clip
from text2sql.report.templates import fill

_CASES = 20  # of each kind of disagreement
_TEXT = 2500


def write_page(comparison: Comparison, output: Path) -> Path:
    """Write the page.

    Raises:
        UserError: The file cannot be written.
    """
    html = fill(
        "compare.html.j2",
        draw_figures(comparison),
        title=", ".join(entry.label for entry in comparison.entries),
        labels=[entry.label for entry in comparison.entries],
        cautions=comparison.cautions,
        headline=comparison.headline,
        measures=measures(comparison),
        test_columns=TEST_COLUMNS,
        tests=tests(comparison),
        differences={k: [clip(setting(v), 200) for v in vs] for k, vs in comparison.differences.items()},
        agreed=comparison.agreed,
        common=len(comparison.common),
        groups=[_group(comparison, group) for group in comparison.disagreements],
        problems=[f"{entry.label}: {problem}" for entry in comparison.entries for problem in entry.run.problems],
    )
    try:
        with written_aside(output) as aside:
            aside.write_text(html, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--html: {output} cannot be written: {error.strerror or error}.") from error
    console.print(f"Page: {output}")
    return output


def _group(comparison: Comparison, group: Disagreement) -> dict[str, Any]:
    return {
        "right": group.right,
        "wrong": group.wrong,
        "total": len(group.questions),
        "cases": [_case(comparison, question) for question in group.questions[:_CASES]],
    }


def _case(comparison: Comparison, question: Question) -> dict[str, Any]:
    answers = []
    for entry in comparison.entries:
        sql, reason = answer(entry, question)
        answers.append((entry.label, entry.rows[question].correct, clip(sql, _TEXT), clip(reason, 600)))
    asked, schema, gold, _ = question
    return {
        "question": clip(asked, 600),
        "schema": clip(schema, _TEXT),
        "gold": clip(gold, _TEXT),
        "answers": answers,
    }
