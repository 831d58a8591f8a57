"""The comparison on a real database, a SQLite file, where one was given."""

from __future__ import annotations

import sqlite3

from text2sql.equivalence.pair import GoldFails, PreparedPair
from text2sql.equivalence.results import LenientComparison
from text2sql.equivalence.shrink import explain
from text2sql.equivalence.ties import sort_aggregates
from text2sql.equivalence.trial import MAX_STEPS, BothResults, Trial
from text2sql.equivalence.verdict import Table, Verdict, Witness
from text2sql.sql.budget import Budget
from text2sql.sql.sandbox import QueryFailed, Result, SqliteSandbox

# SQLite's instructions, and rows, of a query on a real database, which is larger than those that are made.
ON_FILE_STEPS = 200 * MAX_STEPS
ON_FILE_ROWS = 200_000
# Rows of each result in a witness.
_MAX_WITNESS_ROWS = 20


def match_on_file(pair: PreparedPair, trial: Trial, path: str, budget: Budget) -> Verdict | None:
    """Compares on a real database; None if the queries agree there, or if it does not decide.

    Raises:
        GoldFails: The gold query takes too long there.
    """
    try:
        sandbox = SqliteSandbox.from_file(path)
    except (sqlite3.Error, OSError) as error:
        pair.notes.unused_database = f"{path} cannot be read ({error})"
        return None
    sort_aggregates(sandbox, f"{pair.gold.sql} {pair.predicted.sql}")
    sandbox.allow_json_tables()
    try:
        verdict = _compare_on(sandbox, pair, trial, budget)
        # What SQL leaves open may come out otherwise when scans run backwards: only a lasting difference counts.
        if verdict is not None and verdict.status == "different" and trial.unstable:
            sandbox.perturb(reverse=True, indexes=False)
            again = _compare_on(sandbox, pair, trial, budget)
            if again is None or not _same_gold_result(again, verdict):
                return None
        return verdict
    finally:
        sandbox.close()


def _same_gold_result(one: Verdict, other: Verdict) -> bool:
    return one.witness is not None and other.witness is not None and one.witness.gold == other.witness.gold


def _compare_on(sandbox: SqliteSandbox, pair: PreparedPair, trial: Trial, budget: Budget) -> Verdict | None:
    def run(sql: str) -> Result:
        return sandbox.run(sql, ON_FILE_STEPS, budget.seconds, ON_FILE_ROWS)

    try:
        result = run(trial.gold_sql)
    except QueryFailed as failure:
        if failure.kind == "timeout":
            raise GoldFails(f"on the database, {failure}") from None
        # The file has another schema, or none: the databases made for the pair decide.
        pair.notes.unused_database = f"the gold query fails on it ({failure})"
        return None
    allowed = trial.allowed_results(result)
    try:
        predicted = run(pair.predicted.sql)
    except QueryFailed as failure:
        return Verdict.failed(failure)
    width = trial.result_width(result)
    gold = Result(result.columns[:width], allowed.window)
    if result.overflow:
        pair.notes.unused_database = f"the gold query returns more than {ON_FILE_ROWS:,} rows on it"
    if BothResults(gold, allowed, predicted).agree or result.overflow:
        return None
    lenient = LenientComparison().same(gold.rows, predicted.rows, width, len(predicted.columns))
    reason = "On the real database: " + explain(gold, predicted)
    witness = Witness({}, _first_rows(gold), _first_rows(predicted))
    return Verdict.different(reason, witness, lenient=lenient, databases=1, informative=1)


def _first_rows(result: Result) -> Table:
    return Table(result.columns, tuple(result.rows[:_MAX_WITNESS_ROWS]))
