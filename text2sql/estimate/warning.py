"""A warning before a run that will not fit this machine's memory."""

from __future__ import annotations

from backends.interface import BackendError
from text2sql.config import Config
from text2sql.console import console
from text2sql.data.dataset import Dataset
from text2sql.errors import UserError
from text2sql.estimate.ceiling import memory_ceiling
from text2sql.estimate.devices import device_of, unsupported_settings
from text2sql.estimate.forecast import forecast_run
from text2sql.estimate.memory import USABLE_SHARE, describe_fit, forecast_memory


def warn_of_memory(config: Config, dataset: Dataset) -> None:
    """Warn, before a model is loaded, that a run may not fit, and say with which settings it would.

    Tokens are counted, which takes seconds for large data, only if the size of the texts does not show that it fits.

    Args:
        config: The run's configuration; its backend computes on this machine.
        dataset: Its examples.
    """
    try:
        device = device_of(config)
        limit = USABLE_SHARE * device.memory
        # With FSDP each process holds a share of the weights, which the estimate counts whole.
        if not config.local.fsdp and memory_ceiling(config, dataset, device) > limit:
            forecast = forecast_run(config, dataset)
            memory, _ = forecast_memory(config, forecast, device)
            if memory.peak > limit:
                console.print(describe_fit(memory, config, forecast, device), style="bold yellow", markup=False)
    except (BackendError, UserError):
        # The model's shape is not known, or no example is short enough: the run itself reports that.
        return
    for problem in unsupported_settings(config, device):
        console.print(problem, style="bold yellow", markup=False)
