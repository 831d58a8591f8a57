"""A directory with runs of every kind, and the page over it."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import open_browser
from tests.support.synthetic import make_run

fastapi = pytest.importorskip("fastapi", reason="the extra server is not installed")


def lay_out(directory: Path) -> Path:
    """Two whole runs, one of them in a sweep; one that is damaged; and what is no run."""
    for name in ("llama", "sweep/seed-0", "broken", "photos"):
        (directory / name).mkdir(parents=True)
    make_run(directory / "llama")
    make_run(directory / "sweep" / "seed-0", n=40)
    shutil.copy(directory / "llama" / "config.yaml", directory / "broken")
    (directory / "broken" / "summary.json").write_text('{"name": ')
    (directory / "broken" / "predictions-tuned.jsonl").write_text('{"id": 3}\nnonsense\n[]\n\n')
    (directory / "photos" / "one.png").write_bytes(b"\x89PNG")
    return directory


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that nobody changes."""
    return lay_out(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def own_runs(runs: Path, tmp_path: Path) -> Path:
    """A copy of them, free to be changed."""
    return Path(shutil.copytree(runs, tmp_path / "runs"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    with open_browser() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def serve() -> Iterator[Any]:
    """Serves the page over a directory, and says at which address."""
    import uvicorn

    from backends.web_origin import Hosts
    from text2sql.explorer.app import create_app
    from text2sql.explorer.serve import HOST, listen

    started = []

    def start(directory: Path) -> str:
        listening = listen(0)
        server = uvicorn.Server(uvicorn.Config(create_app(directory, Hosts(HOST, (), "")), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        started.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        return f"http://{HOST}:{listening.getsockname()[1]}"

    yield start
    for server, thread in started:
        server.should_exit = True
        thread.join(10)
