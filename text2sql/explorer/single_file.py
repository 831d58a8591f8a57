"""``questions.html``: the explorer of one run as one file, which opens without a server and without a network.

The report has no script, so that whoever is sent one can open it without a thought; this file is its neighbour, with
the explorer's own scripts, the run's answers packed into it, and a policy that lets nothing else run or load.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from html import escape
from math import inf
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from backends.paths import written_aside
from text2sql.errors import UserError
from text2sql.explorer.answer import full_answer
from text2sql.explorer.answers import AnswerFile
from text2sql.explorer.clauses import clauses_of
from text2sql.explorer.overview import Overview, overview
from text2sql.explorer.tree_diff import compare_trees
from text2sql.report.templates import PALETTE
from text2sql.runs.records import predictions_file

QUESTIONS = "questions.html"
_ASSETS = Path(__file__).with_name("assets")
_STYLES = (
    _ASSETS / "tabulator" / "tabulator_simple.min.css",
    _ASSETS / "uplot" / "uPlot.min.css",
    PALETTE,
    _ASSETS / "explorer.css",
)
# Characters of prompts, answers and witnesses before they are packed, of all evaluations together; packed a tenth.
_ROOM = 30_000_000
# Differences by tree, of all evaluations together, and questions whose clauses are read: of each a few milliseconds.
_TREES, _PARSED = 1_000, 3_000
# Of the modules that stand for others here.
_INSTEAD = {"api.js": "embedded.js", "main.js": "single.js"}


@dataclass
class _Packed:
    """The answers of one evaluation, as the page asks for them: rows in brief, the rest by place in the file."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    clauses: list[list[int]] = field(default_factory=list)
    answer: dict[int, dict[str, Any]] = field(default_factory=dict)
    diff: dict[int, dict[str, Any]] = field(default_factory=dict)


def write_questions(run: Path) -> Path:
    """Write ``questions.html`` from the files of a run directory; the same files give the same bytes.

    Raises:
        UserError: The directory cannot be read or written.
    """
    target = run / QUESTIONS
    page = render(run)
    try:
        with written_aside(target) as aside:
            aside.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{target} could not be written: {error.strerror or error}.") from error
    return target


def render(run: Path) -> str:
    """The page as text."""
    head = replace(overview(run), has_report=False)
    answers = {label: asdict(own) for label, own in _pack(run, head)}
    values = json.dumps({"overview": asdict(head), "answers": answers}, allow_nan=False, default=_plain)
    # Without the time, which would be another one in every file.
    packed = base64.b64encode(gzip.compress(values.encode("ascii"), mtime=0)).decode()
    scripts = [
        ("importmap", json.dumps({"imports": dict(_modules())})),
        ("text/javascript", (_ASSETS / "uplot" / "uPlot.iife.min.js").read_text(encoding="utf-8")),
        ("module", 'import "explorer/single.js";'),
    ]
    hashes = " ".join(f"'sha256-{_digest(text)}'" for _, text in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes} data:; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    style = "\n".join(path.read_text(encoding="utf-8") for path in _STYLES)
    shell = (_ASSETS / "index.html").read_text(encoding="utf-8")
    body = shell[shell.index("<body>") : shell.index("<noscript>")]
    body = body.replace('<a href="#" id="home">Runs</a>', '<a href="report.html" id="home">Report</a>')
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{escape(head.name)}</title>\n<style>{style}</style>\n</head>",
            body,
            "<noscript>This page needs JavaScript; report.html does without.</noscript>",
            f'<script type="application/octet-stream" id="run">{packed}</script>',
            *(f'<script type="{kind}">{text}</script>' for kind, text in scripts),
            "</body>\n</html>\n",
        ]
    )


def _pack(run: Path, head: Overview) -> Iterator[tuple[str, _Packed]]:
    room, trees = _ROOM, _TREES
    for own in head.answers:
        found, file = _Packed(), AnswerFile(run / predictions_file(own.label))
        page = file.page(0, 0, 2**62, inf)
        found.problems = page.problems
        for row in page.rows:
            brief = (row.id, row.question, row.gold, row.sql, row.correct, row.status, row.hardness)
            found.rows.append((row.offset, *brief, row.labels, row.cluster))
        found.clauses = clauses_of([row.gold for row in page.rows[:_PARSED]], inf)
        for row in page.rows:
            if room <= 0:
                break
            prediction = file.full(page.generation, row.offset)
            full = asdict(full_answer(prediction))
            room -= len(str(full))
            found.answer[row.offset] = full
            if row.sql and not row.correct and trees:
                tree = asdict(compare_trees(prediction.context, prediction.gold, prediction.sql))
                found.diff[row.offset] = tree
                room, trees = room - len(str(tree)), trees - 1
        yield own.label, found


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    raise TypeError(f"{type(value).__name__} is not shown")


def _modules() -> Iterator[tuple[str, str]]:
    """The explorer's modules by the names under which they find each other, each as an address that holds it."""
    for path in sorted([*_ASSETS.glob("*.js"), *_ASSETS.glob("tabulator/*.mjs")]):
        name = path.relative_to(_ASSETS).as_posix()
        if name in _INSTEAD or name == "runs.js":
            continue
        text = re.sub(r'(from|import) "\./([^"]+)"', _named, path.read_text(encoding="utf-8"))
        yield f"explorer/{name}", f"data:text/javascript;base64,{base64.b64encode(text.encode()).decode()}"


def _named(found: re.Match[str]) -> str:
    return f'{found[1]} "explorer/{_INSTEAD.get(found[2], found[2])}"'


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
