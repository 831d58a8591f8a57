"""The command line. Thin: each command reads its arguments and calls one function."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from text2sql.errors import UserError

INTERRUPTED = 130  # exit status after Ctrl-C; typer turns the exception into it

app = typer.Typer(
    help="Fine-tune small language models to write SQL, and say honestly whether they got better.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Look at and check configurations.", no_args_is_help=True)
data_app = typer.Typer(help="Look at and export data.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(data_app, name="data")

ConfigFile = Annotated[str, typer.Argument(help="YAML file, or the name of a shipped one.", show_default=True)]
Overrides = Annotated[list[str] | None, typer.Argument(help="key.sub=value ...", show_default=False)]


def _load(file: str, overrides: list[str] | None):  # type: ignore[no-untyped-def]  # Config, imported here
    from text2sql.config import load_config

    if "=" in file and not Path(file).exists():  # no file: only overrides
        return load_config("quickstart", [file, *(overrides or [])])
    return load_config(file, overrides or [])


@app.command()
def run(config: ConfigFile = "quickstart", overrides: Overrides = None) -> None:
    """Evaluate the base model, train, evaluate the tuned model, report."""
    from text2sql.pipeline import run_pipeline

    run_pipeline(_load(config, overrides))


@app.command()
def train(config: ConfigFile = "quickstart", overrides: Overrides = None) -> None:
    """Train only."""
    from text2sql.pipeline import run_pipeline

    run_pipeline(_load(config, overrides), stages=("train",))


@app.command()
def evaluate(
    target: Annotated[
        str,
        typer.Argument(
            help="A run's directory, predictions (.jsonl, .json, .csv, .parquet), or a YAML file (its base model)."
        ),
    ],
    overrides: Overrides = None,
) -> None:
    """Score a finished run again, a file of predictions, or the base model of a configuration."""
    from text2sql.scoring import score_file, score_run

    path = Path(target)
    if path.is_dir():
        if overrides:
            raise UserError("A run is scored with its own configuration; leave the overrides out.")
        score_run(path)
    elif path.suffix in (".jsonl", ".json", ".csv", ".parquet"):
        score_file(path, _load("quickstart", overrides))
    else:
        from text2sql.pipeline import run_pipeline

        run_pipeline(_load(target, overrides), stages=("baseline",))


@app.command()
def match(
    schema: Annotated[str, typer.Option(help="CREATE TABLE statements, or a file of them.")],
    gold: Annotated[str, typer.Option(help="The gold query.")],
    predicted: Annotated[str, typer.Option(help="The query to judge.")],
    database: Annotated[Path | None, typer.Option(help="A real SQLite database, read only.")] = None,
) -> None:
    """Judge one pair of queries and show a database on which they differ."""
    from text2sql.scoring import show_match

    show_match(schema, gold, predicted, database)


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    schema: Annotated[Path | None, typer.Option(help="File of CREATE TABLE statements.")] = None,
    database: Annotated[Path | None, typer.Option(help="SQLite database to take the schema from.")] = None,
    run_directory: Annotated[Path, typer.Option("--run", help="Run whose tuned model answers.")] = Path(
        "runs/quickstart"
    ),
    base: Annotated[bool, typer.Option("--base", help="Let the run's base model answer instead.")] = False,
    execute: Annotated[bool, typer.Option("--execute", help="Run the query on --database, read only.")] = False,
) -> None:
    """Give a schema and a question, get SQL, and with --execute its rows."""
    from text2sql.ask import answer_question

    answer_question(question, schema, database, run_directory, base=base, execute=execute)


@config_app.command("show")
def config_show(config: ConfigFile = "quickstart", overrides: Overrides = None) -> None:
    """Print the resolved configuration, every default written out."""
    from text2sql.config import dump_config

    typer.echo(dump_config(_load(config, overrides)), nl=False)


@config_app.command("validate")
def config_validate(files: Annotated[list[str], typer.Argument(help="YAML files.")]) -> None:
    """Check configurations; the first wrong one ends with status 2."""
    from text2sql.config import load_config

    for file in files:
        load_config(file)
        typer.echo(f"{file}: valid")


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of a configuration, with every default and its meaning."""
    import json

    from text2sql.config import Config

    typer.echo(json.dumps(Config.model_json_schema(), indent=2))


@data_app.command("list")
def data_list() -> None:
    """Name the data sources."""
    from text2sql.inspect_data import list_sources

    list_sources()


@data_app.command("inspect")
def data_inspect(config: ConfigFile = "quickstart", overrides: Overrides = None) -> None:
    """Show what a configuration would train and test on: counts, what is dropped and why, leaks, lengths, examples."""
    from text2sql.inspect_data import inspect

    inspect(_load(config, overrides))


@data_app.command("export")
def data_export(
    output: Annotated[Path, typer.Argument(help="Directory for train.jsonl, validation.jsonl and test.jsonl.")],
    config: ConfigFile = "quickstart",
    overrides: Overrides = None,
) -> None:
    """Write a configuration's examples as JSON Lines, with prompt and completion."""
    from text2sql.inspect_data import export

    export(_load(config, overrides), output)


def main() -> None:
    """Run the command line; what a person can mend is printed without a traceback, with exit status 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    _quiet_libraries()
    from backends.interface import BackendError

    try:
        app(prog_name="text2sql")
    except (UserError, BackendError) as error:
        _fail(str(error))
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:
            raise
        print("\nInterrupted. What was finished is kept; the same command goes on from there.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        where = f" ({error.filename})" if error.filename else ""
        _fail(f"{error.strerror or error}{where}. What was finished is kept; mend this and run the same command again.")


def _fail(message: str) -> None:
    from rich.console import Console

    Console(stderr=True, highlight=False).print(f"[bold red]Error[/] {_escaped(message)}", soft_wrap=True)
    sys.exit(2)


def _escaped(message: str) -> str:
    from rich.markup import escape

    return escape(message)


def _quiet_libraries() -> None:
    """Silence what libraries say about themselves; their warnings about the user's data still show."""
    import logging
    import warnings

    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    for name in ("httpx", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


if __name__ == "__main__":
    main()
