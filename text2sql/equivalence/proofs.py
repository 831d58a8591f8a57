"""Verdicts ``equivalent`` that become proven ones; see `text2sql.equivalence.proof` for how.

A proof is a separate step after the verdicts: it changes none of them but by what they rest on, and costs nothing
where nobody asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from backends.extras import missing_package
from text2sql.equivalence.processes.process_pool import Lost, Workers, run_tasks
from text2sql.equivalence.scoring import Pair
from text2sql.equivalence.verdict import Verdict
from text2sql.errors import UserError
from text2sql.sql.budget import TIMEOUT


def require_solver(needed_by: str, alternative: str) -> None:
    """Checks that z3 is installed.

    Args:
        needed_by: The key or option that asks for proofs.
        alternative: What works without it, as an imperative.

    Raises:
        UserError: It is not.
    """
    try:
        import z3  # noqa: F401
    except ImportError as error:
        raise UserError(missing_package(needed_by, "z3", "proof", alternative)) from error


def with_proofs(pairs: Sequence[Pair], verdicts: Sequence[Verdict], *, workers: Workers = 1) -> list[Verdict]:
    """Tries to prove those pairs that are ``equivalent`` because databases told nothing apart.

    Proofs speak of SQLite: verdicts of other engines stay as they are.

    Args:
        pairs: The pairs.
        verdicts: The verdict of each.
        workers: Processes. The proofs do not depend on it.

    Returns:
        The verdicts; of a pair that is proven, with the proof ``bounded`` and its bound.

    Raises:
        UserError: z3 is not installed.
    """
    require_solver("A proof", "take the verdicts as they are")
    from text2sql.equivalence.proof.work import ProofTask, prove

    tested = [index for index, verdict in enumerate(verdicts) if verdict.proof == "tested" and not verdict.judged_on]
    if not tested:
        return list(verdicts)
    tasks = []
    for index in tested:
        pair = Pair(*pairs[index])
        tasks.append(ProofTask(pair.schema, pair.gold, pair.predicted, pair.database))
    proven = list(verdicts)
    for number, reply in run_tasks(prove, tasks, workers=workers, seconds=TIMEOUT):
        if not isinstance(reply, Lost) and reply.bound:
            index = tested[number]
            proven[index] = _proven(proven[index], reply.bound)
    return proven


def _proven(verdict: Verdict, rows: int) -> Verdict:
    reason = f"{verdict.reason} Proven for every database with at most {rows} rows to a table."
    return replace(verdict, reason=reason, proof="bounded", bound=rows)
