"""A word before a run that will not fit this machine's memory."""

from __future__ import annotations

from backends.interface import BackendError
from text2sql.config import Config
from text2sql.console import console
from text2sql.data.dataset import Dataset
from text2sql.errors import UserError
from text2sql.estimate.devices import device_of, unsuited
from text2sql.estimate.forecast import forecast
from text2sql.estimate.memory import ROOM, describe_fit, forecast_memory


def warn_of_memory(config: Config, dataset: Dataset) -> None:
    """Say, before a model is loaded, that a run will hardly fit, and with what it would; it is not kept from trying.

    Args:
        config: The run's, whose backend computes here.
        dataset: Its examples.
    """
    try:
        device = device_of(config)
        seen = forecast(config, dataset)
        memory, _ = forecast_memory(config, seen, device)
    except (BackendError, UserError):
        # Nothing is known of the model's shape, or no example is short enough, which is said when it is found out.
        return
    # The weights of a base that is split are counted whole.
    if memory.peak > ROOM * device.memory and not config.local.fsdp:
        console.print(describe_fit(memory, config, seen, device), style="bold yellow", markup=False)
    for problem in unsuited(config, device):
        console.print(problem, style="bold yellow", markup=False)
