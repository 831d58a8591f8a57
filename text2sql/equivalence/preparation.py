"""Begins the preparation of a pair, for the dialect that its queries are written in."""

from __future__ import annotations

from text2sql.engines.dialect import Dialect
from text2sql.equivalence.pair import PairPreparation, PreparedPair
from text2sql.equivalence.sqlite_pair import SqlitePreparation


def open_pair(
    schema: str, gold: str, predicted: str, dialect: Dialect = "sqlite", *, seed: int
) -> PairPreparation[PreparedPair]:
    """A pair before its preparation; the caller closes it.

    Args:
        schema: ``CREATE TABLE`` statements.
        gold: The gold query.
        predicted: The prediction as the model wrote it.
        dialect: Of schema and queries; its engine runs them.
        seed: Of what breaks ties.

    Raises:
        EngineMissing: The engine of the dialect cannot be had.
    """
    if dialect == "sqlite":
        return SqlitePreparation(schema, gold, predicted, seed)
    from text2sql.engines.sandbox.engine import open_engine
    from text2sql.equivalence.engine_pair import EnginePreparation

    return EnginePreparation(schema, gold, predicted, seed, open_engine(dialect))
