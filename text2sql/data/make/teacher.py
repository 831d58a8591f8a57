"""Pairs that a teacher behind an endpoint writes: kept where it writes the same query again from the question alone."""

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
from text2sql.engines.dialect import SHOWN
from text2sql.engines.user_databases.connection import Database
from text2sql.engines.user_databases.inspect import DatabaseSchema
from text2sql.equivalence.match import match_pair
from text2sql.errors import UserError
from text2sql.evaluation import extract_sql
from text2sql.formats import dollars
from text2sql.sql.sandbox import QueryFailed

# Pairs of one request, requests at a time, rounds of such in a row that bring nothing, tables and rows that one shows.
_PAIRS, _REQUESTS, _DRY, _TABLES, _ROWS = 8, 8, 3, 8, 3
# Pairs that are asked for, for each that is wanted.
_PATIENCE = 5
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
    """Raise UserError where the endpoint's package or key is missing."""
    ChatClient(teacher)


def teach(options: MakeOptions, database: Database, schema: DatabaseSchema, view: View, number: int) -> Iterator[Draft]:
    """Drafts that came through the round trip, as long as the teacher brings some.

    Answers are kept by the endpoint's client, so that a second start asks for nothing twice.

    Args:
        options: What is to be made.
        database: Open.
        schema: Its schema.
        view: What the shapes know of it.
        number: Pairs that are there already, for messages.

    Raises:
        UserError: The endpoint cannot be used, or the limit of its cost was reached.
    """
    assert options.teacher is not None
    client, dry, start = ChatClient(options.teacher), 0, 0
    seen: set[str] = set()
    # A teacher may go on for ever with what is not kept: it is asked for a few times as many as are wanted.
    most = _REQUESTS * (_DRY + _PATIENCE * options.count // (_PAIRS * _REQUESTS))
    while dry < _DRY and start < most:
        prompts = [_writing(options, database, schema, view, batch) for batch in range(start, start + _REQUESTS)]
        start += _REQUESTS
        written = [
            draft for answer in client.complete_all(prompts) if not _failed(answer, number) for draft in _drafts(answer)
        ]
        drafts = [*{draft.question: draft for draft in written if draft.question not in seen}.values()]
        seen |= {draft.question for draft in drafts}
        found = list(_agreed(drafts, client, database, schema, options.max_tables))
        dry = 0 if found else dry + 1
        yield from found
    console.print(f"The teacher brought nothing new any more; {dollars(client.spent)} spent.")


def _failed(answer: Answer, number: int) -> bool:
    if not isinstance(answer, ChatFailure):
        return False
    if answer.kind == "cost":
        raise UserError(f"max_cost: {answer.reason} {number} pairs were there before; the same command goes on.")
    return True


def _writing(
    options: MakeOptions, database: Database, schema: DatabaseSchema, view: View, batch: int
) -> list[dict[str, str]]:
    rng = Random(f"teach/{options.seed}/{batch}")
    tables = view.domain.tables
    chosen = rng.sample(tables, min(len(tables), 3))
    names = [table.name.lower().rpartition(".")[2].strip('"`') for table in chosen]
    shown = cut_schema(schema.text, " ".join(names), _TABLES, needed=names).text
    rows = []
    for table in chosen:
        few = rng.sample(view.rows[table.name], min(_ROWS, len(view.rows[table.name])))
        rows += [f"{table.name}: {json.dumps(row, ensure_ascii=False, default=str)[:400]}" for row in few]
    text = WRITE.format(
        dialect=SHOWN[database.location.dialect],
        schema=shown,
        rows="\n".join(rows),
        count=_PAIRS,
        focus=" and ".join(table.name for table in chosen),
        batch=batch + 1,
    )
    return [{"role": "user", "content": text}]


def _drafts(answer: Answer) -> Iterator[Draft]:
    """The pairs in an answer: one JSON object a line, whatever stands around them."""
    assert not isinstance(answer, ChatFailure)
    for line in re.findall(r"\{.*\}", answer.text):
        try:
            row = json.loads(line)
            question, sql = row["question"], row["sql"]
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(question, str) and isinstance(sql, str) and question.strip() and sql.strip():
            yield Draft(" ".join(question.split()), sql.strip().rstrip(";"), ())


def _agreed(
    drafts: list[Draft], client: ChatClient, database: Database, schema: DatabaseSchema, max_tables: int
) -> Iterator[Draft]:
    """Drafts whose question, asked alone, brings a query that returns the same."""
    dialect = database.location.dialect
    texts = [
        ANSWER.format(
            schema=cut_schema(schema.text, d.question, max_tables, needed=tables_of(d.sql, dialect)).text,
            dialect=SHOWN[dialect],
            question=d.question,
        )
        for d in drafts
    ]
    answers = client.complete_all([[{"role": "user", "content": text}] for text in texts])
    for draft, answer in zip(drafts, answers, strict=True):
        again = "" if isinstance(answer, ChatFailure) else extract_sql(answer.text)
        if again and _same(draft.sql, again, database, schema):
            yield draft


def _same(sql: str, again: str, database: Database, schema: DatabaseSchema) -> bool:
    """Whether two queries return the same here and, in SQLite, on no made database anything else."""
    try:
        one, other = database.run(sql, LIMITS), database.run(again, LIMITS)
    except QueryFailed:
        return False
    if one.overflow or digest_of(one) != digest_of(other):
        return False
    return database.location.dialect != "sqlite" or match_pair(schema.text, sql, again).status != "different"
