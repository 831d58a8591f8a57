"""A browser without a window, for pages as their viewers see them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Of every visible text the contrast with what is behind it, by WCAG 2.2; the lowest of each kind of element.
CONTRAST = Path(__file__).with_name("contrast.js").read_text()
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip


@contextmanager
def open_browser(names: Sequence[str] = ()) -> Iterator[Any]:
    """Chromium, driven by playwright; the test is skipped where there is none.

    Args:
        names: Names that the browser takes for this machine, as an attacker's name server can have it.
    """
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    rules = ", ".join(f"MAP {name} 127.0.0.1" for name in names)
    with playwright.sync_playwright() as player:
        chromium = player.chromium.launch(
            executable_path=CHROMIUM, args=[*QUIET, *([f"--host-resolver-rules={rules}"] if rules else [])]
        )
        yield chromium
        chromium.close()


def opened(browser: Any, address: str, width: int = 1400, scheme: str = "light") -> Iterator[Any]:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page, said, foreign = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    own = (address.partition("#")[0].rstrip("/"), "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(own) else foreign.append(request.url))
    page.set_default_timeout(15_000)
    page.goto(address)
    yield page
    assert (said, foreign) == ([], [])
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def expect(place: Any) -> Any:
    from playwright.sync_api import expect

    return expect(place)


def amount(page: Any, text: str) -> None:
    expect(page.locator(".tools .amount")).to_have_text(text)
