"""What a worker does to prove a pair. It imports z3 before the worker's limits are set."""

from __future__ import annotations

from dataclasses import dataclass

import z3

from text2sql.equivalence.proof.prove import proven_bound
from text2sql.equivalence.proof.symbols import NotModelled
from text2sql.equivalence.sqlite_pair import SqlitePreparation

# Well below what a worker may grow by.
_MAX_Z3_MEBIBYTES = 128
z3.set_param("memory_max_size", _MAX_Z3_MEBIBYTES)


@dataclass(frozen=True)
class ProofTask:
    """A pair of SQLite queries; the fields are those of `text2sql.equivalence.scoring.Pair`."""

    schema: str
    gold: str
    predicted: str
    database: str | None = None


@dataclass(frozen=True)
class Attempt:
    """The result of an attempt to prove a pair.

    Attributes:
        bound: The rows of a table up to which the queries are proven to agree, None if they are not.
        unknown: What in the queries proofs do not model, or how the attempt failed; empty otherwise.
    """

    bound: int | None
    unknown: str


def prove(task: ProofTask) -> Attempt:
    """Tries to prove a pair."""
    preparation = SqlitePreparation(task.schema, task.gold, task.predicted, database=task.database)
    if preparation.refusal or preparation.answer.others:
        return Attempt(None, "an answer that is not one query")
    try:
        pair = preparation.prepare()
        gold, predicted = pair.gold.tree, pair.predicted.tree
        if gold is None or predicted is None:
            return Attempt(None, "a syntax that sqlglot does not read")
        return Attempt(proven_bound(pair.tables, gold, predicted), "")
    except NotModelled as reason:
        return Attempt(None, str(reason))
    # Whatever a proof fails on, the verdict stays.
    except Exception as error:
        return Attempt(None, f"{type(error).__name__}: {error}")
    finally:
        preparation.close()
