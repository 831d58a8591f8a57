"""Metrics to TensorBoard, Weights & Biases or trackio, when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from backends.extras import missing_package
from text2sql.config import Config
from text2sql.errors import UserError

# Packages of one interface, by the names of their keys.
EXPERIMENTS = ("wandb", "trackio")

Log = Callable[[Mapping[str, JsonValue]], None]


def open_trackers(config: Config, directory: Path) -> Log:
    """A function that sends one row of metrics (with its ``step``) to every tracker that the configuration names.

    Raises:
        UserError: A tracker's package is not installed.
    """
    logs = []
    if config.tracking.tensorboard:
        logs.append(_tensorboard(directory / "tensorboard"))
    for package in EXPERIMENTS:
        project = getattr(config.tracking, f"{package}_project")
        if project:
            logs.append(_experiment(package, project, config))

    def log(row: Mapping[str, JsonValue]) -> None:
        numbers = {key: value for key, value in row.items() if isinstance(value, int | float)}
        step = int(numbers.pop("step"))
        for send in logs:
            send(numbers, step)

    return log


def check_trackers(config: Config) -> None:
    """Raise UserError if the package of a tracker that the configuration names is not installed."""
    keys = {"tensorboard": "tensorboard"} | {package: f"{package}_project" for package in EXPERIMENTS}
    for package, name in keys.items():
        if getattr(config.tracking, name) and find_spec(package) is None:
            key = f"tracking.{name}"
            raise UserError(missing_package(key, package, "tracking", f"leave {key} out"))


def _tensorboard(directory: Path) -> Callable[[Mapping[str, float], int], None]:
    _require("tensorboard", "tracking.tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(directory))

    def send(numbers: Mapping[str, float], step: int) -> None:
        for key, value in numbers.items():
            writer.add_scalar(key, value, step)
        writer.flush()

    return send


def _experiment(package: str, project: str, config: Config) -> Callable[[Mapping[str, float], int], None]:
    """Wandb and trackio share one interface."""
    module = _require(package, f"tracking.{package}_project")
    run = module.init(project=project, name=config.name, config=config.model_dump(mode="json"))
    return lambda numbers, step: run.log(dict(numbers), step=step)


def _require(package: str, key: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(missing_package(key, package, "tracking", f"leave {key} out")) from error
