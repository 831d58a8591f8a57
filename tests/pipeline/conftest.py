"""What the tests of a run share."""

from __future__ import annotations

import pytest

from tests.support.tiny_runs import judge_by_words


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge by text and write no report: for tests of what is around them."""
    judge_by_words(monkeypatch)
    monkeypatch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")
