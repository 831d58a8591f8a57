"""The page in a real browser: filters, questions, links, keys, downloads, a run that goes on, and a silent console."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import pytest

from tests.explorer.conftest import lay_out
from tests.support.browser import CONTRAST, amount, expect, opened
from tests.support.synthetic import HOSTILE, predictions
from text2sql.report import write_report


@pytest.fixture(scope="module")
def address(serve: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(serve(lay_out(tmp_path_factory.mktemp("shown"))))


@pytest.fixture(params=[(1400, "light"), (390, "dark")], ids=["wide-light", "phone-dark"])
def page(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page that says nothing on the console, loads nothing from elsewhere, and is no wider than the window."""
    width, scheme = request.param
    yield from opened(browser, address, width, scheme)


def state(page: Any) -> dict[str, str]:
    return {key: value for key, (value,) in parse_qs(page.url.partition("#")[2]).items()}


def filter_by(page: Any, key: str, value: str) -> None:
    bar = page.locator(f'[data-key="{key}"][data-value="{value}"]')
    if not bar.is_visible():
        page.locator(".facets summary", has_text={"status": "Verdict", "outcome": "Outcome"}[key]).click()
    bar.click()


def test_from_the_list_to_an_answer_and_back(page: Any) -> None:
    expect(page.locator("tr.problem")).to_contain_text("summary.json is damaged")
    expect(page.locator(".others")).to_contain_text("photos: No run")
    page.get_by_role("link", name="llama").click()
    amount(page, "200 questions")
    expect(page.locator(".chart canvas")).to_have_count(2)
    filter_by(page, "outcome", "won")
    amount(page, "113 of 200 questions")
    filter_by(page, "status", "a:error")
    shown = page.locator(".tools .amount").inner_text()
    assert re.fullmatch(r"\d+ of 200 questions", shown) and shown != "113 of 200 questions"
    page.locator(".tabulator-row").nth(2).click()
    detail = page.locator(".detail")
    expect(detail.locator("h3")).to_have_count(2)
    expect(detail).to_contain_text("no such column: wage")
    detail.locator(".copy").first.click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("SELECT name FROM employees WHERE salary >")
    detail.locator("summary", has_text="Difference by tree").first.click()
    expect(detail.locator(".trees .legend")).not_to_be_empty()
    found = state(page)
    assert (found["outcome"], found["status"]) == ("won", "a:error") and found["id"].startswith("synthetic/")
    detail.get_by_role("button", name="Close the question").click()
    expect(detail).to_have_count(0)
    page.go_back()
    amount(page, "113 of 200 questions")
    page.locator("#home").click()
    expect(page.locator("tr.problem")).to_have_count(1)


def test_a_link_leads_to_the_same_view(page: Any, address: str) -> None:
    link = f"{address}/#run=llama&status={quote('b:different')}&sort=id&dir=desc&q=wage&id={quote('synthetic/0120')}"
    page.goto(link.replace("q=wage", "q=employees"))
    amount(page, "18 of 200 questions")
    expect(page.locator(".chip")).to_have_count(2)
    expect(page.locator(".detail")).to_be_visible()
    ids = page.locator('.tabulator-row [tabulator-field="id"]').all_inner_texts()
    assert not ids or ids == sorted(ids, reverse=True)


@pytest.mark.slow
def test_by_keyboard_alone(browser: Any, address: str) -> None:
    for page in opened(browser, f"{address}/#run=llama"):
        amount(page, "200 questions")
        page.keyboard.press("/")
        page.keyboard.type("more than 10?")
        amount(page, "1 of 200 questions")
        page.keyboard.press("Escape")
        page.keyboard.press("Escape")
        amount(page, "200 questions")
        for key, expected in (("j", "0000"), ("j", "0001"), ("k", "0000")):
            page.keyboard.press(key)
            expect(page.locator(".detail .tag").first).to_contain_text(f"synthetic/{expected}")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.className") == "detail"
        page.keyboard.press("Escape")
        expect(page.locator(".detail")).to_have_count(0)


@pytest.mark.slow
def test_what_is_downloaded_is_what_is_shown(browser: Any, address: str, tmp_path: Path) -> None:
    for page in opened(browser, f"{address}/#run=llama&outcome=lost"):
        amount(page, "8 of 200 questions")
        files = {}
        for kind in ("csv", "json"):
            with page.expect_download() as download:
                page.locator(f'[data-kind="{kind}"]').click()
            download.value.save_as(tmp_path / kind)
            assert download.value.suggested_filename == f"llama.{kind}"
            files[kind] = (tmp_path / kind).read_text(encoding="utf-8-sig")
        rows = list(csv.DictReader(files["csv"].splitlines()))
        assert len(rows) == len(json.loads(files["json"])) == 8
        for row in rows:
            assert (row["base right"], row["tuned right"]) == ("true", "false")
            assert row["question"] and row["gold"].startswith("SELECT") and row["tuned query"]


@pytest.mark.slow
def test_a_run_that_goes_on_grows_in_the_page(browser: Any, serve: Any, tmp_path: Path) -> None:
    directory = lay_out(tmp_path)
    answers = directory / "llama" / "predictions-tuned.jsonl"
    more = [json.dumps({**row, "id": f"later/{row['id']}"}) + "\n" for row in predictions("tuned", [False] * 3)]
    for page in opened(browser, serve(directory) + "/#run=llama"):
        amount(page, "200 questions")
        with answers.open("a") as appending:
            appending.write(more[0] + more[1][:80])
        amount(page, "201 questions")
        with answers.open("a") as appending:
            appending.write(more[1][80:] + more[2])
        amount(page, "203 questions")
        with (directory / "llama" / "metrics.jsonl").open("a") as appending:
            appending.write('{"step": 350, "validation_loss": 0.2}\n{"step"')
        expect(page.locator(".chart").first).to_have_attribute("aria-label", re.compile("to 350"))
        answers.write_text("".join(more))
        # The base model's 200, and these.
        expect(page.locator(".facets")).to_contain_text("one answer")
        (directory / "llama" / "predictions-start.jsonl").write_text(more[0])
        expect(page.locator("select").first.locator("option")).to_have_count(3)


@pytest.mark.slow
def test_runs_side_by_side(browser: Any, address: str) -> None:
    for page in opened(browser, address):
        for name in ("llama", "sweep/seed-0"):
            page.get_by_label(f"Choose {name}").check()
        page.get_by_role("button", name="Compare 2 runs").click()
        expect(page.locator("h1")).to_be_visible(timeout=60_000)
        expect(page.locator("svg").first).to_be_visible()


@pytest.mark.slow
def test_the_report_is_one_click_away(browser: Any, serve: Any, tmp_path: Path) -> None:
    directory = lay_out(tmp_path)
    write_report(directory / "llama")
    for page in opened(browser, serve(directory) + "/#run=llama"):
        page.get_by_role("link", name="Report").click()
        page.get_by_role("link", name="All of them").first.click()
        amount(page, "113 of 200 questions")
        expect(page.locator("#curves canvas").first).to_be_attached()


@pytest.mark.slow
def test_hostile_answers_are_text(browser: Any, address: str) -> None:
    for page in opened(browser, f"{address}/#run=llama&q={quote('<script')}"):
        expect(page.locator(".tabulator-row").first).to_be_visible()
        page.locator(".tabulator-row").first.click()
        expect(page.locator(".detail .facts").first).to_be_visible()
        shown = HOSTILE.replace("\x00", "\\u0000").replace("\u202e", "\\u202e")
        assert shown in page.locator(".detail pre").all_text_contents()
        assert page.locator("main script, main img").count() == 0


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_every_text_can_be_read(browser: Any, address: str, width: int, scheme: str) -> None:
    for page in opened(browser, address, width, scheme):
        expect(page.locator("tr.problem")).to_be_visible()
        assert page.evaluate(CONTRAST) == []
        page.goto(f"{address}/#run=llama&status=b%3Adifferent")
        amount(page, "18 of 200 questions")
        assert page.evaluate(CONTRAST) == []
        page.locator(".tabulator-row").first.click()
        page.locator(".detail summary", has_text="Difference by tree").first.click()
        expect(page.locator(".trees .legend").first).not_to_be_empty()
        assert page.evaluate(CONTRAST) == []
