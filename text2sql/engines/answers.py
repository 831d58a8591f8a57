"""Extracts the SQL from a language model's answer in any dialect; `text2sql.sql.extract` has the rules."""

from __future__ import annotations

from text2sql.engines.dialect import Dialect
from text2sql.engines.guard import parse_single_query
from text2sql.sql.extract import Answer, read_answer
from text2sql.sql.repair import strip_semicolon
from text2sql.sql.sandbox import QueryFailed


def read_answer_in(text: str, dialect: Dialect) -> Answer:
    """Reads an answer; a text that parses as one query of the dialect is taken as it is."""
    if dialect == "sqlite":
        return read_answer(text)
    text = text.strip()
    try:
        parse_single_query(text, dialect)
        return Answer(strip_semicolon(text))
    except QueryFailed:
        return read_answer(text)


def extract_sql_in(text: str, dialect: Dialect) -> str:
    """The query in an answer; the empty string if there is none."""
    return read_answer_in(text, dialect).sql
