"""The list of questions as a part of one page, which needs neither server nor network: scripts, and answers packed.

The answers are in pieces that are unpacked when they are asked for: what a list shows of each evaluation, and all that
is known of some hundred questions at a time. A page of a large run opens as fast as that of a small one.
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
# Questions whose details are unpacked together.
_PIECE = 250
# Characters of prompts, answers and witnesses before they are packed, of all evaluations together; packed some 3%.
_ROOM = 100_000_000
# Differences by tree, of all evaluations together, and questions whose clauses are read: of each a few milliseconds.
_TREES, _PARSED = 1_000, 3_000
# The module that stands for another one here.
_INSTEAD = {"api.js": "embedded.js"}
_IMPORT = re.compile(r'(?:from|import) "\./([^"]+)"')


@dataclass(frozen=True)
class Packed:
    """What a page needs to have the list in it.

    Attributes:
        answered: Whether there are answers to list; a training alone has its curves.
        policy: Content security policy: nothing runs but these scripts, and nothing is loaded.
        parts: The packed values by the id of the element that holds them, in base64.
        scripts: The text of each script, in the order in which they stand.
        curve_style: Style sheet of the curves.
        list_style: Style sheet of the list, which has a tree to itself in the page.
    """

    answered: bool
    policy: str
    parts: dict[str, str]
    scripts: list[str]
    curve_style: str
    list_style: str


def pack(run: Path, name: str, metrics: Sequence[MetricsRow]) -> Packed:
    """Pack a run's answers; the same files give the same bytes.

    Args:
        run: Directory of the run.
        name: Of the run.
        metrics: The course of its training.

    Raises:
        UserError: The answers cannot be read.
    """
    answers = answers_of(run)
    files = [AnswerFile(run / predictions_file(own.label)) for own in answers]
    read = [(file, file.page(0, 0, 2**62, inf)) for file in files]
    head = {
        "run": name,
        "answers": [asdict(own) for own in answers],
        "vocabulary": asdict(Vocabulary()),
        "charts": [asdict(chart) for chart in charts(metrics)],
        "piece": _PIECE,
    }
    parts = {"packed-modules": _modules(), "packed-head": _packed(head)}
    for place, (_, page) in enumerate(read):
        parts[f"packed-answers-{place}"] = _packed(_listed(page))
    for number, piece in enumerate(_details(read)):
        parts[f"packed-details-{number}"] = _packed(piece)
    scripts = [_texts(["uplot/uPlot.iife.min.js"]), _texts(["begin.js"])]
    return Packed(bool(answers), _policy(scripts), parts, scripts, _texts(_CURVE_STYLES), _texts(_LIST_STYLES))


def _texts(names: Sequence[str]) -> str:
    return "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in names)


def _listed(page: Page) -> dict[str, Any]:
    """What the list shows of an evaluation; a row's place stands for the place of its line in the file."""
    rows = [
        (place, r.id, r.question, r.gold, r.sql, r.correct, r.status, r.hardness, r.labels, r.cluster)
        for place, r in enumerate(page.rows)
    ]
    clauses = clauses_of([row.gold for row in page.rows[:_PARSED]], inf) if rows else []
    return {"problems": page.problems, "rows": rows, "clauses": clauses}


def _details(read: Sequence[tuple[AnswerFile, Page]]) -> Iterator[dict[int, dict[int, Any]]]:
    """All that is known of the answers, by place of the question and of the evaluation, until there is no more room.

    The answers to a question stand together: they share its prompt, of which the packer then keeps one.
    """
    room, trees = _ROOM, _TREES
    most = max((len(page.rows) for _, page in read), default=0)
    for start in range(0, most, _PIECE):
        piece: dict[int, dict[int, Any]] = {}
        for place in range(start, min(start + _PIECE, most)):
            for side, (file, page) in enumerate(read):
                if place >= len(page.rows) or room <= 0:
                    continue
                kept = _detail(file, page, place, with_tree=trees > 0)
                trees -= "diff" in kept
                piece.setdefault(place, {})[side] = kept
                room -= len(str(kept))
        if not piece:
            return
        yield piece


def _detail(file: AnswerFile, page: Page, place: int, *, with_tree: bool) -> dict[str, Any]:
    try:
        prediction = file.full(page.generation, page.rows[place].offset)
    except UserError as error:
        # Its line in the list is there all the same.
        return {"problem": str(error)}
    kept = {"answer": asdict(full_answer(prediction))}
    if with_tree and prediction.sql and not prediction.correct:
        kept["diff"] = asdict(compare_trees(prediction.context, prediction.gold, prediction.sql))
    return kept


def _packed(value: object) -> str:
    # In ASCII: a model may write half characters. Without the time, which would be another one in every file.
    text = json.dumps(value, allow_nan=False, default=json_value).encode("ascii")
    return base64.b64encode(gzip.compress(text, mtime=0)).decode()


def json_value(value: object) -> object:
    """What `json.dumps` writes for a value that it does not know: the fields of a model."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    raise TypeError(f"{type(value).__name__} is not shown")


@cache
def _modules() -> str:
    """The names and texts of the modules, packed, each after those that it imports; the last one begins."""
    texts: dict[str, str] = {}

    def take(name: str) -> None:
        text = _texts([_INSTEAD.get(name, name)])
        for other in _IMPORT.findall(text):
            if other not in texts:
                take(other)
        texts[name] = text

    take("report.js")
    return _packed(list(texts.items()))


def _policy(scripts: Sequence[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests)
    # The modules are blobs, which only a script that runs already can make.
    return (
        f"default-src 'none'; script-src {hashes} blob:; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
