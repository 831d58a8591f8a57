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
    """Find out whether z3 is installed.

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

    Args:
        pairs: The pairs.
        verdicts: The verdict of each.
        workers: Processes. The proofs do not depend on it.

    Proofs speak of SQLite: verdicts of other engines stay as they are.

    Returns:
        The verdicts; of a pair that is proven, with the proof ``bounded`` and its bound.

    Raises:
        UserError: z3 is not installed.
    """
    require_solver("A proof", "take the verdicts as they are")
    from text2sql.equivalence.proof.work import ProofTask, prove

    tested = [place for place, verdict in enumerate(verdicts) if verdict.proof == "tested" and not verdict.judged_on]
    tasks = [ProofTask(*Pair(*pairs[place])[:4]) for place in tested]
    found = list(verdicts)
    for number, reply in run_tasks(prove, tasks, workers=workers, seconds=TIMEOUT) if tasks else ():
        if not isinstance(reply, Lost) and reply.bound:
            place = tested[number]
            found[place] = _proven(found[place], reply.bound)
    return found


def _proven(verdict: Verdict, rows: int) -> Verdict:
    reason = f"{verdict.reason} Proven for every database with at most {rows} rows to a table."
    return replace(verdict, reason=reason, proof="bounded", bound=rows)
