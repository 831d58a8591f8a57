"""The loss that a configuration names is the one that the loop asks the backend for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backends.fake import FakeTrainingClient
from backends.losses import LOSSES, Loss
from tests.support.tiny_runs import tiny_config
from text2sql.pipeline.run import run_pipeline


def test_the_configured_loss_reaches_the_backend_with_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    compute = FakeTrainingClient.forward_backward

    def forward_backward(self: Any, data: Any, loss_fn: str, loss_fn_config: Any = None) -> Any:
        asked.append((loss_fn, loss_fn_config))
        return compute(self, data, loss_fn, loss_fn_config)

    monkeypatch.setattr(FakeTrainingClient, "forward_backward", forward_backward)
    flat = Loss("flat", lambda lp, inputs, settings: lp, optional={"weights": 1.0}, settings={"slope": 1.0})
    monkeypatch.setitem(LOSSES, "flat", flat)
    run_pipeline(tiny_config(tmp_path, training={"loss": "flat", "loss_config": {"slope": 2}}), stages=("train",))
    assert asked and set(map(str, asked)) == {"('flat', {'slope': 2.0})"}
