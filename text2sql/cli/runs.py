"""The commands on a whole experiment: run, train, evaluate, ask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from text2sql.cli.arguments import ConfigFile, Overrides, load
from text2sql.errors import UserError

# A target with one of these endings is a file of predictions.
PREDICTION_SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")


def run(config: ConfigFile = "quickstart", overrides: Overrides = None) -> None:
    """Evaluate the base model, train, evaluate the tuned model, report."""
    from text2sql.pipeline.run import run_pipeline

    run_pipeline(load(config, overrides))


def train(config: ConfigFile = "quickstart", overrides: Overrides = None) -> None:
    """Train only."""
    from text2sql.pipeline.run import run_pipeline

    run_pipeline(load(config, overrides), stages=("train",))


def evaluate(
    target: Annotated[
        str,
        typer.Argument(
            help="A run's directory, predictions (.jsonl, .json, .csv, .parquet), or a YAML file (its base model)."
        ),
    ],
    overrides: Overrides = None,
    gold: Annotated[
        Path | None,
        typer.Option(help="Gold queries of Spider or BIRD (SQL, tab, db_id on each line; or their dev.json)."),
    ] = None,
    databases: Annotated[
        Path | None, typer.Option(help="Directory of real databases, DB_ID/DB_ID.sqlite: adds the benchmarks' metrics.")
    ] = None,
    tables: Annotated[Path | None, typer.Option(help="Schemas: the tables.json of Spider or BIRD.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write rows with verdicts to this .jsonl, and the summary next to it.")
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="With a run: answer its questions on this machine with this PEFT adapter.")
    ] = None,
) -> None:
    """Score a finished run again, a file of predictions, or the base model of a configuration."""
    path = Path(target)
    of_files = {"--gold": gold, "--databases": databases, "--tables": tables}
    given = [name for name, value in of_files.items() if value is not None]
    if adapter is not None:
        if not path.is_dir() or overrides or given or output:
            raise UserError("--adapter goes with a run's directory, and with nothing else.")
        _evaluate_adapter(path, adapter)
    elif path.is_dir():
        if overrides or given:
            raise UserError(
                f"A run is scored with its own configuration; leave out {', '.join([*(overrides or []), *given])}."
            )
        _evaluate_run(path, output)
    elif gold is not None or path.suffix in PREDICTION_SUFFIXES:
        _evaluate_file(path, overrides, gold, databases, tables, output)
    else:
        if given or output:
            raise UserError(f"{', '.join(given) or '--output'} goes with a file of predictions; {target} is none.")
        _evaluate_base_model(target, overrides)


def _evaluate_adapter(run: Path, adapter: Path) -> None:
    from text2sql.pipeline.adapter_download import evaluate_adapter

    evaluate_adapter(run, adapter)


def _evaluate_run(run: Path, output: Path | None) -> None:
    from text2sql.evaluation.files import score_run

    score_run(run, output)


def _evaluate_file(
    file: Path,
    overrides: Overrides,
    gold: Path | None,
    databases: Path | None,
    tables: Path | None,
    output: Path | None,
) -> None:
    from text2sql.evaluation.files import score_file
    from text2sql.evaluation.prediction_files import Schemas

    config = load("quickstart", overrides)
    score_file(file, config, gold=gold, schemas=Schemas.open(databases, tables), output=output)


def _evaluate_base_model(config: str, overrides: Overrides) -> None:
    from text2sql.pipeline.run import run_pipeline

    run_pipeline(load(config, overrides), stages=("baseline",))


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
    from text2sql.inference.ask import answer_question

    answer_question(question, schema, database, run_directory, base=base, execute=execute)
