"""The commands on data: data list, inspect, stats, fetch, export, reason, make, audit."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from text2sql.cli.arguments import ConfigFile, Overrides, load, load_with_data, refuse_unread
from text2sql.cli.completion import complete_config
from text2sql.cli.schemas import DatabaseOption, MaxTables, WritableRole
from text2sql.errors import UserError

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
    loaded = load_with_data(config, overrides)
    from text2sql.data.inspect import inspect

    inspect(loaded)


@app.command("stats")
def stats(config: ConfigFile = "quickstart", overrides: Overrides = None) -> None:
    """Count what a configuration would train and test on: lengths in tokens, drops, leaks, features of SQL."""
    loaded = load_with_data(config, overrides)
    from text2sql.data.inspect import stats

    stats(loaded)


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
    loaded = load_with_data(config, overrides)
    from text2sql.data.export import export

    export(loaded, output, form)


@app.command("reason")
def reason(
    config: Annotated[
        str, typer.Argument(help="YAML file, or the name of a shipped one: which data.", autocompletion=complete_config)
    ],
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


@app.command("make")
def make(
    context: typer.Context,
    database: DatabaseOption = None,
    output: Annotated[Path, typer.Option(help="The file of pairs; one that is there is gone on with.")] = Path(
        "made.jsonl"
    ),
    count: Annotated[int, typer.Option(min=1, help="Pairs in all.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    model: Annotated[
        str | None, typer.Option(help="Let a teacher of this name at --endpoint write half of them.")
    ] = None,
    endpoint: Annotated[str, typer.Option(help="An OpenAI-compatible address.")] = "https://api.openai.com/v1",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value of the endpoint: max_cost, input_price, concurrency, api_key_env, ..."),
    ] = None,
    max_tables: MaxTables = 40,
    allow_writable_role: WritableRole = False,
) -> None:
    """Make questions with SQL from a database's schema and values, each loaded on it, to train on."""
    from text2sql.config import EndpointConfig
    from text2sql.config.load import load_section
    from text2sql.data.make.options import MakeOptions
    from text2sql.data.make.pairs import make_pairs
    from text2sql.engines.url import locate

    if database is None:
        raise UserError("Give the database with --database.")
    if model is None:
        refuse_unread(context, "without a teacher (--model)", "settings", "endpoint")
    values: dict[str, JsonValue] = {"model": model, "base_url": endpoint, "max_tokens": 2048}
    teacher = load_section(EndpointConfig, values, settings or []) if model is not None else None
    make_pairs(MakeOptions(locate(database), output, count, seed, max_tables, allow_writable_role, teacher))


@app.command("audit")
def audit(
    config: Annotated[
        str,
        typer.Argument(
            help="A file of questions with SQL, a YAML file, or the name of a shipped one.",
            autocompletion=complete_config,
        ),
    ],
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option(help="The file to decide in; decisions that are there stay.")] = Path(
        "decisions.jsonl"
    ),
    samples: Annotated[
        Path | None, typer.Option(help="A run's directory or a file of predictions, several for each question.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="RUN_OR_MODEL",
            help="A run's directory or a model's name: where it finds another column likelier counts too.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="How many to print.")] = 10,
) -> None:
    """Rank gold queries by what may be wrong with them, with rows that show it, and write a file to decide in."""
    from text2sql.rows import names_table

    if names_table(Path(config)):
        config, overrides = "quickstart", [f"data.source={config}", *(overrides or [])]
    loaded = load_with_data(config, overrides)
    from text2sql.data.audit.audit import audit
    from text2sql.evaluation.match_options import match_options

    with ExitStack() as opened:
        scoring = None
        if model is not None:
            from text2sql.inference.scoring_model import open_scoring_model

            by_name = load(config, [*(overrides or []), f"base_model={model}", "tinker.base_model=null"])
            scoring = opened.enter_context(open_scoring_model(model, by_name))
        audit(loaded.data, output, samples=samples, model=scoring, top=top, options=match_options(loaded))
