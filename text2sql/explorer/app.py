"""The application: the page, and what it asks for."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

from backends.web_origin import Hosts
from text2sql.errors import UserError
from text2sql.explorer.admission import DOCUMENT, REPORT, Admission
from text2sql.explorer.catalogue import Catalogue, stamps
from text2sql.explorer.overview import overview
from text2sql.report.questions.answer import full_answer
from text2sql.report.questions.answers import AnswerFile
from text2sql.report.questions.clauses import clauses_of
from text2sql.report.questions.packed import ASSETS as QUESTIONS
from text2sql.report.questions.tree_diff import compare_trees
from text2sql.report.templates import PALETTE
from text2sql.runs.records import Prediction, predictions_file

ASSETS = Path(__file__).with_name("assets")
# Of one answer to the page: rows, and seconds of reading. The list shows what has come while it asks for more.
_ROWS = 5000
_SECONDS = 0.25
# Files whose answers are kept in memory, some 30 MB each for 50,000.
_KEPT = 8


class _Files:
    """The files of answers that have been looked at lately."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._lock = threading.Lock()
        self._opened: OrderedDict[Path, AnswerFile] = OrderedDict()

    def open(self, run: str, label: str) -> AnswerFile:
        """The answers of an evaluation of a run (UserError if it has none)."""
        directory = self._catalogue.path(run)
        path = directory / predictions_file(label)
        if path.name not in stamps(directory):
            raise UserError(f'The run "{run}" has no answers called "{label}".')
        with self._lock:
            found = self._opened.setdefault(path, AnswerFile(path))
            self._opened.move_to_end(path)
            while len(self._opened) > _KEPT:
                self._opened.popitem(last=False)
        return found

    def read(self, run: str, label: str, generation: int, offset: int) -> Prediction:
        """One prediction in full (UserError if it is not there any more)."""
        return self.open(run, label).full(generation, offset)


def create_app(directory: Path, hosts: Hosts) -> FastAPI:
    """The application over the runs of a directory.

    Args:
        directory: Where the runs are.
        hosts: The names under which it may be addressed.
    """
    app = FastAPI(title="text2sql view", docs_url=None, redoc_url=None, openapi_url=None)
    catalogue = Catalogue(directory)
    _serve_pages(app, catalogue)
    _serve_runs(app, catalogue)
    _serve_answers(app, _Files(catalogue))

    @app.exception_handler(UserError)
    def tell(request: Request, error: UserError) -> Response:
        return _json({"error": str(error)}, 404)

    @app.get("/assets/palette.css")
    def palette() -> Response:
        return FileResponse(PALETTE)

    app.mount("/assets/questions", StaticFiles(directory=QUESTIONS))
    app.mount("/assets", StaticFiles(directory=ASSETS))
    app.add_middleware(Admission, hosts=hosts)
    return app


def _serve_pages(app: FastAPI, catalogue: Catalogue) -> None:
    drawing = threading.Lock()

    @app.get("/")
    def page() -> Response:
        return FileResponse(ASSETS / "index.html")

    @app.get("/favicon.ico")
    def icon() -> Response:
        return FileResponse(ASSETS / "icon.svg")

    @app.get("/report")
    def report(run: str) -> Response:
        file = catalogue.path(run) / "report.html"
        if not file.is_file() or file.is_symlink():
            raise UserError(f'The run "{run}" has no report.html yet.')
        return FileResponse(file, headers=REPORT)

    @app.get("/compare")
    def compare(run: Annotated[list[str], Query()]) -> Response:
        from text2sql.compare.entries import load_entries
        from text2sql.compare.page import render
        from text2sql.compare.paired import compare

        try:
            # The plotting library has one state for all threads.
            with drawing:
                return HTMLResponse(render(compare(load_entries(_named(catalogue, run)))), headers=DOCUMENT)
        except UserError as error:
            return Response(f"{error}\n", 404, media_type="text/plain", headers=DOCUMENT)


def _named(catalogue: Catalogue, runs: Sequence[str]) -> list[str]:
    """The runs of an address, RUN or RUN:LABEL, as they are named on the command line."""
    found = []
    for text in runs:
        run, colon, label = text.partition(":")
        found.append(f"{catalogue.path(run)}{colon}{label}")
    return found


def _serve_runs(app: FastAPI, catalogue: Catalogue) -> None:
    @app.get("/api/runs")
    def runs() -> Response:
        return _json({"directory": str(catalogue.directory), "runs": [asdict(entry) for entry in catalogue.entries()]})

    @app.get("/api/stamps")
    def looks(run: str) -> Response:
        return _json(stamps(catalogue.path(run)))

    @app.get("/api/overview")
    def head(run: str) -> Response:
        return _json(asdict(overview(catalogue.path(run))))


def _serve_answers(app: FastAPI, files: _Files) -> None:
    @app.get("/api/answers")
    def answers(run: str, label: str, generation: int = 0, start: Annotated[int, Query(ge=0)] = 0) -> Response:
        page = files.open(run, label).page(generation, start, _ROWS, _SECONDS)
        rows = [
            (r.offset, r.id, r.question, r.gold, r.sql, r.correct, r.status, r.hardness, r.labels, r.cluster)
            for r in page.rows
        ]
        values = {"generation": page.generation, "start": page.start, "done": page.done, "problems": page.problems}
        return _json(values | {"rows": rows})

    @app.get("/api/clauses")
    def clauses(run: str, label: str, generation: int, start: Annotated[int, Query(ge=0)]) -> Response:
        page = files.open(run, label).page(generation, start, _ROWS, 0)
        found = clauses_of([row.gold for row in page.rows], _SECONDS)
        return _json({"generation": page.generation, "start": page.start, "clauses": found})

    @app.get("/api/answer")
    def answer(run: str, label: str, generation: int, offset: Annotated[int, Query(ge=0)]) -> Response:
        return _json(asdict(full_answer(files.read(run, label, generation, offset))))

    @app.get("/api/diff")
    def tree_diff(run: str, label: str, generation: int, offset: Annotated[int, Query(ge=0)]) -> Response:
        row = files.read(run, label, generation, offset)
        return _json(asdict(compare_trees(row.context, row.gold, row.sql)))


def _json(value: Any, status: int = 200) -> Response:
    # In ASCII: a model may write half characters, which are no UTF-8.
    return Response(json.dumps(value, allow_nan=False, default=_plain), status, media_type="application/json")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    raise TypeError(f"{type(value).__name__} is not shown")
