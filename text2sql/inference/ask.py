"""Questions on a schema, answered by the models of a run: behind `text2sql ask` and `text2sql demo`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from backends.interface import SamplingClient, ServiceClient, StreamingSamplingClient
from text2sql.config import Config
from text2sql.data import prompts
from text2sql.data.example import Example
from text2sql.data.schema_cut import DEFAULT_MAX_TABLES, CutSchema, cut_schema
from text2sql.data.schema_text import show_schemas
from text2sql.engines.answers import extract_sql_in
from text2sql.engines.dialect import DISPLAY_NAMES, Dialect
from text2sql.engines.user_databases.connection import Limits
from text2sql.engines.user_databases.user_database import UserDatabase
from text2sql.errors import UserError
from text2sql.inference.generate import GenerationRequest, generate, stream
from text2sql.runs.directory import RunDirectory, load_run_config
from text2sql.runs.session import context_length, open_service, pin_matmul_dtype
from text2sql.runs.trained_model import tuned_checkpoint
from text2sql.sql.sandbox import Result

# Limits of a query on the user's database.
MAX_ROWS = 100
MAX_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer to a question.

    Attributes:
        sql: The query in the answer; empty if there is none, or while the answer is streamed.
        text: The answer without the stop string.
        truncated: Whether it was cut off at `evaluation.max_new_tokens`.
        seconds: Time since the question was asked.
        finished: False while the answer is streamed.
        note: A sentence on how the question was asked, such as which tables were left out of the prompt.
    """

    sql: str
    text: str
    truncated: bool
    seconds: float
    finished: bool = True
    note: str = ""

    @property
    def without_query(self) -> str:
        """The message for an answer without a query, with what was written instead."""
        text = self.text.strip()[:200]
        return f'The model wrote no query, but: "{text}"' if text else "The model wrote nothing."


class Answerer:
    """The base model of a run and, if there is a checkpoint, the tuned model; each is loaded when it is first asked.

    Args:
        run: The run's directory.
        config: The run's configuration.
        service: The run's backend.
        max_tables: Number of tables above which a schema is cut to what the question needs; 0 for never.
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
        """Load all models now instead of when they are first asked."""
        for model in self.models:
            self._sampler(model)

    def answer(self, question: str, schema: str, model: str, database: UserDatabase | None = None) -> Answer:
        """Ask `model`, ``tuned`` or ``base``; the prompt shows the schema as in training.

        Raises:
            UserError: The run has no such model yet, or the prompt is longer than the model takes.
        """
        *_, answer = self.stream(question, schema, model, database)
        return answer

    def stream(self, question: str, schema: str, model: str, database: UserDatabase | None = None) -> Iterator[Answer]:
        """Yield the answer as it grows, if the backend streams, and the finished answer last."""
        sampler = self._sampler(model)
        example, note = self._fit_schema(question, schema, database, sampler)
        config, started = self.config, time.monotonic()
        if self._service.capabilities.streams:
            generations = stream(example, cast("StreamingSamplingClient", sampler), config)
        else:
            generations = iter(generate(GenerationRequest([example]), sampler, config)[0])
        for generation in generations:
            text, seconds = generation.text, time.monotonic() - started
            if generation.stop_reason:
                sql = extract_sql_in(text, example.dialect)
                yield Answer(sql, text, generation.stop_reason == "length", seconds, note=note)
            else:
                yield Answer("", text, False, seconds, finished=False)

    def _fit_schema(
        self, question: str, schema: str, database: UserDatabase | None, sampler: SamplingClient
    ) -> tuple[Example, str]:
        """The question with its schema cut until the prompt fits the model, and a note on what is left out."""
        cut = cut_schema(schema, question, self.max_tables)
        while True:
            example = self._example(question, cut, database)
            tables = len(cut.kept)
            if not self.max_tables or tables < 2 or self._excess(example, sampler) is None:
                self._check_length(example, sampler)
                return example, " ".join(filter(None, (self._dialect_note(example.dialect), cut.note)))
            cut = cut_schema(schema, question, tables // 2)

    def _dialect_note(self, dialect: Dialect) -> str:
        """The note for a database whose dialect is not that of the run; else empty."""
        run_dialect = self.config.data.dialect
        if dialect == run_dialect:
            return ""
        return (
            f"The run's queries are {DISPLAY_NAMES[run_dialect]}, the database is {DISPLAY_NAMES[dialect]}: "
            "read the SQL before you trust it."
        )

    def _example(self, question: str, cut: CutSchema, database: UserDatabase | None) -> Example:
        """The question with its schema shown as configured, as far as possible without a gold query and rows."""
        options = self.config.prompt.schema_text
        if options.tables == "gold":
            options = options.model_copy(update={"tables": "all"})
        if database is None:
            options = options.model_copy(update={"sample_rows": 0, "descriptions": False})
        is_sqlite = database is not None and database.dialect == "sqlite"
        db = str(database.location.path) if database and is_sqlite else None
        dialect = database.dialect if database else self.config.data.dialect
        example = Example(id="ask", question=question, context=cut.text, answer="", db=db, dialect=dialect)
        reads_rows = database is not None and not is_sqlite and (options.sample_rows or options.descriptions)
        with database.first_rows() if database and reads_rows else nullcontext() as rows:
            return show_schemas([example], options, rows)[0]

    def _sampler(self, model: str) -> SamplingClient:
        if model not in self._samplers:
            if model == "base":
                future = self._service.create_sampling_client(base_model=self.config.trained_model)
            else:
                checkpoint = tuned_checkpoint(self._run, self.config, "ask its base model with --base")
                future = self._service.create_sampling_client(model_path=str(checkpoint.sampler_path))
            self._samplers[model] = future.result()
        return self._samplers[model]

    def _excess(self, example: Example, sampler: SamplingClient) -> tuple[int, int] | None:
        """The length of a prompt that is too long and the model's context length, in tokens; None if it fits."""
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
def open_answerer(directory: Path, max_tables: int = DEFAULT_MAX_TABLES) -> Iterator[Answerer]:
    """Open the models of a run until the end of the block.

    Args:
        directory: The run's directory.
        max_tables: Number of tables above which a schema is cut to what the question needs; 0 for never.

    Raises:
        UserError: There is no run, or it cannot be read.
        BackendError: The backend cannot be opened, or fails.
    """
    run = RunDirectory(directory)
    config = load_run_config(run)
    with open_service(pin_matmul_dtype(config, run), run.file("checkpoints")) as service:
        yield Answerer(run, config, service, max_tables)


def run_query(database: UserDatabase, sql: str) -> Result:
    """Run a read-only query with limits on time, memory and rows.

    Raises:
        QueryFailed: It fails, does more than read, or exceeds a limit.
        UserError: The database cannot be reached any more.
    """
    return database.run(sql, Limits(seconds=MAX_SECONDS, rows=MAX_ROWS))
