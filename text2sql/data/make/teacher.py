"""Drafts by a teacher model: kept if the teacher writes an equivalent query again from the question alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from random import Random

from text2sql.chat_client import Answer, ChatClient, ChatFailure
from text2sql.config import EndpointConfig
from text2sql.console import console
from text2sql.data.make.options import MakeOptions
from text2sql.data.make.query import Draft, View
from text2sql.data.make.verify import LIMITS, digest_of, tables_of
from text2sql.data.schema_cut import cut_schema
from text2sql.engines.dialect import DISPLAY_NAMES
from text2sql.engines.user_databases.connection import Database
from text2sql.engines.user_databases.inspect import DatabaseSchema
from text2sql.equivalence.match import match_pair
from text2sql.errors import UserError
from text2sql.evaluation import extract_sql
from text2sql.formats import dollars
from text2sql.sql.sandbox import QueryFailed

# Pairs that one request asks for.
_PAIRS_PER_REQUEST = 8
# Requests that are sent together.
_REQUESTS_PER_ROUND = 8
# Rounds without a kept draft after which the teacher counts as exhausted.
_MAX_FRUITLESS_ROUNDS = 3
# Tables in the schema of a request.
_TABLES_PER_REQUEST = 8
# Rows of each table in a request.
_ROWS_PER_TABLE = 3
# Pairs that are asked for at most, for each that is wanted.
_MAX_REQUESTED_PER_WANTED = 5
WRITE = """You write training data for a text-to-SQL model on this {dialect} database.

{schema}

Some rows:
{rows}

Write {count} questions that people who work with these data would ask, each with the one {dialect} query that answers \
it. Ask mostly about {focus}; vary what the queries do: filters, joins, groups, orders with limits, subqueries, dates. \
Every value that a query compares with must stand in its question, as it stands in the data. Each question must have \
one reading, and an answer with rows. This is batch {batch}: write other questions than in other batches.

Answer with {count} lines of JSON and nothing else: {{"question": "...", "sql": "..."}}"""
ANSWER = """{schema}

Write the one {dialect} query that answers this question on the schema above. Answer with the query alone.

Question: {question}"""


def check_teacher(teacher: EndpointConfig) -> None:
    """Raises UserError if the endpoint's package or key is missing."""
    ChatClient(teacher)


def write_drafts(
    options: MakeOptions, database: Database, schema: DatabaseSchema, view: View, number: int
) -> Iterator[Draft]:
    """Yields drafts that pass the round trip, as long as the teacher writes new ones.

    The client caches answers, so that a second start asks for nothing twice.

    Args:
        options: The options of the command.
        database: Open.
        schema: Its schema.
        view: The described tables with sampled rows.
        number: The number of existing pairs, for messages.

    Raises:
        UserError: The endpoint cannot be used, or its cost limit is reached.
    """
    assert options.teacher is not None
    client, fruitless_rounds, start = ChatClient(options.teacher), 0, 0
    seen: set[str] = set()
    # A limit, because a teacher may go on writing drafts that are not kept.
    max_requests = _REQUESTS_PER_ROUND * (
        _MAX_FRUITLESS_ROUNDS + _MAX_REQUESTED_PER_WANTED * options.count // (_PAIRS_PER_REQUEST * _REQUESTS_PER_ROUND)
    )
    while fruitless_rounds < _MAX_FRUITLESS_ROUNDS and start < max_requests:
        prompts = [
            _writing_prompt(options, database, schema, view, batch)
            for batch in range(start, start + _REQUESTS_PER_ROUND)
        ]
        start += _REQUESTS_PER_ROUND
        new_drafts = [
            draft
            for answer in client.complete_all(prompts)
            if not _failed(answer, number)
            for draft in _read_drafts(answer)
        ]
        drafts = [*{draft.question: draft for draft in new_drafts if draft.question not in seen}.values()]
        seen |= {draft.question for draft in drafts}
        confirmed = list(_confirmed_drafts(drafts, client, database, schema, options.max_tables))
        fruitless_rounds = 0 if confirmed else fruitless_rounds + 1
        yield from confirmed
    console.print(f"The teacher brought nothing new any more; {dollars(client.spent)} spent.")


def _failed(answer: Answer, number: int) -> bool:
    if not isinstance(answer, ChatFailure):
        return False
    if answer.kind == "cost":
        raise UserError(f"max_cost: {answer.reason} {number} pairs were there before; the same command goes on.")
    return True


def _writing_prompt(
    options: MakeOptions, database: Database, schema: DatabaseSchema, view: View, batch: int
) -> list[dict[str, str]]:
    rng = Random(f"teach/{options.seed}/{batch}")
    tables = view.domain.tables
    chosen = rng.sample(tables, min(len(tables), 3))
    names = [table.name.lower().rpartition(".")[2].strip('"`') for table in chosen]
    shown = cut_schema(schema.text, " ".join(names), _TABLES_PER_REQUEST, needed=names).text
    rows = []
    for table in chosen:
        sampled_rows = rng.sample(view.rows[table.name], min(_ROWS_PER_TABLE, len(view.rows[table.name])))
        rows += [f"{table.name}: {json.dumps(row, ensure_ascii=False, default=str)[:400]}" for row in sampled_rows]
    text = WRITE.format(
        dialect=DISPLAY_NAMES[database.location.dialect],
        schema=shown,
        rows="\n".join(rows),
        count=_PAIRS_PER_REQUEST,
        focus=" and ".join(table.name for table in chosen),
        batch=batch + 1,
    )
    return [{"role": "user", "content": text}]


def _read_drafts(answer: Answer) -> Iterator[Draft]:
    """The pairs in an answer: one JSON object a line, with any text around them."""
    assert not isinstance(answer, ChatFailure)
    for line in re.findall(r"\{.*\}", answer.text):
        try:
            row = json.loads(line)
            question, sql = row["question"], row["sql"]
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(question, str) and isinstance(sql, str) and question.strip() and sql.strip():
            yield Draft(" ".join(question.split()), sql.strip().rstrip(";"), ())


def _confirmed_drafts(
    drafts: list[Draft], client: ChatClient, database: Database, schema: DatabaseSchema, max_tables: int
) -> Iterator[Draft]:
    """The drafts for whose question alone the teacher writes a query with the same result."""
    dialect = database.location.dialect
    texts = [
        ANSWER.format(
            schema=cut_schema(schema.text, d.question, max_tables, needed=tables_of(d.sql, dialect)).text,
            dialect=DISPLAY_NAMES[dialect],
            question=d.question,
        )
        for d in drafts
    ]
    answers = client.complete_all([[{"role": "user", "content": text}] for text in texts])
    for draft, answer in zip(drafts, answers, strict=True):
        second_query = "" if isinstance(answer, ChatFailure) else extract_sql(answer.text)
        if second_query and _are_equivalent(draft.sql, second_query, database, schema):
            yield draft


def _are_equivalent(sql: str, second_query: str, database: Database, schema: DatabaseSchema) -> bool:
    """Whether two queries return the same on the database and, in SQLite, on all made databases."""
    try:
        first_result, second_result = database.run(sql, LIMITS), database.run(second_query, LIMITS)
    except QueryFailed:
        return False
    if first_result.overflow or digest_of(first_result) != digest_of(second_result):
        return False
    return database.location.dialect != "sqlite" or match_pair(schema.text, sql, second_query).status != "different"
