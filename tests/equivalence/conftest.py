"""Shared data for the evaluator's tests; where it is absent the tests that need it skip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def equivalence_pairs(shared_data: Path) -> list[dict[str, Any]]:
    return _lines(shared_data / "equivalence_dev.jsonl")


@pytest.fixture(scope="session")
def traps(shared_data: Path) -> list[dict[str, Any]]:
    return _lines(shared_data / "evaluator_traps.jsonl")


@pytest.fixture(scope="session")
def cases(shared_data: Path) -> list[dict[str, Any]]:
    return _lines(shared_data / "cases" / "evaluator_pairs.jsonl")


@pytest.fixture(scope="session")
def create_context(shared_data: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads((shared_data / "sql_create_context.json").read_text())
    return rows


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
