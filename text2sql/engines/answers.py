"""The SQL in what a language model wrote, in any dialect; `text2sql.sql.extract` has the rule."""

from __future__ import annotations

from text2sql.engines.dialect import Dialect
from text2sql.engines.guard import the_query
from text2sql.sql.extract import Answer, read_answer
from text2sql.sql.repair import clean
from text2sql.sql.sandbox import QueryFailed


def read_answer_in(text: str, dialect: Dialect) -> Answer:
    """What an answer holds: a text that is one query of the dialect is that, whatever it begins with."""
    if dialect == "sqlite":
        return read_answer(text)
    text = text.strip()
    try:
        the_query(text, dialect)
        return Answer(clean(text))
    except QueryFailed:
        return read_answer(text)


def extract_sql_in(text: str, dialect: Dialect) -> str:
    """The one query that an answer stands for; the empty string if there is none."""
    return read_answer_in(text, dialect).sql
