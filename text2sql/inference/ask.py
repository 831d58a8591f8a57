"""Questions on a schema, answered by the models of a run: what `text2sql ask` prints and `text2sql demo` shows."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rich.table import Table

from backends.interface import SamplingClient, ServiceClient, StreamingSamplingClient
from text2sql.config import Config
from text2sql.console import console
from text2sql.data import prompts
from text2sql.data.example import Example
from text2sql.data.schema_text import show_schemas
from text2sql.errors import UserError
from text2sql.evaluation import extract_sql
from text2sql.inference.generate import Request, generate, stream
from text2sql.rows.encodings import read_text
from text2sql.runs.directory import RunDirectory, load_run_config
from text2sql.runs.session import context_length, open_service
from text2sql.sql.sandbox import QueryFailed, Result, Sandbox
from text2sql.training.early_stopping import choose_checkpoint

MAX_ROWS = 100
MAX_SECONDS = 30.0
# Instructions of SQLite's virtual machine for one query.
MAX_STEPS = 10**9


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered.

    Attributes:
        sql: The query in it; empty if there is none, or while the answer grows.
        text: The answer as it came, without what stopped it.
        truncated: It was cut off at `evaluation.max_new_tokens`.
        seconds: Time it took.
        finished: False while it grows.
    """

    sql: str
    text: str
    truncated: bool
    seconds: float
    finished: bool = True


class Answerer:
    """The base model of a run and, if it has a checkpoint, the tuned one; each is loaded when it is first asked."""

    def __init__(self, run: RunDirectory, config: Config, service: ServiceClient) -> None:
        self.config = config
        self._run, self._service = run, service
        self._samplers: dict[str, SamplingClient] = {}

    @property
    def models(self) -> list[str]:
        """``tuned``, if there is a checkpoint, and ``base``."""
        return ["tuned", "base"] if self._run.checkpoints() else ["base"]

    def load(self) -> None:
        """Load the models now, which otherwise happens when they are first asked."""
        for model in self.models:
            self._sampler(model)

    def answer(self, question: str, schema: str, model: str, database: Path | None = None) -> Answer:
        """Ask `model`, one of ``tuned`` and ``base``; the prompt shows the schema as it did in training.

        Raises:
            UserError: The run has no such model yet, or the prompt is longer than the model takes.
        """
        *_, answer = self.stream(question, schema, model, database)
        return answer

    def stream(self, question: str, schema: str, model: str, database: Path | None = None) -> Iterator[Answer]:
        """The same answer as it grows, where the backend streams; the finished one is the last."""
        example = self._example(question, schema, database)
        sampler = self._sampler(model)
        self._check_length(example, sampler)
        config, started = self.config, time.monotonic()
        if self._service.capabilities.streams:
            generations = stream(example, cast("StreamingSamplingClient", sampler), config)
        else:
            generations = iter(generate(Request([example]), sampler, config)[0])
        for generation in generations:
            text, seconds = generation.text, time.monotonic() - started
            if generation.stop_reason:
                yield Answer(extract_sql(text), text, generation.stop_reason == "length", seconds)
            else:
                yield Answer("", text, False, seconds, finished=False)

    def _example(self, question: str, schema: str, database: Path | None) -> Example:
        """The question with its schema shown as configured, as far as that is possible without a gold query or rows."""
        options = self.config.prompt.schema_text
        if options.tables == "gold":
            options = options.model_copy(update={"tables": "all"})
        if database is None:
            options = options.model_copy(update={"sample_rows": 0, "descriptions": False})
        db = str(database) if database else None
        return show_schemas([Example(id="ask", question=question, context=schema, answer="", db=db)], options)[0]

    def _sampler(self, model: str) -> SamplingClient:
        if model not in self._samplers:
            if model == "base":
                coming = self._service.create_sampling_client(base_model=self.config.trained_model)
            else:
                coming = self._service.create_sampling_client(model_path=self._checkpoint())
            self._samplers[model] = coming.result()
        return self._samplers[model]

    def _checkpoint(self) -> str:
        run, checkpoints = self._run, self._run.checkpoints()
        if not checkpoints:
            raise UserError(
                f"The run in {run.path} has no checkpoint yet; let it finish, or ask its base model with --base."
            )
        return str(choose_checkpoint(checkpoints, run.metrics(), self.config.training).sampler_path)

    def _check_length(self, example: Example, sampler: SamplingClient) -> None:
        limit = context_length(self._service, self.config.trained_model)
        tokens = prompts.tokenize([example], sampler.get_tokenizer(), self.config.prompt.template)[0]
        answer = self.config.evaluation.max_new_tokens
        if limit is not None and len(tokens.prompt) + answer > limit:
            raise UserError(
                f"Schema and question are {len(tokens.prompt):,} tokens long; with {answer} for the answer they do not "
                f"fit the {limit:,} tokens that {self.config.trained_model} takes. Leave out tables that the question "
                "does not need."
            )


@contextmanager
def answering(directory: Path) -> Iterator[Answerer]:
    """The models of the run in a directory, until the end of the block.

    Raises:
        UserError: There is no run, or it cannot be read.
        BackendError: Its backend cannot be opened, or fails.
    """
    run = RunDirectory(directory)
    config = load_run_config(run)
    with open_service(config, run.file("checkpoints")) as service:
        yield Answerer(run, config, service)


def answer_question(
    question: str, schema: Path | None, database: Path | None, run_directory: Path, *, base: bool, execute: bool
) -> None:
    """Print the query that a run's model writes for a question, and with `execute` what it returns.

    Raises:
        UserError: The run, the schema or the database is missing or unusable, the model writes nothing, or the query
            fails on the database.
    """
    if execute and database is None:
        raise UserError("--execute needs --database.")
    context = _schema(schema, database)
    with answering(run_directory) as answerer:
        sql = answerer.answer(question, context, "base" if base else "tuned", database).sql
    if not sql:
        raise UserError("The model wrote no query. Ask in other words, or train it further.")
    console.print(sql, markup=False, soft_wrap=True)
    if execute and database is not None:
        _print_rows(database, sql)


def run_query(database: Path, sql: str) -> Result:
    """Run a query in the evaluator's sandbox: the file is opened read-only, time, memory and rows are limited.

    Raises:
        QueryFailed: It fails, does more than read, or exceeds a limit.
    """
    sandbox = Sandbox.from_file(str(database))
    try:
        return sandbox.run(sql, MAX_STEPS, MAX_SECONDS, max_rows=MAX_ROWS)
    finally:
        sandbox.close()


def _schema(schema: Path | None, database: Path | None) -> str:
    if schema is not None:
        try:
            text = read_text(schema).strip()
        except (OSError, ValueError) as error:
            raise UserError(f"--schema: {schema} cannot be read: {error}") from error
        if not text:
            raise UserError(f"--schema: {schema} is empty; it must hold CREATE TABLE statements.")
        return text
    if database is None:
        raise UserError("Give the schema with --schema FILE or --database FILE.")
    if not database.is_file():
        raise UserError(f"--database: there is no file {database}.")
    from text2sql.sql.files import file_schema

    try:
        text = file_schema(str(database))
    except sqlite3.Error as error:
        raise UserError(
            f"--database: {database} is not a SQLite database that can be read ({error}). A CSV file becomes one with "
            "sqlite3 new.sqlite '.import --csv FILE data', and `text2sql demo` opens it as it is."
        ) from error
    if not text:
        raise UserError(f"--database: {database} has no tables.")
    return text


def _print_rows(database: Path, sql: str) -> None:
    try:
        result = run_query(database, sql)
    except QueryFailed as error:
        raise UserError(f"The query does not run on {database}: {error}") from error
    table = Table(*result.columns)
    for row in result.rows:
        table.add_row(*("NULL" if value is None else str(value) for value in row))
    console.print(table)
    if result.overflow:
        console.print(f"Only the first {MAX_ROWS} rows are shown.")
