"""The fixture for runs whose evaluation and report are not what is tested."""

from __future__ import annotations

import pytest

from tests.support.tiny_runs import judge_by_words


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare answers as texts, and write no report."""
    judge_by_words(monkeypatch)
    monkeypatch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")
