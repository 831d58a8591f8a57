"""A run whose answers are known, its page on this machine, and a browser without a window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.web_origin import Hosts
from tests.support.browser import open_browser
from tests.support.tiny_runs import judge_by_words, tiny_config
from text2sql.demo.example import QUESTION, write_example
from text2sql.demo.page import build_page, launch_options
from text2sql.demo.session import Session
from text2sql.demo.storage import Storage, open_storage
from text2sql.inference.ask import open_answerer
from text2sql.pipeline.run import run_pipeline
from text2sql.runs.directory import RunDirectory

GOODS = "CREATE TABLE goods (name TEXT, price REAL)"
# Names that the browser takes for this machine, as an attacker's name server can have it.
OTHER_NAMES = ("page.example", "rebound.example")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the fake backend that knows some answers on the example shop and on goods."""
    directory = tmp_path_factory.mktemp("demo")
    session = Session(directory)
    schema = session.open_file(write_example(directory)).schema
    session.close()
    known = {
        (schema, QUESTION): " SELECT COUNT(*) AS customers FROM customers WHERE city = 'Lisbon'",
        (schema, "Empty it!"): " DELETE FROM orders",
        (GOODS, "Which are dear?"): " SELECT nmae FROM goods WHERE price > 100",
    }
    answers = {f"Table schema:\n{s}\nQuestion: {q}\nSQL: ": f"{sql}\n\n" for (s, q), sql in known.items()}
    with pytest.MonkeyPatch.context() as patch:
        judge_by_words(patch)
        patch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")
        return run_pipeline(tiny_config(directory, fake={"answers": answers}))


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    """Where the page keeps visitors' files."""
    with open_storage() as storage:
        yield storage


@pytest.fixture(scope="module")
def address(run: Path, storage: Storage) -> Iterator[str]:
    """The page, served on this machine."""
    pytest.importorskip("gradio")
    with pytest.MonkeyPatch.context() as patch, open_answerer(run) as answerer:
        patch.setenv("GRADIO_TEMP_DIR", str(storage.uploads))
        patch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
        page = build_page(answerer, RunDirectory(run).summary(), storage)
        options = launch_options(Hosts("127.0.0.1", ["demo.example"], "--allowed-host NAME"), storage)
        _, where, _ = page.launch(prevent_thread_lock=True, quiet=True, share=False, **options)
        yield where
        page.close(verbose=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    with open_browser(OTHER_NAMES) as chromium:
        yield chromium
