"""A server on the tiny model, and configurations of runs against it through the real SDK."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.tinker.client_futures import SDK_RETURNS_FUTURES
from tests.backends.server.conftest import server, start_server  # noqa: F401  (fixtures)
from tests.support.quick_runs import quick  # noqa: F401  (fixture)
from tests.support.running import KEY, Running
from tests.support.tiny_runs import rows, write_jsonl
from text2sql.config import Config

# Programs against the plain SDK are written for one whose every call returns a future.
plain_sdk = pytest.mark.skipif(not SDK_RETURNS_FUTURES, reason="tinker makes clients without a future before 0.38")
PRICES = {"train": 1.0, "prefill": 0.5, "sample": 2.0}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.delenv("TINKER_BASE_URL", raising=False)


def remote_values(directory: Path, url: str, tiny_model: str, **sections: Any) -> dict[str, Any]:
    data = directory / "rows.jsonl"
    if not data.exists():
        write_jsonl(data, rows(10, spellings=3))
    values: dict[str, Any] = {
        "name": "remote",
        "output_dir": str(directory / "run"),
        "backend": "tinker",
        "base_model": tiny_model,
        "lora": {"rank": 4},
        "data": {"source": str(data), "test_size": 6},
        "training": {"batch_size": 6, "learning_rate": 1e-2, "checkpoint_every": 2},
        "evaluation": {
            "concurrency": 4,
            "workers": 1,
            "databases": 2,
            "max_new_tokens": 8,
            "max_unusable_golds": 1,
            "novel_questions": False,
        },
        "local": {"device": "cpu"},
        "tinker": {"base_model": "tiny", "base_url": url, "tokenizer": tiny_model, "prices": PRICES},
    }
    for key_, value in sections.items():
        values[key_] = {**values.get(key_, {}), **value} if isinstance(value, dict) else value
    return values


@pytest.fixture
def remote_config(server: Running, tiny_model: str, tmp_path: Path) -> Callable[..., Config]:  # noqa: F811
    """Makes configurations of runs against the server; keyword arguments change sections."""

    def make(directory: Path = tmp_path, **sections: Any) -> Config:
        return Config.model_validate(remote_values(directory, server.url, tiny_model, **sections))

    return make
