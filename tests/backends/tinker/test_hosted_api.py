"""The hosted service itself: `pytest -m tinker_api`, with TINKER_API_KEY and the network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.tiny_runs import read_jsonl, tiny_config
from text2sql.pipeline.run import run_pipeline

pytestmark = [
    pytest.mark.tinker_api,
    pytest.mark.skipif("TINKER_API_KEY" not in os.environ, reason="no TINKER_API_KEY"),
]


def test_a_small_run(tmp_path: Path) -> None:
    """On $TINKER_TEST_MODEL, or an 8B model."""
    model = os.environ.get("TINKER_TEST_MODEL", "Qwen/Qwen3-8B")
    training = {"batch_size": 4, "max_steps": 4, "learning_rate": 1e-3}
    directory = run_pipeline(
        tiny_config(tmp_path, backend="tinker", base_model=model, training=training, tinker={"max_cost": 0.05})
    )
    losses = [row["loss"] for row in read_jsonl(directory / "metrics.jsonl")]
    assert len(losses) == 4 and losses[-1] < losses[0]
    assert (directory / "adapter" / "adapter_model.safetensors").is_file()
