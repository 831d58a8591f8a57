"""Metrics to TensorBoard, Weights & Biases and trackio."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from text2sql.config import Config, TrackingConfig
from text2sql.errors import UserError
from text2sql.training.trackers import open_trackers

ROWS = [
    {"step": 1, "loss": 2.5, "learning_rate": 1e-3, "grad_norm": None},
    {"step": 2, "loss": 1.5, "learning_rate": 5e-4, "grad_norm": 3.0},
    {"step": 2, "validation_loss": 1.75},
]


def test_tensorboard_files_hold_every_number(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = open_trackers(Config(tracking=TrackingConfig(tensorboard=True)), tmp_path)
    for row in ROWS:
        log(row)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 2.5), (2, 1.5)]
    assert [(e.step, e.value) for e in events.Scalars("validation_loss")] == [(2, 1.75)]
    assert [e.step for e in events.Scalars("grad_norm")] == [2]  # None is no number


@pytest.mark.parametrize("package", ["wandb", "trackio"])
def test_experiment_trackers_get_the_configuration_and_every_number(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their packages need an account or a server: their shared interface is stood in for."""
    calls: list[Any] = []

    def init(**arguments: Any) -> Any:
        calls.append(arguments)
        return SimpleNamespace(log=lambda numbers, step: calls.append((step, numbers)))

    monkeypatch.setitem(sys.modules, package, SimpleNamespace(init=init))
    config = Config(name="mine", tracking=TrackingConfig(**{f"{package}_project": "sql"}))
    log = open_trackers(config, tmp_path)
    for row in ROWS:
        log(row)
    assert (calls[0]["project"], calls[0]["name"]) == ("sql", "mine")
    assert calls[0]["config"]["training"]["batch_size"] == config.training.batch_size
    assert calls[1:] == [
        (1, {"loss": 2.5, "learning_rate": 1e-3}),
        (2, {"loss": 1.5, "learning_rate": 5e-4, "grad_norm": 3.0}),
        (2, {"validation_loss": 1.75}),
    ]


def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(UserError, match=r"tracking\.trackio_project needs the package trackio of the extra"):
        open_trackers(Config(tracking=TrackingConfig(trackio_project="sql")), tmp_path)
