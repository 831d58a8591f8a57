"""The explorer of a run as one file: complete, the same bytes each time, and in a browser without a server."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.explorer.test_browser import amount, opened
from tests.support.synthetic import HOSTILE, make_run
from text2sql.explorer import single_file
from text2sql.explorer.single_file import render, write_questions
from text2sql.runs.directory import RunDirectory


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("single")
    make_run(directory)
    write_questions(directory)
    return directory


def held(page: str) -> Any:
    """What is packed into a page."""
    found = re.search(r'id="run">([^<]+)<', page)
    assert found
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


def test_every_answer_is_in_the_file(run: Path) -> None:
    page = (run / "questions.html").read_text(encoding="utf-8")
    answers = held(page)["answers"]
    written = {path.stem.removeprefix("predictions-") for path in run.glob("predictions-*.jsonl")}
    assert answers.keys() == written
    for label in written:
        asked = RunDirectory(run).predictions(label)
        own = answers[label]
        assert [row[1] for row in own["rows"]] == [row.id for row in asked]
        for (offset, *_), row in zip(own["rows"], asked, strict=True):
            assert own["answer"][str(offset)]["raw"] == row.raw
        assert len(own["clauses"]) == len(asked)
        assert any(own["diff"].values()) == any(not row.correct for row in asked)
    assert render(run) == page


def test_nothing_of_a_model_is_outside_of_what_is_packed(run: Path) -> None:
    page = (run / "questions.html").read_text(encoding="utf-8")
    assert any(HOSTILE in row.sql for row in RunDirectory(run).predictions("base"))
    assert HOSTILE not in page and "evil.example" not in page
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert policy and "default-src 'none'" in policy[1] and "unsafe-eval" not in policy[1]
    assert "'unsafe-inline'" not in policy[1].partition("script-src")[2].partition(";")[0]


def test_without_room_the_list_is_whole_all_the_same(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_file, "_ROOM", 1)
    answers = held(render(run))["answers"]
    assert sum(len(own["answer"]) for own in answers.values()) == 1
    assert len(answers["tuned"]["rows"]) == len(RunDirectory(run).predictions("tuned"))


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (390, "dark")])
def test_it_filters_searches_and_opens_without_a_server(run: Path, browser: Any, width: int, scheme: str) -> None:
    for page in opened(browser, (run / "questions.html").as_uri(), width, scheme):
        total = len(RunDirectory(run).predictions("tuned"))
        amount(page, f"{total} questions")
        page.fill("input[type=search]", "no such words anywhere")
        amount(page, f"0 of {total} questions")
        page.fill("input[type=search]", "")
        amount(page, f"{total} questions")
        page.locator("body").press("Escape")
        page.keyboard.press("j")
        page.wait_for_selector(".panel .sql")
        assert "id=" in page.url
        page.locator("summary", has_text="Difference by tree").first.click()
        page.wait_for_selector(".trees .pair")
