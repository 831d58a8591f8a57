"""A word before a run that will not fit this machine's memory."""

from __future__ import annotations

from backends.interface import BackendError
from text2sql.config import Config
from text2sql.console import console
from text2sql.data.dataset import Dataset
from text2sql.errors import UserError
from text2sql.estimate.ceiling import memory_ceiling
from text2sql.estimate.devices import device_of, unsupported_settings
from text2sql.estimate.forecast import forecast
from text2sql.estimate.memory import ROOM, describe_fit, forecast_memory


def warn_of_memory(config: Config, dataset: Dataset) -> None:
    """Say, before a model is loaded, that a run will hardly fit, and with what it would; it is not kept from trying.

    Tokens are counted, which takes seconds for large data, where the size of the texts does not show that it fits.

    Args:
        config: The run's, whose backend computes here.
        dataset: Its examples.
    """
    try:
        device = device_of(config)
        limit = ROOM * device.memory
        # The weights of a base that is split would be counted whole.
        if not config.local.fsdp and memory_ceiling(config, dataset, device) > limit:
            seen = forecast(config, dataset)
            memory, _ = forecast_memory(config, seen, device)
            if memory.peak > limit:
                console.print(describe_fit(memory, config, seen, device), style="bold yellow", markup=False)
    except (BackendError, UserError):
        # Nothing is known of the model's shape, or no example is short enough, which is said when it is found out.
        return
    for problem in unsupported_settings(config, device):
        console.print(problem, style="bold yellow", markup=False)
