"""The commands on a whole experiment: run, sweep, train, evaluate, ask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from text2sql.cli.arguments import ConfigFile, Overrides, file_and_overrides, load, refuse_unread
from text2sql.cli.completion import complete_config, complete_override
from text2sql.cli.schemas import DatabaseOption, MaxTables, WritableRole, read_schema
from text2sql.errors import UserError

if TYPE_CHECKING:
    from text2sql.config import Config


CONFIG_SUFFIXES = (".yaml", ".yml")
# Of files with one query a line.
QUERY_SUFFIXES = (".sql", ".txt")
# What a configuration says of predictions that are there already.
READ_OF_PREDICTIONS = ("evaluation.", "evaluation=", "judge.", "judge=", "data.dialect=", "data.seed=")


def run(
    config: ConfigFile = "quickstart",
    overrides: Overrides = None,
    processes: Annotated[
        int, typer.Option(help="Share the work of backend=local among so many processes, one for each GPU.", min=1)
    ] = 1,
) -> None:
    """Evaluate the base model, train, evaluate the tuned model, report."""
    loaded = load(config, overrides)
    if processes > 1:
        from text2sql.cli.processes import start_processes

        start_processes(loaded, file_and_overrides(config, overrides), processes)
    from text2sql.pipeline.run import run_pipeline

    run_pipeline(loaded)


def sweep(
    config: ConfigFile = "quickstart",
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="key=value for all runs, key=value,value,... for what varies.", autocompletion=complete_override
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Directory of the runs; runs/NAME-sweep if not given.")] = None,
) -> None:
    """Run a configuration with several values of some keys, seed=0,1,2 above all, and compare what comes of it."""
    from text2sql.sweep.plan import plan_sweep
    from text2sql.sweep.run import run_sweep

    run_sweep(plan_sweep(*file_and_overrides(config, overrides), output))


def train(config: ConfigFile = "quickstart", overrides: Overrides = None) -> None:
    """Train only."""
    from text2sql.pipeline.run import run_pipeline

    run_pipeline(load(config, overrides), stages=("train",))


def evaluate(
    target: Annotated[
        str,
        typer.Argument(
            help="A run's directory, predictions (.jsonl, .json, .csv, .tsv, .parquet), or a YAML file: its questions, "
            "and its base model unless --model or --adapter says another.",
            autocompletion=complete_config,
        ),
    ] = "quickstart",
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
        str | None,
        typer.Option(
            help="Let an adapter answer: a PEFT directory, a Hub id, or a tinker:// path; with a run, its questions "
            "again, on this machine."
        ),
    ] = None,
    base: Annotated[str | None, typer.Option(help="Base model of --adapter; what it names itself by default.")] = None,
    model: Annotated[str | None, typer.Option(help="Let this model answer: a directory, or a name.")] = None,
    dialect: Annotated[
        str | None, typer.Option(help="Of schemas and queries, whose engine runs them; the same as data.dialect=.")
    ] = None,
) -> None:
    """Score a finished run again, a file of predictions, or any model or adapter on a configuration's questions."""
    path = Path(target)
    if dialect is not None:
        from text2sql.engines.dialect import read_dialect

        if said := [text for text in overrides or [] if text.startswith("data.dialect=")]:
            raise UserError(f"--dialect {dialect} and {said[-1]} say the same key; give one of them.")
        overrides = [*(overrides or []), f"data.dialect={read_dialect(dialect, '--dialect')}"]
    file_options = {"--gold": gold, "--databases": databases, "--tables": tables}
    file_flags = [name for name, value in file_options.items() if value is not None]
    model_options = {"--adapter": adapter, "--base": base, "--model": model}
    model_flags = [name for name, value in model_options.items() if value is not None]
    is_predictions = gold is not None or _is_predictions(path)
    if model_flags and (file_flags or output or is_predictions):
        raise UserError(f"{', '.join(model_flags)} goes with a configuration or a run, not with predictions.")
    if path.is_dir() and adapter is not None:
        if overrides or base or model:
            raise UserError("--adapter goes with a run's directory, and with nothing else.")
        _evaluate_adapter(path, Path(adapter))
    elif model_flags:
        from text2sql.cli.model_options import load_to_evaluate

        if path.is_dir():
            raise UserError(f"{', '.join(model_flags)} goes with a configuration; {target} is a directory.")
        _evaluate_model(load_to_evaluate(target, overrides, adapter=adapter, base=base, model=model))
    elif path.is_dir() or _is_missing_run(path):
        from text2sql.pipeline.preflight import check_finished_run

        check_finished_run(path)
        if overrides or file_flags:
            raise UserError(
                f"A run is scored with its own configuration; leave out {', '.join([*(overrides or []), *file_flags])}."
            )
        _evaluate_run(path, output)
    elif is_predictions:
        _evaluate_file(path, overrides, gold, databases, tables, output)
    else:
        if file_flags or output:
            raise UserError(f"{', '.join(file_flags) or '--output'} goes with a file of predictions; {target} is none.")
        _evaluate_model(load(target, overrides))


def _is_predictions(path: Path) -> bool:
    """Whether a target is a prediction file, by its suffix or as a file that is no configuration."""
    from text2sql.rows import names_table

    named = names_table(path) or path.suffix in QUERY_SUFFIXES
    return (named and not path.is_dir()) or (path.is_file() and path.suffix not in ("", *CONFIG_SUFFIXES))


def _is_missing_run(path: Path) -> bool:
    """Whether a target that does not exist looks like a run directory, not like a configuration."""
    is_named_so = path.parent not in (Path(), Path("configs")) and path.suffix not in CONFIG_SUFFIXES
    return is_named_so and not path.exists() and not _is_predictions(path)


def _evaluate_adapter(run: Path, adapter: Path) -> None:
    from text2sql.pipeline.preflight import check_finished_run

    check_finished_run(run)
    from text2sql.commands.adapter_evaluation import evaluate_adapter

    evaluate_adapter(run, adapter)


def _evaluate_run(run: Path, output: Path | None) -> None:
    from text2sql.commands.score_files import score_run

    score_run(run, output)


def _evaluate_file(
    file: Path,
    overrides: Overrides,
    gold: Path | None,
    databases: Path | None,
    tables: Path | None,
    output: Path | None,
) -> None:
    from text2sql.commands.score_files import score_file
    from text2sql.evaluation.predicted_question import Schemas

    unread = [text for text in overrides or [] if not text.startswith(READ_OF_PREDICTIONS)]
    if unread:
        raise UserError(
            f"{', '.join(unread)}: predictions are only judged, by evaluation.*, judge.*, data.dialect and data.seed; "
            "leave out the others."
        )
    config = load("quickstart", overrides)
    score_file(file, config, gold=gold, schemas=Schemas.open(databases, tables), output=output)


def _evaluate_model(config: Config) -> None:
    from text2sql.pipeline.run import run_pipeline

    has_adapter = config.evaluation.adapter is not None
    run_pipeline(config, stages=("baseline", "evaluate") if has_adapter else ("baseline",))


def ask(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="The question.")],
    schema: Annotated[str | None, typer.Option(help="CREATE TABLE statements, or a file of them.")] = None,
    database: DatabaseOption = None,
    run_directory: Annotated[Path, typer.Option("--run", help="Run whose tuned model answers.")] = Path(
        "runs/quickstart"
    ),
    base: Annotated[bool, typer.Option("--base", help="Let the run's base model answer instead.")] = False,
    execute: Annotated[bool, typer.Option("--execute", help="Run the query on --database, read only.")] = False,
    max_tables: MaxTables = 40,
    allow_writable_role: WritableRole = False,
) -> None:
    """Give a schema and a question, get SQL, and with --execute its rows."""
    from text2sql.pipeline.preflight import check_models

    if execute and database is None:
        raise UserError("--execute needs --database.")
    if database is None:
        refuse_unread(context, "without --database", "allow_writable_role")
    if not question.strip():
        raise UserError("The question is empty; write what you want to know: text2sql ask 'How many orders?' ...")
    tables, opened = read_schema(schema, database, allow_writable_role=allow_writable_role)
    check_models(run_directory, tuned=not base)
    from text2sql.commands.ask import answer_question

    answer_question(question, tables, opened, run_directory, base=base, execute=execute, max_tables=max_tables)
