"""Runs that take no time, for trackers to watch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny_runs import judge_by_words


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge by text, and write a report of one line."""

    def report(run: Path) -> Path:
        page = run / "report.html"
        page.write_text("<p>Report</p>")
        return page

    judge_by_words(monkeypatch)
    monkeypatch.setattr("text2sql.report.write_report", report)
