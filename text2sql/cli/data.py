"""The commands on data: data list, inspect, stats, fetch, export, reason."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from text2sql.cli.arguments import ConfigFile, Overrides, load

if TYPE_CHECKING:
    from pydantic import JsonValue

app = typer.Typer(help="Look at and export data.", no_args_is_help=True)


@app.command("list")
def list_all() -> None:
    """Name the data sources."""
    from text2sql.data.inspect import list_sources

    list_sources()


@app.command("inspect")
def inspect(config: ConfigFile = "quickstart", overrides: Overrides = None) -> None:
    """Show what a configuration would train and test on: counts, what is dropped and why, leaks, lengths, examples."""
    from text2sql.data.inspect import inspect

    inspect(load(config, overrides))


@app.command("stats")
def stats(config: ConfigFile = "quickstart", overrides: Overrides = None) -> None:
    """Count what a configuration would train and test on: lengths in tokens, drops, leaks, features of SQL."""
    from text2sql.data.inspect import stats

    stats(load(config, overrides))


@app.command("fetch")
def fetch(name: Annotated[str, typer.Argument(help="A named source, see `data list`.")]) -> None:
    """Download a known data set from its official place, going on where an earlier start stopped."""
    from text2sql.data.fetch import fetch

    fetch(name)


@app.command("export")
def export(
    config: ConfigFile = "quickstart",
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option(help="Directory of train.jsonl, validation.jsonl and test.jsonl.")] = Path(
        "data"
    ),
    form: Annotated[Literal["prompt-completion", "messages"], typer.Option("--format", help="What a row holds.")] = (
        "prompt-completion"
    ),
) -> None:
    """Write a configuration's examples as JSON Lines that TRL, axolotl and LLaMA-Factory read."""
    from text2sql.data.export import export

    export(load(config, overrides), output, form)


@app.command("reason")
def reason(
    config: Annotated[str, typer.Argument(help="YAML file, or the name of a shipped one: which data.")],
    overrides: Overrides = None,
    model: Annotated[str, typer.Option(help="The teacher's name at the endpoint.")] = ...,  # type: ignore[assignment]
    endpoint: Annotated[str, typer.Option(help="An OpenAI-compatible address.")] = "https://api.openai.com/v1",
    output: Annotated[Path, typer.Option(help="The file of worked answers.")] = Path("reasoning.jsonl"),
    limit: Annotated[int | None, typer.Option(min=1, help="Examples at most.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value of the endpoint: max_cost, input_price, concurrency, api_key_env, ..."),
    ] = None,
) -> None:
    """Ask a teacher for reasoning to the gold queries, and keep what proves right by running."""
    from text2sql.config import EndpointConfig
    from text2sql.config.load import load_section
    from text2sql.data.teacher import make_reasoning

    values: dict[str, JsonValue] = {"model": model, "base_url": endpoint, "max_tokens": 2048}
    make_reasoning(load(config, overrides), load_section(EndpointConfig, values, settings or []), output, limit)
