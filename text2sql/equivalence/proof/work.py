"""What a worker does to prove a pair. It imports z3 before the worker's limits are set."""

from __future__ import annotations

from dataclasses import dataclass

import z3

from text2sql.equivalence.pair import PreparedPair
from text2sql.equivalence.proof.prove import proven_bound
from text2sql.equivalence.proof.symbols import NotModelled

# MiB that z3 may take, well below what a worker may grow by.
z3.set_param("memory_max_size", 128)


@dataclass(frozen=True)
class ProofTask:
    """The fields of `workers.Pair`."""

    schema: str
    gold: str
    predicted: str
    database: str | None = None


@dataclass(frozen=True)
class Attempt:
    """What became of a proof.

    Attributes:
        bound: The rows of a table up to which the queries are proven to agree, None if they are not.
        unknown: What proofs know nothing of, where it lies with that.
    """

    bound: int | None
    unknown: str


def prove(task: ProofTask) -> Attempt:
    """Tries to prove a pair."""
    pair = PreparedPair(task.schema, task.gold, task.predicted, task.database, 0)
    if pair.refusal or pair.answer.others:
        return Attempt(None, "an answer that is not one query")
    try:
        pair.prepare_gold()
        pair.prepare_predicted()
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
        pair.close()
