"""A program asks what a backend can do, never for its name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from backends import open_backend
from backends.capabilities import BACKENDS, Backend, capabilities_of
from backends.fake import FakeServiceClient
from backends.interface import BackendError
from backends.local.service import LocalServiceClient
from backends.tinker.remote import RemoteServiceClient
from tests.support.tiny_runs import tiny_config
from text2sql.pipeline.run import run_pipeline

ROOT = Path(__file__).parents[2]


def test_they_are_known_without_opening_a_backend() -> None:
    code = (
        "import sys; from backends.capabilities import BACKENDS; assert BACKENDS['local'].capabilities.runs_locally; "
        "print([name for name in ('torch', 'tinker', 'transformers') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_service_client_carries_its_own() -> None:
    clients = {"local": LocalServiceClient, "tinker": RemoteServiceClient, "fake": FakeServiceClient}
    assert {*clients} == {*BACKENDS}
    for name, client in clients.items():
        assert client.capabilities is BACKENDS[name].capabilities is capabilities_of(name)


def test_a_record_may_name_a_backend_that_is_no_more() -> None:
    assert capabilities_of("remote") is capabilities_of(None) is None
    with pytest.raises(BackendError, match='Did you mean "local"'):
        open_backend("locale")


def test_a_new_backend_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "memory", Backend("backends.fake:FakeServiceClient", BACKENDS["fake"].capabilities))
    config = tiny_config(tmp_path, backend="memory", evaluation={"baseline": True, "novel_questions": False})
    summary = json.loads((run_pipeline(config) / "summary.json").read_text())
    assert summary["backend"] == "memory" and summary["headline"]["tuned"]["accuracy"] == 1.0


def test_no_program_asks_for_the_name() -> None:
    asks = re.compile(r"""backend\w*["'\])]*\s*(==|!=|in|not in)\s*[("'{\[]""")
    found = [f"{file}: {line}" for file in (ROOT / "text2sql").rglob("*.py") for line in file.read_text().splitlines()
             if asks.search(line)]  # fmt: skip
    assert not found
