"""`text2sql models`: the models of the Tinker API, as the list in the program has them and as the service says."""

from __future__ import annotations

from collections.abc import Sequence

from backends import open_backend
from backends.options import TinkerOptions
from backends.planning.lineup import HostedModel, Lineup, lineup
from backends.planning.prices import fetch_list, list_address
from text2sql.console import console
from text2sql.formats import MISSING, count


def print_lineup(known: Lineup) -> None:
    """Print the list that comes with the program, with its date and source."""
    _print_models(known.models)
    console.print(f"As of {known.as_of}; {known.source}. `text2sql models --remote` asks the service.")


def print_served(base_url: str | None) -> None:
    """Print the models that a service serves, at its published prices, and the differences from the list.

    Raises:
        BackendError: It cannot be reached or refuses the key.
    """
    options = TinkerOptions(base_url=base_url)
    service = open_backend("tinker", options)
    served = {model.model_name: model for model in service.get_server_capabilities().supported_models}
    known = lineup()
    names = [name for name in served if name]
    listed = [model for name in names if (model := known.find(name))]
    models = _with_published_prices(listed, options)
    _print_models(models)
    changed = [new.name for new, old in zip(models, listed, strict=True) if new != old]
    if changed:
        console.print(f"At other prices than on the list of {known.as_of}: {', '.join(sorted(changed))}.")
    new = [name for name in names if known.find(name) is None]
    gone = [model.name for model in known.models if model.name not in served]
    if new:
        console.print(f"Served, and not on the list of {known.as_of}, so without prices: {', '.join(sorted(new))}.")
    if gone:
        console.print(f"On the list of {known.as_of}, and not served: {', '.join(sorted(gone))}.")
    if not (new or gone):
        console.print(f"The service serves what the list of {known.as_of} says.")


def _with_published_prices(models: Sequence[HostedModel], options: TinkerOptions) -> list[HostedModel]:
    """The models with the prices that the service publishes, where it publishes one."""
    address = list_address(options)
    published = (fetch_list(address) if address else None) or {}
    price_fields = {"train", "prefill", "cached_prefill", "sample"}
    return [
        model.model_copy(update=published[model.name].model_dump(include=price_fields))
        if model.name in published
        else model
        for model in models
    ]


def _print_models(models: Sequence[HostedModel]) -> None:
    """Print one line each, whatever the width of the terminal, so that long names can be searched for."""
    if not models:
        return
    width = max(len(model.name) for model in models)
    columns = ("kind", "context", "train", "prefill", "cached", "sample", "renderer")
    _print_line("model", columns, width)
    for model in models:
        prices = (model.train, model.prefill, model.cached_prefill, model.sample)
        price_texts = [MISSING if price is None else f"${price:g}" for price in prices]
        _print_line(model.name, (model.kind, count(model.context), *price_texts, model.renderer or MISSING), width)


def _print_line(name: str, values: Sequence[str], width: int) -> None:
    *others, last = values
    console.print(f"{name:<{width}}  {'  '.join(f'{value:<9}' for value in others)}  {last}", soft_wrap=True)
