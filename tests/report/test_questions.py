"""The list of questions inside of a report: complete, the same bytes each time, and in a browser without a server."""

from __future__ import annotations

import base64
import csv
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.browser import CONTRAST, amount, expect, open_browser, opened
from tests.support.synthetic import HOSTILE, make_run
from text2sql.report.load import load_run
from text2sql.report.page import write_report
from text2sql.report.questions import packed
from text2sql.report.questions.packed import pack
from text2sql.runs.directory import RunDirectory


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    with open_browser() as chromium:
        yield chromium


def held(page: str) -> dict[str, Any]:
    """What is packed into a page, by the part's name."""
    found = re.findall(r'id="packed-([^"]+)">([^<]+)<', page)
    return {name: json.loads(gzip.decompress(base64.b64decode(text))) for name, text in found}


def test_every_answer_is_in_the_page(whole: Path) -> None:
    page = (whole / "report.html").read_text(encoding="utf-8")
    parts = held(page)
    labels = [own["label"] for own in parts["head"]["answers"]]
    assert set(labels) == {path.stem.removeprefix("predictions-") for path in whole.glob("predictions-*.jsonl")}
    details: dict[str, Any] = {}
    for name, part in parts.items():
        details |= part if name.startswith("details-") else {}
    for side, label in enumerate(labels):
        asked = RunDirectory(whole).predictions(label)
        own = parts[f"answers-{side}"]
        assert [row[1] for row in own["rows"]] == [row.id for row in asked]
        assert len(own["clauses"]) == len(asked)
        for place, row in enumerate(asked):
            found = details[str(place)][str(side)]
            assert found["answer"]["raw"] == row.raw
            assert ("diff" in found) == (bool(row.sql) and not row.correct)
    assert parts["head"]["charts"]


def test_the_pieces_are_those_that_the_page_asks_for(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_CHUNK_SIZE", 30)
    run = load_run(whole)
    found = pack(whole, run.name, run.metrics).parts
    pieces = [name for name in found if name.startswith("packed-details-")]
    assert len(pieces) == 7
    for number, name in enumerate(pieces):
        piece = json.loads(gzip.decompress(base64.b64decode(found[name])))
        assert {int(place) // 30 for place in piece} == {number}


def test_nothing_of_a_model_is_outside_of_what_is_packed_or_escaped(whole: Path) -> None:
    page = (whole / "report.html").read_text(encoding="utf-8")
    assert any(HOSTILE in row.sql for row in RunDirectory(whole).predictions("base"))
    assert HOSTILE not in page and "<img" not in page


def test_without_room_the_list_is_whole_all_the_same(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_MAX_DETAIL_CHARACTERS", 1)
    run = load_run(whole)
    parts = pack(whole, run.name, run.metrics).parts
    assert len([name for name in parts if "details" in name]) == 1
    listed = json.loads(gzip.decompress(base64.b64decode(parts["packed-answers-1"])))
    assert len(listed["rows"]) == len(RunDirectory(whole).predictions("tuned"))


def test_a_training_alone_has_its_curves(run_dir: Path) -> None:
    for path in run_dir.glob("predictions-*.jsonl"):
        path.unlink()
    page = write_report(run_dir).read_text(encoding="utf-8")
    assert held(page)["head"]["charts"] and 'id="curves"' in page and 'id="list"' not in page


@pytest.fixture(params=[(1400, "light"), (390, "dark")], ids=["wide-light", "phone-dark"])
def page(browser: Any, whole: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    width, scheme = request.param
    yield from opened(browser, (whole / "report.html").as_uri(), width, scheme)


def test_it_filters_searches_and_opens_without_a_server(page: Any, whole: Path) -> None:
    expect(page.locator("h1")).to_be_visible()
    assert page.locator("#packed-answers-0").count(), "nothing is unpacked before somebody comes near"
    page.locator("#questions").scroll_into_view_if_needed()
    amount(page, "200 questions")
    expect(page.locator("#packed-answers-0")).to_have_count(0)
    page.fill("input[type=search]", "no such words anywhere")
    amount(page, "0 of 200 questions")
    page.fill("input[type=search]", "")
    amount(page, "200 questions")
    page.locator("body").press("Escape")
    page.locator("#list").evaluate("list => list.scrollIntoView({behavior: 'instant'})")
    page.keyboard.press("j")
    page.wait_for_selector(".panel .sql")
    assert "id=" in page.url
    page.locator("summary", has_text="Difference by tree").first.click()
    page.wait_for_selector(".trees .pair")
    expect(page.locator(".witness").last).to_contain_text("A database that shows the difference")


@pytest.mark.slow
def test_links_lead_to_questions_and_to_sections(page: Any, whole: Path, tmp_path: Path) -> None:
    page.get_by_role("link", name="All of them").first.click()
    amount(page, "113 of 200 questions")
    with page.expect_download() as download:
        page.locator('[data-kind="csv"]').click()
    download.value.save_as(tmp_path / "csv")
    assert len(list(csv.DictReader((tmp_path / "csv").read_text(encoding="utf-8-sig").splitlines()))) == 113
    page.get_by_role("link", name="Cost", exact=True).click()
    expect(page.locator("#cost")).to_be_in_viewport()
    # A section is no filter: what was chosen stays.
    amount(page, "113 of 200 questions")
    page.goto("about:blank")
    page.goto((whole / "report.html").as_uri() + f"#outcome=lost&id={quote('synthetic/0120')}")
    amount(page, "8 of 200 questions")
    expect(page.locator(".tabulator-row").first).to_be_in_viewport()


@pytest.mark.slow
def test_curves_take_the_place_of_figures_where_scripts_run(page: Any) -> None:
    page.locator("#training").scroll_into_view_if_needed()
    expect(page.locator("#curves canvas").first).to_be_visible()
    expect(page.locator("figure.loss")).to_be_hidden()
    page.emulate_media(media="print")
    expect(page.locator("figure.loss")).to_be_visible()
    expect(page.locator("#questions")).to_be_hidden()


@pytest.mark.slow
def test_without_scripts_everything_else_is_there(browser: Any, whole: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((whole / "report.html").as_uri())
    expect(page.locator("figure.loss")).to_be_visible()
    expect(page.locator("#questions")).to_contain_text("needs JavaScript")
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_every_text_can_be_read(browser: Any, whole: Path, width: int, scheme: str) -> None:
    for page in opened(browser, (whole / "report.html").as_uri() + "#status=b%3Adifferent", width, scheme):
        amount(page, "18 of 200 questions")
        page.locator(".tabulator-row").first.click()
        page.locator(".detail summary", has_text="Difference by tree").first.click()
        expect(page.locator(".trees .legend").first).not_to_be_empty()
        assert page.evaluate(CONTRAST) == []


@pytest.mark.slow
def test_it_opens_at_once_with_many_answers(browser: Any, tmp_path: Path) -> None:
    make_run(tmp_path, n=5000)
    write_report(tmp_path)
    for page in opened(browser, (tmp_path / "report.html").as_uri()):
        assert page.evaluate("document.getElementsByClassName('tabulator').length") == 0
        page.locator("#questions").scroll_into_view_if_needed()
        amount(page, "5,000 questions")
        # No more rows than are in sight are drawn, and no details unpacked.
        assert page.locator(".tabulator-row").count() < 200
        assert page.evaluate("document.querySelectorAll('[id^=packed-details-]').length") == 20
