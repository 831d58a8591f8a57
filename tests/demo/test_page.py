"""The page in a real browser: Chromium, driven by playwright, on a run whose answers are known."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backends.fake import FakeSamplingClient
from tests.demo.conftest import GOODS
from text2sql.demo.actions import UPDATE_SECONDS
from text2sql.demo.example import NAME, QUESTION
from text2sql.demo.page import serve_demo
from text2sql.errors import UserError
from text2sql.inference.ask import open_answerer


@pytest.fixture(params=[1200, 390], ids=["wide", "phone"])
def page(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page, opened; nothing of it may come from another host, and it must not be wider than the window."""
    context = browser.new_context(viewport={"width": request.param, "height": 860})
    opened, foreign, errors = context.new_page(), [], []
    opened.on("request", lambda r: foreign.append(r.url) if not r.url.startswith((address, "data:", "blob:")) else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.set_default_timeout(15_000)
    opened.goto(address)
    opened.wait_for_selector("#question textarea")
    yield opened
    assert opened.evaluate("document.documentElement.scrollWidth") <= request.param
    assert (foreign, errors) == ([], [])
    context.close()


def text(page: Any, selector: str, expected: str) -> None:
    """Wait until a place of the page says this."""
    page.wait_for_function("([s, t]) => document.querySelector(s)?.innerText.includes(t)", arg=[selector, expected])


@pytest.mark.slow
def test_the_example_is_asked_in_one_click_and_its_rows_can_be_saved(page: Any) -> None:
    page.click("#example")
    text(page, "#tuned-result", "1 row")
    with page.expect_download() as saving:
        page.click("#tuned-result a.save")
    saved = saving.value
    assert saved.suggested_filename == "rows.csv"
    assert Path(saved.path()).read_text(encoding="utf-8-sig").splitlines() == ["customers", "3"]


@pytest.mark.slow
def test_ask_see_edit_run_and_go_back(page: Any) -> None:
    text(page, "header", "held-out questions")
    page.get_by_label("Both").check()
    page.click("#example")
    text(page, "#about", NAME)
    text(page, "#base-result", "1 row")
    text(page, "#tuned-result", "1 row")
    text(page, "#tuned-result td", "3")
    text(page, "#base-result", "1 row")
    # Highlighted.
    page.wait_for_function("document.querySelectorAll('#tuned-sql .cm-content span').length > 2")
    editor = page.locator("#tuned-sql .cm-content")
    editor.click()
    page.keyboard.press("Control+A")
    page.keyboard.type("SELECT nme FROM customers")
    page.click("#tuned-run")
    text(page, "#tuned-result", "There is no column nme in the schema. Did you mean name?")
    editor.click()
    page.keyboard.press("Control+A")
    page.keyboard.type("SELECT name FROM customers ORDER BY 1")
    page.keyboard.press("Control+Enter")
    text(page, "#tuned-result", "Alba")
    page.fill("#question textarea", "Empty it!")
    page.get_by_label("Tuned model").check()
    page.keyboard.press("Tab")
    page.click("#ask")
    text(page, "#tuned-result", "Refused")
    assert not page.locator("#base-answer").is_visible()
    page.click("#history button")
    page.locator("#earlier label", has_text=QUESTION).click()
    text(page, "#tuned-result", "1 row")
    assert page.input_value("#question textarea") == QUESTION


@pytest.fixture
def halted(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Answers stop after their first words until this is set."""
    go_on, written = threading.Event(), FakeSamplingClient.stream

    def halting(self: Any, *asked: Any) -> Any:
        tokens = written(self, *asked)
        for _ in range(len(" SELECT COUNT(*)")):
            yield next(tokens)
        time.sleep(2 * UPDATE_SECONDS)
        yield next(tokens)
        assert go_on.wait(30)
        return (yield from tokens)

    monkeypatch.setattr(FakeSamplingClient, "stream", halting)
    return go_on


@pytest.mark.slow
def test_an_answer_appears_as_it_is_written(page: Any, halted: threading.Event) -> None:
    page.click("#example")
    text(page, "#about", NAME)
    text(page, "#tuned-sql .cm-content", "SELECT COUNT(*)")
    assert "FROM" not in page.inner_text("#tuned-sql .cm-content") and not page.locator("#tuned-run").is_visible()
    halted.set()
    text(page, "#tuned-result", "1 row")
    text(page, "#tuned-sql .cm-content", "FROM customers")


@pytest.mark.slow
def test_an_answer_can_be_stopped_and_asked_for_again(page: Any, halted: threading.Event) -> None:
    page.click("#example")
    text(page, "#about", NAME)
    text(page, "#tuned-sql .cm-content", "SELECT COUNT(*)")
    page.click("#stop")
    text(page, "#status", "Stopped.")
    assert "SELECT COUNT(*)" in page.inner_text("#tuned-sql .cm-content") and page.locator("#tuned-run").is_visible()
    halted.set()
    # Gradio takes no question while it is still calling the last one off.
    page.wait_for_timeout(1000)
    page.click("#ask")
    text(page, "#tuned-result", "1 row")
    text(page, "#tuned-sql .cm-content", "FROM customers")


@pytest.mark.slow
def test_by_keyboard_alone(page: Any) -> None:
    page.locator("#schema textarea").focus()
    page.keyboard.insert_text(GOODS)
    page.locator("#question textarea").focus()
    page.keyboard.type("Which are dear?")
    page.keyboard.press("Enter")
    text(page, "#tuned-result", "There is no column nmae in the schema. Did you mean name?")
    page.locator("#ask").focus()
    page.keyboard.press("Enter")
    text(page, "#status", "Tuned model:")
    assert page.evaluate("document.activeElement.id") == "ask"
    page.locator("#tuned-sql .cm-content").focus()
    # Out of the editor.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "tuned-run"
    page.keyboard.press("Enter")
    text(page, "#tuned-result", "no column nmae")


@pytest.mark.slow
def test_files_and_mistakes(page: Any, tmp_path: Path) -> None:
    page.click("#ask")
    text(page, "#status", "Write the CREATE TABLE statements")
    upload = page.locator("#file input[type=file], input#file, input[type=file]").first
    (tmp_path / "notes.db").write_text("no database")
    upload.set_input_files(tmp_path / "notes.db")
    text(page, "#about", "notes.db is neither a SQLite database nor a CSV file")
    # As long as the URL of a server, and without a place to break it.
    name = "goods" * 12 + ".csv"
    (tmp_path / name).write_text("name,price\nlamp,39.5\ndesk,240\n")
    upload.set_input_files(tmp_path / name)
    text(page, "#about", f"{name}: its rows can be queried")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert "goods" in page.input_value("#schema textarea")
    page.click("#ask")
    text(page, "#status", "Write a question first.")
    page.fill("#question textarea", "Anything?")
    page.click("#ask")
    # SELECT 1, the fake's answer to what it has not seen.
    text(page, "#tuned-result", "1 row")
    assert page.input_value("#question textarea") == "Anything?"
    page.click("#forget")
    page.wait_for_selector("#forget", state="hidden")
    page.fill("#schema textarea", "nonsense")
    page.click("#ask")
    text(page, "#status", "There is no table in this schema")


@pytest.mark.slow
def test_a_file_that_is_too_large_is_refused_by_name(page: Any, tmp_path: Path) -> None:
    sent: list[str] = []
    page.on("request", lambda r: sent.append(r.url) if "upload" in r.url else None)
    text(page, "#about", "a CSV of up to 50 MB")
    for name, limit in (("huge.csv", "a CSV file may have at most 50 MB"), ("huge.db", "may have at most 500 MB")):
        with (tmp_path / name).open("wb") as file:
            # A sparse file takes no space on the disk.
            file.truncate(10**9)
        page.locator("input[type=file]").first.set_input_files(tmp_path / name)
        text(page, "#about", f"{name} has 1,000 MB; a")
        text(page, "#about", limit)
    # It never left the browser.
    assert not sent


def test_a_port_that_is_taken_and_a_run_that_is_none(run: Path, tmp_path: Path) -> None:
    before = threading.active_count()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port: 127.0.0.1:{port} cannot be used"):
            serve_demo(run, "127.0.0.1", port, share=False)
    with pytest.raises(UserError, match="There is no run in"):
        serve_demo(tmp_path, "127.0.0.1", port, share=False)
    # Nothing was started that still runs; threads of earlier tests may have ended.
    assert threading.active_count() <= before + 5


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1"])
def test_a_host_that_is_not_this_machine_is_named(run: Path, host: str) -> None:
    with pytest.raises(UserError, match=f"--host: {host} is no address of this machine"):
        serve_demo(run, host, 7860, share=False)


def test_the_page_listens_on_this_machine_and_is_not_shared(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gradio = pytest.importorskip("gradio")
    asked: dict[str, Any] = {}

    def launch(self: Any, **options: Any) -> tuple[None, str, None]:
        asked.update(options)
        return None, "http://127.0.0.1:7860", None

    monkeypatch.setattr(gradio.Blocks, "launch", launch)
    monkeypatch.setattr(gradio.Blocks, "block_thread", lambda self: None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    from text2sql.cli import app

    assert CliRunner().invoke(app, ["demo", str(run), "--port", str(port)]).exit_code == 0
    assert (asked["server_name"], asked["share"], asked["footer_links"]) == ("127.0.0.1", False, [])
    fonts = asked["theme"]
    assert "googleapis" not in str(fonts._stylesheets) and not fonts._stylesheets


def test_a_prompt_that_is_too_long_is_refused_by_its_length(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("text2sql.inference.ask.context_length", lambda service, model: 400)
    with open_answerer(run) as answerer:
        with pytest.raises(UserError, match=r"tokens long; with 150 for the answer they do not fit the 400 tokens"):
            answerer.answer("Which are dear?", GOODS * 20, "tuned")
        assert answerer.answer("Which are dear?", GOODS, "base").sql == "SELECT nmae FROM goods WHERE price > 100"


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1"])
def test_the_server_names_such_a_host_too(host: str) -> None:
    from backends.interface import BackendError
    from backends.server.main import listen

    with pytest.raises(BackendError, match=f"Cannot listen on {host}: it is no address of this machine"):
        listen(host, 0)
