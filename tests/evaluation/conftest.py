"""Shared data for the evaluator's tests; where it is absent the tests that need it skip."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

_DATA = Path(os.environ.get("TEXT2SQL_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    if not _DATA.is_dir():
        pytest.skip("the shared data is absent: set TEXT2SQL_DATA to its folder")
    return _DATA


@pytest.fixture(scope="session")
def equivalence_pairs(data_dir: Path) -> list[dict[str, Any]]:
    return _lines(data_dir / "equivalence_dev.jsonl")


@pytest.fixture(scope="session")
def traps(data_dir: Path) -> list[dict[str, Any]]:
    return _lines(data_dir / "evaluator_traps.jsonl")


@pytest.fixture(scope="session")
def create_context(data_dir: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads((data_dir / "sql_create_context.json").read_text())
    return rows


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
