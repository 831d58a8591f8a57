"""The command that looks ahead: estimate."""

from __future__ import annotations

from typing import Annotated

import typer

from text2sql.cli.arguments import ConfigFile, Overrides, load_with_data


def estimate(
    config: ConfigFile = "quickstart",
    overrides: Overrides = None,
    device: Annotated[str, typer.Option(help="here, cpu, T4, A10G, 4090, A100 or H100.")] = "here",
) -> None:
    """Say what a run would take: memory and time on a device, or tokens and cost on the Tinker API."""
    from text2sql.pipeline.preflight import check_device

    device_name, loaded = check_device(device), load_with_data(config, overrides)
    from text2sql.estimate.show import print_estimate

    print_estimate(loaded, device_name)
