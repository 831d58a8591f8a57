"""The models of the Tinker API on the terminal: as listed, and as the service answers."""

from __future__ import annotations

from collections.abc import Sequence

from backends import open_backend
from backends.options import TinkerOptions
from backends.planning.lineup import HostedModel, Lineup, lineup
from text2sql.console import console
from text2sql.formats import MISSING, count


def print_lineup(known: Lineup) -> None:
    """Print the list that comes with the program, with its date and source."""
    _print_models(known.models)
    console.print(f"As of {known.as_of}; {known.source}. `text2sql models --remote` asks the service.")


def print_served(base_url: str | None) -> None:
    """Print what a service serves, and how that differs from the list.

    Raises:
        BackendError: It cannot be reached or refuses the key.
    """
    service = open_backend("tinker", TinkerOptions(base_url=base_url))
    served = {model.model_name: model for model in service.get_server_capabilities().supported_models}
    known = lineup()
    names = [name for name in served if name]
    models = [known.find(name) for name in names]
    _print_models([model for model in models if model])
    new = [name for name in names if known.find(name) is None]
    gone = [model.name for model in known.models if model.name not in served]
    if new:
        console.print(f"Served, and not on the list of {known.as_of}, so without prices: {', '.join(sorted(new))}.")
    if gone:
        console.print(f"On the list of {known.as_of}, and not served: {', '.join(sorted(gone))}.")
    if not (new or gone):
        console.print(f"The service serves what the list of {known.as_of} says.")


def _print_models(models: Sequence[HostedModel]) -> None:
    """One line each, whatever the width of the terminal: names are long, and lines are searched."""
    if not models:
        return
    width = max(len(model.name) for model in models)
    columns = ("kind", "context", "train", "prefill", "cached", "sample", "renderer")
    _print_line("model", columns, width)
    for model in models:
        prices = (model.train, model.prefill, model.cached_prefill, model.sample)
        shown = [MISSING if price is None else f"${price:g}" for price in prices]
        _print_line(model.name, (model.kind, count(model.context), *shown, model.renderer or MISSING), width)


def _print_line(name: str, values: Sequence[str], width: int) -> None:
    *others, last = values
    console.print(f"{name:<{width}}  {'  '.join(f'{value:<9}' for value in others)}  {last}", soft_wrap=True)
