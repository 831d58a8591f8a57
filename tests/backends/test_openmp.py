"""How idle threads wait is set before PyTorch is loaded, and never against the user."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest

from backends import openmp

# What of it a program sees when PyTorch is loaded, by the command line and by the library.
COMMAND = """
import builtins, json, os, sys
from text2sql.cli import main
sys.argv = ["text2sql", "--version"]
try:
    main()
except SystemExit:
    pass
print(json.dumps([os.environ.get("GOMP_SPINCOUNT"), "torch" in sys.modules]))
"""
LIBRARY = """
import json, os, sys
from backends import open_backend
real, seen = __import__, []
def watch(name, *arguments, **named):
    if name == "torch" and not seen:
        seen.append(os.environ.get("GOMP_SPINCOUNT"))
    return real(name, *arguments, **named)
import builtins
builtins.__import__ = watch
open_backend("local").close()
print(json.dumps([seen[0], True]))
"""


def run(program: str, **environment: str) -> list[object]:
    kept = {name: value for name, value in os.environ.items() if name not in openmp.VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", program], env=kept | environment, capture_output=True, text=True, check=True
    )
    found: list[object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_command_line_sets_it_before_torch_is_loaded() -> None:
    assert run(COMMAND) == [str(openmp.SPIN_COUNT), False]


def test_the_library_sets_it_before_torch_is_loaded() -> None:
    assert run(LIBRARY) == [str(openmp.SPIN_COUNT), True]


@pytest.mark.parametrize(("setting", "seen"), [({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)])
def test_what_the_environment_says_is_kept(setting: dict[str, str], seen: str | None) -> None:
    assert run(COMMAND, **setting)[0] == seen


def test_where_torch_is_loaded_nothing_is_set_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import torch  # noqa: F401

    for name in openmp.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with caplog.at_level(logging.INFO, logger="text2sql.local"):
        openmp.limit_spin()
    assert "GOMP_SPINCOUNT" not in os.environ
    assert "GOMP_SPINCOUNT=" in caplog.text
