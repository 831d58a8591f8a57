"""Questions on a schema, answered by the models of a run: what `text2sql ask` prints and `text2sql demo` shows."""

from __future__ import annotations

import logging
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
from text2sql.data.schema_cut import DEFAULT_MAX_TABLES, CutSchema, cut_schema
from text2sql.data.schema_text import show_schemas
from text2sql.engines.answers import extract_sql_in
from text2sql.engines.dialect import DISPLAY_NAMES, Dialect
from text2sql.engines.user_databases.connection import Limits
from text2sql.engines.user_databases.user_database import UserDatabase
from text2sql.errors import UserError
from text2sql.inference.generate import Request, generate, stream
from text2sql.runs.directory import RunDirectory, load_run_config
from text2sql.runs.session import context_length, open_service, pin_matmul_dtype
from text2sql.runs.trained_model import tuned_checkpoint
from text2sql.sql.sandbox import QueryFailed, Result

LOG = logging.getLogger(__name__)

MAX_ROWS = 100
MAX_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered.

    Attributes:
        sql: The query in it; empty if there is none, or while the answer grows.
        text: The answer as it came, without what stopped it.
        truncated: It was cut off at `evaluation.max_new_tokens`.
        seconds: Time it took.
        finished: False while it grows.
        note: What must be known of how it was asked for, such as tables that were not shown.
    """

    sql: str
    text: str
    truncated: bool
    seconds: float
    finished: bool = True
    note: str = ""

    @property
    def without_query(self) -> str:
        """What to say of an answer in which there is no query: what was written instead."""
        said = self.text.strip()[:200]
        return f'The model wrote no query, but: "{said}"' if said else "The model wrote nothing."


class Answerer:
    """The base model of a run and, if it has a checkpoint, the tuned one; each is loaded when it is first asked.

    Args:
        run: The run's directory.
        config: Its configuration.
        service: Its backend.
        max_tables: Tables of a schema above which it is cut to what the question needs; 0 for never.
    """

    def __init__(
        self, run: RunDirectory, config: Config, service: ServiceClient, max_tables: int = DEFAULT_MAX_TABLES
    ) -> None:
        self.config, self.max_tables = config, max_tables
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

    def answer(self, question: str, schema: str, model: str, database: UserDatabase | None = None) -> Answer:
        """Ask `model`, one of ``tuned`` and ``base``; the prompt shows the schema as it did in training.

        Raises:
            UserError: The run has no such model yet, or the prompt is longer than the model takes.
        """
        *_, answer = self.stream(question, schema, model, database)
        return answer

    def stream(self, question: str, schema: str, model: str, database: UserDatabase | None = None) -> Iterator[Answer]:
        """The same answer as it grows, where the backend streams; the finished one is the last."""
        sampler = self._sampler(model)
        example, note = self._fitting(question, schema, database, sampler)
        config, started = self.config, time.monotonic()
        if self._service.capabilities.streams:
            generations = stream(example, cast("StreamingSamplingClient", sampler), config)
        else:
            generations = iter(generate(Request([example]), sampler, config)[0])
        for generation in generations:
            text, seconds = generation.text, time.monotonic() - started
            if generation.stop_reason:
                sql = extract_sql_in(text, example.dialect)
                yield Answer(sql, text, generation.stop_reason == "length", seconds, note=note)
            else:
                yield Answer("", text, False, seconds, finished=False)

    def _fitting(
        self, question: str, schema: str, database: UserDatabase | None, sampler: SamplingClient
    ) -> tuple[Example, str]:
        """The question with as much of its schema as may be shown, and what to say of what is left out.

        A schema that is cut is cut further until the prompt fits the model.
        """
        cut = cut_schema(schema, question, self.max_tables)
        while True:
            example = self._example(question, cut, database)
            tables = len(cut.kept)
            if not self.max_tables or tables < 2 or self._excess(example, sampler) is None:
                self._check_length(example, sampler)
                return example, " ".join(filter(None, (self._other_dialect(example.dialect), cut.note)))
            cut = cut_schema(schema, question, tables // 2)

    def _other_dialect(self, dialect: Dialect) -> str:
        """What to say where a database speaks another dialect than the run was trained in."""
        own = self.config.data.dialect
        if dialect == own:
            return ""
        return (
            f"The run's queries are {DISPLAY_NAMES[own]}, the database is {DISPLAY_NAMES[dialect]}: "
            "read the SQL before you trust it."
        )

    def _example(self, question: str, cut: CutSchema, database: UserDatabase | None) -> Example:
        """The question with its schema shown as configured, as far as that is possible without a gold query or rows."""
        options = self.config.prompt.schema_text
        if options.tables == "gold":
            options = options.model_copy(update={"tables": "all"})
        if database is None:
            options = options.model_copy(update={"sample_rows": 0, "descriptions": False})
        file = database is not None and database.dialect == "sqlite"
        db = str(database.location.path) if database and file else None
        rows = database.first_rows if database and not file else None
        dialect = database.dialect if database else self.config.data.dialect
        example = Example(id="ask", question=question, context=cut.text, answer="", db=db, dialect=dialect)
        return show_schemas([example], options, rows)[0]

    def _sampler(self, model: str) -> SamplingClient:
        if model not in self._samplers:
            if model == "base":
                coming = self._service.create_sampling_client(base_model=self.config.trained_model)
            else:
                checkpoint = tuned_checkpoint(self._run, self.config, "ask its base model with --base")
                coming = self._service.create_sampling_client(model_path=str(checkpoint.sampler_path))
            self._samplers[model] = coming.result()
        return self._samplers[model]

    def _excess(self, example: Example, sampler: SamplingClient) -> tuple[int, int] | None:
        """Tokens of a prompt that is too long, and those that the model takes; None if it fits."""
        limit = context_length(self._service, self.config.trained_model)
        tokens = prompts.tokenize([example], sampler.get_tokenizer(), prompts.PromptFormat.of(self.config))[0]
        fits = limit is None or len(tokens.prompt) + self.config.longest_answer <= limit
        return None if fits or limit is None else (len(tokens.prompt), limit)

    def _check_length(self, example: Example, sampler: SamplingClient) -> None:
        if excess := self._excess(example, sampler):
            length, limit = excess
            raise UserError(
                f"Schema and question are {length:,} tokens long; with {self.config.longest_answer} for the "
                f"answer they do not fit the {limit:,} tokens that {self.config.trained_model} takes. Leave out tables "
                "that the question does not need."
            )


@contextmanager
def answering(directory: Path, max_tables: int = DEFAULT_MAX_TABLES) -> Iterator[Answerer]:
    """The models of the run in a directory, until the end of the block.

    Args:
        directory: The run's.
        max_tables: Tables of a schema above which it is cut to what the question needs; 0 for never.

    Raises:
        UserError: There is no run, or it cannot be read.
        BackendError: Its backend cannot be opened, or fails.
    """
    run = RunDirectory(directory)
    config = load_run_config(run)
    with open_service(pin_matmul_dtype(config, run), run.file("checkpoints")) as service:
        yield Answerer(run, config, service, max_tables)


def answer_question(
    question: str,
    context: str,
    database: UserDatabase | None,
    run_directory: Path,
    *,
    base: bool,
    execute: bool,
    max_tables: int = DEFAULT_MAX_TABLES,
) -> None:
    """Print the query that a run's model writes for a question, and with `execute` what it returns.

    Args:
        question: In natural language.
        context: ``CREATE TABLE`` statements.
        database: What has that schema, if it is more than a text.
        run_directory: The run's.
        base: Let its base model answer.
        execute: Run the query on the database.
        max_tables: Tables above which the schema is cut to what the question needs; 0 for never.

    Raises:
        UserError: The run is missing or unusable, the model writes nothing, or the query fails on the database.
    """
    with answering(run_directory, max_tables) as answerer:
        answer = answerer.answer(question, context, "base" if base else "tuned", database)
    if answer.note:
        LOG.warning("%s", answer.note)
    if not answer.sql:
        raise UserError(f"{answer.without_query.rstrip('.')}. Ask in other words, or train it further.")
    console.print(answer.sql, markup=False, soft_wrap=True)
    if execute and database is not None:
        _print_rows(database, answer.sql)


def run_query(database: UserDatabase, sql: str) -> Result:
    """Run a query that reads; time, memory and rows are limited.

    Raises:
        QueryFailed: It fails, does more than read, or exceeds a limit.
        UserError: The database cannot be reached any more.
    """
    return database.run(sql, Limits(seconds=MAX_SECONDS, rows=MAX_ROWS))


def _print_rows(database: UserDatabase, sql: str) -> None:
    try:
        result = run_query(database, sql)
    except QueryFailed as error:
        raise UserError(f"The query does not run on {database.location.display_name}: {error}") from error
    table = Table(*result.columns)
    for row in result.rows:
        table.add_row(*("NULL" if value is None else str(value) for value in row))
    console.print(table)
    if result.overflow:
        console.print(f"Only the first {MAX_ROWS} rows are shown.")
