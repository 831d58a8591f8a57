"""The benchmark of training says which contender has died, and of what."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import pytest

from tests.support.repository import REPOSITORY


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts"))
    return importlib.import_module("bench_train")


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("raise SystemExit(3)", r"trl ended with status 3"),
        ("import os; os.kill(os.getpid(), 9)", r"trl was ended by SIGKILL\. Was the memory full"),
    ],
)
def test_a_contender_that_has_died_is_named(bench: Any, ending: str, said: str) -> None:
    program = f"print({bench.MARK + '{}'!r}, flush=True); {ending}"
    worker = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        # It is loaded; then it dies, and nobody reads what it is told.
        assert bench.answer(worker, "trl") == {}
        worker.wait()
        with pytest.raises(SystemExit, match=said):
            bench.ask(worker, "trl")
    finally:
        worker.kill()
        worker.stdout.close()
