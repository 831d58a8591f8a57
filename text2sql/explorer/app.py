"""The web application: its pages and the API that they use."""

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

from backends.web_origin import Hosts
from text2sql.errors import UserError
from text2sql.explorer.admission import DOCUMENT, REPORT, Admission
from text2sql.explorer.catalogue import Catalogue, stamps
from text2sql.explorer.overview import read_overview
from text2sql.report.questions.answer import full_answer
from text2sql.report.questions.answers import AnswerFile
from text2sql.report.questions.clauses import clauses_of
from text2sql.report.questions.packed import ASSETS as QUESTIONS
from text2sql.report.questions.packed import json_value
from text2sql.report.questions.tree_diff import compare_trees
from text2sql.report.templates import PALETTE
from text2sql.runs.records import Prediction, predictions_file

ASSETS = Path(__file__).with_name("assets")
# Rows in one response of the API; the page displays them while it requests more.
_MAX_ROWS = 5000
# Seconds of reading for one response of the API.
_MAX_SECONDS = 0.25
# Answer files that are kept in memory, about 30 MB each for 50,000 answers.
_MAX_OPEN_FILES = 8


class _AnswerFiles:
    """A cache of the recently used answer files."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._lock = threading.Lock()
        self._opened: OrderedDict[Path, AnswerFile] = OrderedDict()

    def open(self, run: str, label: str) -> AnswerFile:
        """The answers of an evaluation of a run (UserError if there are none)."""
        directory = self._catalogue.path(run)
        path = directory / predictions_file(label)
        if path.name not in stamps(directory):
            raise UserError(f'The run "{run}" has no answers called "{label}".')
        with self._lock:
            file = self._opened.setdefault(path, AnswerFile(path))
            self._opened.move_to_end(path)
            while len(self._opened) > _MAX_OPEN_FILES:
                self._opened.popitem(last=False)
        return file

    def read(self, run: str, label: str, generation: int, offset: int) -> Prediction:
        """One prediction in full (UserError if it no longer exists)."""
        return self.open(run, label).full(generation, offset)


def create_app(directory: Path, hosts: Hosts) -> FastAPI:
    """Creates the application for the runs of a directory.

    Args:
        directory: The directory of the runs.
        hosts: The names under which the server may be addressed.
    """
    app = FastAPI(title="text2sql view", docs_url=None, redoc_url=None, openapi_url=None)
    catalogue = Catalogue(directory)
    _serve_pages(app, catalogue)
    _serve_runs(app, catalogue)
    _serve_answers(app, _AnswerFiles(catalogue))

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
    plot_lock = threading.Lock()

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
            with plot_lock:
                return HTMLResponse(render(compare(load_entries(_run_arguments(catalogue, run)))), headers=DOCUMENT)
        except UserError as error:
            return Response(f"{error}\n", 404, media_type="text/plain", headers=DOCUMENT)


def _run_arguments(catalogue: Catalogue, runs: Sequence[str]) -> list[str]:
    """The arguments of the command line for the runs in a URL, RUN or RUN:LABEL."""
    arguments = []
    for text in runs:
        run, colon, label = text.partition(":")
        arguments.append(f"{catalogue.path(run)}{colon}{label}")
    return arguments


def _serve_runs(app: FastAPI, catalogue: Catalogue) -> None:
    @app.get("/api/runs")
    def runs() -> Response:
        return _json({"directory": str(catalogue.directory), "runs": [asdict(entry) for entry in catalogue.entries()]})

    @app.get("/api/stamps")
    def file_stamps(run: str) -> Response:
        return _json(stamps(catalogue.path(run)))

    @app.get("/api/overview")
    def run_overview(run: str) -> Response:
        return _json(asdict(read_overview(catalogue.path(run))))


def _serve_answers(app: FastAPI, files: _AnswerFiles) -> None:
    @app.get("/api/answers")
    def answers(run: str, label: str, generation: int = 0, start: Annotated[int, Query(ge=0)] = 0) -> Response:
        page = files.open(run, label).page(generation, start, _MAX_ROWS, _MAX_SECONDS)
        rows = [
            (r.offset, r.id, r.question, r.gold, r.sql, r.correct, r.status, r.hardness, r.labels, r.cluster)
            for r in page.rows
        ]
        values = {"generation": page.generation, "start": page.start, "done": page.done, "problems": page.problems}
        return _json(values | {"rows": rows})

    @app.get("/api/clauses")
    def clauses(run: str, label: str, generation: int, start: Annotated[int, Query(ge=0)]) -> Response:
        page = files.open(run, label).page(generation, start, _MAX_ROWS, 0)
        found = clauses_of([row.gold for row in page.rows], _MAX_SECONDS)
        return _json({"generation": page.generation, "start": page.start, "clauses": found})

    @app.get("/api/answer")
    def answer(run: str, label: str, generation: int, offset: Annotated[int, Query(ge=0)]) -> Response:
        return _json(asdict(full_answer(files.read(run, label, generation, offset))))

    @app.get("/api/diff")
    def tree_diff(run: str, label: str, generation: int, offset: Annotated[int, Query(ge=0)]) -> Response:
        row = files.read(run, label, generation, offset)
        return _json(asdict(compare_trees(row.context, row.gold, row.sql)))


def _json(value: Any, status: int = 200) -> Response:
    # In ASCII, because a model's answer may contain lone surrogates, which UTF-8 cannot encode.
    return Response(json.dumps(value, allow_nan=False, default=json_value), status, media_type="application/json")
