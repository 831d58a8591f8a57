"""A run with a trained tiny adapter, made once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_runs import tiny_config
from text2sql.pipeline.run import run_pipeline


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, make_tiny_model: Callable[..., Path]) -> Callable[..., Path]:
    """Trains an adapter on the tiny model, once for each set of options; returns the run's directory."""
    made: dict[tuple[Any, ...], Path] = {}

    def train(
        *,
        tied: bool = True,
        unembed: bool = True,
        quantization: str = "none",
        modules: tuple[str, ...] | None = None,
    ) -> Path:
        key = (tied, unembed, quantization, modules)
        if key not in made:
            directory = tmp_path_factory.mktemp("export")
            config = tiny_config(
                directory,
                backend="local",
                base_model=str(make_tiny_model(tied=tied)),
                lora={"rank": 4, "train_unembed": unembed},
                local={"device": "cpu", "quantization": quantization, "target_modules": modules and list(modules)},
                training={"learning_rate": 3e-2, "max_steps": 3},
            )
            made[key] = run_pipeline(config, stages=("train",))
        return made[key]

    return train


@pytest.fixture
def run(trained: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy of the tied, unquantised run, to export from."""
    return Path(shutil.copytree(trained(), tmp_path / "run"))
