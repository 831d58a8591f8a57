"""The report of a whole run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.report_pages import Page
from tests.support.synthetic import make_run
from text2sql.report import write_report


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = make_run(tmp_path_factory.mktemp("whole"))
    write_report(directory)
    return directory


@pytest.fixture(scope="module")
def page(whole: Path) -> Page:
    return Page((whole / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def run_dir(whole: Path, tmp_path: Path) -> Path:
    """A copy of the inputs of the whole run, free to be spoiled."""
    for path in whole.iterdir():
        if path.is_file() and path.name != "report.html":
            shutil.copy(path, tmp_path)
    return tmp_path
