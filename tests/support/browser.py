"""A browser without a window, for pages as their viewers see them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
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
