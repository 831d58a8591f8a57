"""The list of questions as a part of a page that needs neither server nor network: scripts and compressed answers.

The answers are in chunks that the page decompresses on demand: the rows of the list for each evaluation, and the
details of some hundred questions at a time. The page of a large run thus opens as fast as that of a small one.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from text2sql.errors import UserError
from text2sql.report.curves import charts
from text2sql.report.questions.answer import full_answer
from text2sql.report.questions.answers import AnswerFile, Page
from text2sql.report.questions.clauses import clauses_of
from text2sql.report.questions.head import Vocabulary, answers_of
from text2sql.report.questions.tree_diff import compare_trees
from text2sql.runs.records import MetricsRow, predictions_file

ASSETS = Path(__file__).with_name("assets")
_LIST_STYLES = ("tabulator/tabulator_simple.min.css", "questions.css")
_CURVE_STYLES = ("uplot/uPlot.min.css", "curves.css")
# Number of questions whose details are one chunk.
_CHUNK_SIZE = 250
# Characters of all details before compression, which leaves some 3%.
_MAX_DETAIL_CHARACTERS = 100_000_000
# Number of tree comparisons in all, of a few milliseconds each.
_MAX_TREE_DIFFS = 1_000
# Number of gold queries of an evaluation that are parsed for their clauses, in a few milliseconds each.
_MAX_PARSED = 3_000
# Modules that are replaced inside a page.
_REPLACEMENTS = {"api.js": "embedded.js"}
_IMPORT = re.compile(r'(?:from|import) "\./([^"]+)"')


@dataclass(frozen=True)
class Packed:
    """The parts of a page that contains the list.

    Attributes:
        answered: Whether there are answers to list; a run that only trained has curves alone.
        policy: Content security policy: only these scripts run, and nothing is loaded.
        parts: Compressed values in base64, by the id of the element that holds them.
        scripts: The text of each script, in order.
        curve_style: Style sheet of the curves.
        list_style: Style sheet of the list, which has a shadow tree of its own.
    """

    answered: bool
    policy: str
    parts: dict[str, str]
    scripts: list[str]
    curve_style: str
    list_style: str


def pack(run: Path, name: str, metrics: Sequence[MetricsRow]) -> Packed:
    """Compress a run's answers; the same files give the same bytes.

    Args:
        run: Directory of the run.
        name: Name of the run.
        metrics: The metrics of its training.

    Raises:
        UserError: The answers cannot be read.
    """
    answers = answers_of(run)
    files = [AnswerFile(run / predictions_file(evaluation.label)) for evaluation in answers]
    read = [(file, file.page(0, 0, 2**62, inf)) for file in files]
    head = {
        "run": name,
        "answers": [asdict(evaluation) for evaluation in answers],
        "vocabulary": asdict(Vocabulary()),
        "charts": [asdict(chart) for chart in charts(metrics)],
        "piece": _CHUNK_SIZE,
    }
    parts = {"packed-modules": _modules(), "packed-head": _compress(head)}
    for index, (_, page) in enumerate(read):
        parts[f"packed-answers-{index}"] = _compress(_listed(page))
    for index, chunk in enumerate(_details(read)):
        parts[f"packed-details-{index}"] = _compress(chunk)
    scripts = [_read_assets(["uplot/uPlot.iife.min.js"]), _read_assets(["begin.js"])]
    return Packed(
        bool(answers), _policy(scripts), parts, scripts, _read_assets(_CURVE_STYLES), _read_assets(_LIST_STYLES)
    )


def _read_assets(names: Sequence[str]) -> str:
    return "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in names)


def _listed(page: Page) -> dict[str, Any]:
    """The rows of the list for an evaluation; the index of a row stands for the offset of its line in the file."""
    rows = [
        (index, r.id, r.question, r.gold, r.sql, r.correct, r.status, r.hardness, r.labels, r.cluster)
        for index, r in enumerate(page.rows)
    ]
    clauses = clauses_of([row.gold for row in page.rows[:_MAX_PARSED]], inf) if rows else []
    return {"problems": page.problems, "rows": rows, "clauses": clauses}


def _details(read: Sequence[tuple[AnswerFile, Page]]) -> Iterator[dict[int, dict[int, Any]]]:
    """Yield the details of the answers in chunks, by index of the question and of the evaluation, up to the limits.

    The answers to a question are adjacent: they share its prompt, which then compresses well.
    """
    characters_left, diffs_left = _MAX_DETAIL_CHARACTERS, _MAX_TREE_DIFFS
    questions = max((len(page.rows) for _, page in read), default=0)
    for start in range(0, questions, _CHUNK_SIZE):
        chunk: dict[int, dict[int, Any]] = {}
        for question in range(start, min(start + _CHUNK_SIZE, questions)):
            for evaluation, (file, page) in enumerate(read):
                if question >= len(page.rows) or characters_left <= 0:
                    continue
                detail = _detail(file, page, question, with_diff=diffs_left > 0)
                diffs_left -= "diff" in detail
                chunk.setdefault(question, {})[evaluation] = detail
                characters_left -= len(str(detail))
        if not chunk:
            return
        yield chunk


def _detail(file: AnswerFile, page: Page, index: int, *, with_diff: bool) -> dict[str, Any]:
    """The details of one answer, with the comparison of the trees if the answer is wrong."""
    try:
        prediction = file.full(page.generation, page.rows[index].offset)
    except UserError as error:
        # The list has the row all the same.
        return {"problem": str(error)}
    detail = {"answer": asdict(full_answer(prediction))}
    if with_diff and prediction.sql and not prediction.correct:
        detail["diff"] = asdict(compare_trees(prediction.context, prediction.gold, prediction.sql))
    return detail


def _compress(value: object) -> str:
    """A value as gzipped JSON in base64."""
    # ASCII, as a model may write lone surrogates; no time stamp, so that the same value gives the same bytes.
    text = json.dumps(value, allow_nan=False, default=json_value).encode("ascii")
    return base64.b64encode(gzip.compress(text, mtime=0)).decode()


def json_value(value: object) -> object:
    """What `json.dumps` writes for a value that it does not know: the fields of a model."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    raise TypeError(f"{type(value).__name__} is not shown")


@cache
def _modules() -> str:
    """The names and texts of the script modules, compressed, each after those that it imports."""
    texts: dict[str, str] = {}

    def add(name: str) -> None:
        text = _read_assets([_REPLACEMENTS.get(name, name)])
        for other in _IMPORT.findall(text):
            if other not in texts:
                add(other)
        texts[name] = text

    add("report.js")
    return _compress(list(texts.items()))


def _policy(scripts: Sequence[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests)
    # The modules are loaded as blobs, which only one of the allowed scripts can create.
    return (
        f"default-src 'none'; script-src {hashes} blob:; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
