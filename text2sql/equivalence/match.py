"""The decision: do two queries mean the same on every database of a schema?

Databases made for the pair are tried until the queries differ on one; agreement counts once the gold query has
returned something on several of them. The same arguments give the same verdict, whatever the machine's load: queries
are limited by SQLite's instruction count first and by the clock only as a last resort.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from text2sql.equivalence.databases.drawing.domains import Domains
from text2sql.equivalence.databases.drawing.generator import Database, Generator
from text2sql.equivalence.databases.drawing.recipes import FIRST_AIMED
from text2sql.equivalence.databases.probe import ConditionProbe
from text2sql.equivalence.databases.reaches import out_of_sight
from text2sql.equivalence.databases.reading.compiler import Told, compile_plan
from text2sql.equivalence.databases.values.thresholds import MOST, out_of_reach, thresholds
from text2sql.equivalence.databases.values.time_mentions import read_time_mentions
from text2sql.equivalence.pair import GoldFails, PreparedPair
from text2sql.equivalence.results import Answers, LenientComparison, informative
from text2sql.equivalence.shrink import Shrinker, explain
from text2sql.equivalence.ties import settle_aggregates
from text2sql.equivalence.trial import MAX_STEPS, Trial, strictly_same
from text2sql.equivalence.verdict import Table, Verdict, Witness
from text2sql.sql.budget import TIMEOUT, Budget
from text2sql.sql.sandbox import QueryFailed, Result, SqliteSandbox
from text2sql.sql.schema import Schema

DEFAULT_EFFORT = 40
# How the reason of a verdict begins where the gold query itself is at fault.
GOLD_FAILS = "The gold query cannot be used"
# Characters of a prediction.
LONGEST = 200_000
# Share of the time for a pair: the rest is for making the witness small and for the verdict.
SEARCH = 0.75
# Instructions and rows of a query on a real database.
ON_FILE_STEPS = 200 * MAX_STEPS
ON_FILE_ROWS = 200_000
# Informative databases that agreement rests on.
ENOUGH = 6


def judge_pair(
    schema: str | Schema,
    gold: str,
    predicted: str,
    database: str | None = None,
    *,
    effort: int = DEFAULT_EFFORT,
    seed: int = 0,
    timeout: float = TIMEOUT,
) -> Verdict:
    """Decides in this process; arguments and verdict are those of `execution_match`.

    SQLite may take minutes to compile a query that `complexity.may_explode` finds, and cannot be stopped meanwhile.
    """
    try:
        return _match(schema, gold, predicted, database, max(1, effort), seed, Budget(SEARCH * timeout))
    except sqlite3.Error as error:
        return Verdict("undecided", f"The schema cannot be filled with rows: {error}.")
    except MemoryError:
        return Verdict("timeout", "The pair takes too much memory.")
    except (Exception, RecursionError) as error:
        return Verdict("undecided", f"The evaluator failed on this pair: {type(error).__name__}: {error}")


def _match(
    schema: str | Schema, gold: str, predicted: str, database: str | None, effort: int, seed: int, budget: Budget
) -> Verdict:
    if len(predicted) > LONGEST:
        return Verdict("error", f"The prediction is longer than {LONGEST:,} characters.")
    pair = PreparedPair(schema, gold, predicted, database, seed)

    def compare() -> Verdict:
        trial = Trial(pair, budget)
        verdict = _on_file(pair, trial, database, budget) if database is not None else None
        return verdict or _on_made(pair, trial, effort, seed, budget)

    return replace(decided(pair, compare), unused_database=pair.unused_database)


def decided(pair: PreparedPair, compare: Callable[[], Verdict]) -> Verdict:
    """The verdict on a pair, which is prepared, compared and closed; its reason holds the pair's notes.

    Args:
        pair: Fresh.
        compare: Compares the two queries once they are prepared.
    """
    verdict = _compared(pair, compare)
    if pair.answer.others and verdict.status == "equivalent":
        verdict = not_alone(verdict, pair.answer.others[0])
    notes = f" ({' '.join(pair.notes)})" if pair.notes else ""
    return replace(verdict, reason=verdict.reason + notes)


def _compared(pair: PreparedPair, compare: Callable[[], Verdict]) -> Verdict:
    if pair.refusal:
        return Verdict("refused", f"The prediction is refused: {pair.refusal}.")
    if not pair.predicted_text:
        return Verdict("error", "The prediction holds no SQL query.")
    try:
        pair.prepare_gold()
        pair.prepare_predicted()
        return compare()
    except QueryFailed as failure:
        return failed_verdict(failure)
    except GoldFails as failure:
        return Verdict("undecided", f"{GOLD_FAILS}: {failure}.")
    finally:
        pair.close()


def _on_made(pair: PreparedPair, trial: Trial, effort: int, seed: int, budget: Budget) -> Verdict:
    """Compares on databases made for the pair."""
    with generator_of(pair, seed) as generator:
        return Search(pair, trial, generator, effort, budget).verdict()


@contextmanager
def generator_of(pair: PreparedPair, seed: int) -> Iterator[Generator]:
    """Makes databases for a prepared pair."""
    plan = compile_plan(pair.schema, pair.plan_trees, Told(pair.made, pair.padded, pair.fractional))
    for column, values in pair.hints.items():
        plan.hints.setdefault(column, []).extend(values)
    plan.swept, plan.time_mentions = pair.swept, read_time_mentions(pair.own_trees)
    for name in plan.tables:
        pair.tables.setdefault(name, pair.schema.tables[name])
    probe = ConditionProbe()
    try:
        yield Generator(plan, pair.tables, Domains(plan, pair.tables, probe), seed)
    finally:
        probe.close()


@dataclass
class _Tally:
    """What the databases tried so far have shown."""

    tried: int = 0
    informative: int = 0
    scale: int = 1
    gold_failures: int = 0
    predicted_timeouts: int = 0
    lenient: bool = True
    comparison: LenientComparison = field(default_factory=LenientComparison)
    difference: Database | None = None


class Search:
    """Tries databases until the queries differ on one or there have been enough.

    Attributes:
        difference: The rows of the witness, once there is one.
    """

    def __init__(
        self, pair: PreparedPair, trial: Trial, generator: Generator, effort: int, budget: Budget, scouted: bool = False
    ) -> None:
        self._pair, self._trial, self._generator = pair, trial, generator
        self._effort, self._budget = effort, budget
        self.difference: Database | None = None
        self._trees = pair.plan_trees
        # Groups that compete differ in many ways that rarely decide: AVG(x) against AVG(DISTINCT x). Where another
        # engine has found nothing on these (``scouted``), it has seen them.
        enough = effort * 2 if generator.grouped and not scouted else effort
        self._enough = enough + generator.aimed if enough > FIRST_AIMED else enough

    def verdict(self) -> Verdict:
        """Searches; queries that are the same by their trees need only one telling database."""
        tally = _Tally()
        same: bool | None = None
        enough = self._enough
        # Those that are aimed at something take nothing from those that make the gold query find something.
        most = max(self._effort * 3, enough + self._effort)
        index = -1
        while index + 1 < most:
            index += 1
            if same is None and tally.informative and tally.difference is None:
                same = self._pair.alike
            if same and tally.difference is None:
                reason = "Both are the same query, written alike."
                return Verdict("equivalent", reason, None, True, True, index, 1, proof="canonical")
            if index >= enough and tally.informative >= min(ENOUGH, self._effort):
                break
            if self._budget.spent:
                break
            if tally.difference is not None and (not tally.lenient or index >= enough):
                break
            verdict = self._try(index, tally)
            if verdict is not None:
                return verdict
        return self._conclude(tally)

    def told_apart(self, databases: int) -> bool:
        """Whether one of the first databases shows that the queries differ, or that the prediction does not run."""
        tally = _Tally()
        for index in range(databases):
            if self._try(index, tally) is not None or tally.difference is not None:
                return True
            if self._budget.spent:
                break
        return False

    def _try(self, index: int, tally: _Tally) -> Verdict | None:
        """Compares on one database; a verdict only if the search ends here without a difference."""
        rows = self._generator.database(index, tally.scale, telling=index >= self._enough)
        self._trial.load(rows)
        if self._generator.refusing or self._pair.box.refusing:
            rows = self._settle(rows)
        reverse = self._trial.may_reverse and index % 3 == 1
        if reverse:
            self._pair.box.perturb(reverse=True)
        try:
            outcome = self._compare_once(tally)
        finally:
            if reverse:
                self._pair.box.perturb()
        if isinstance(outcome, Verdict) or outcome is None:
            return outcome
        answers, gold, predicted = outcome
        tally.tried += 1
        tally.informative += informative(gold.rows)
        strict = strictly_same(answers, gold, predicted)
        if not strict and tally.difference is None and self._trial.real(rows, answers):
            tally.difference = rows
        if tally.lenient and (not strict or tally.difference is not None):
            same = strict or tally.comparison.same(gold.rows, predicted.rows, len(gold.columns), len(predicted.columns))
            if not same and (tally.difference is rows or self._trial.real(rows, answers)):
                tally.lenient = False
        return None

    def _compare_once(self, tally: _Tally) -> tuple[Answers, Result, Result] | Verdict | None:
        """Runs both queries; None to go on with a smaller database."""
        try:
            gold, answers = self._trial.run_gold()
        except QueryFailed as failure:
            if failure.kind == "timeout" and self._generator.recursive and self._generator.circles:
                # A recursion that follows rows round in circles does not end: data where it does say more.
                self._generator.circles = False
                return None
            tally.gold_failures += 1
            if failure.kind == "timeout":
                tally.scale = min(8, tally.scale * 2)
            if failure.kind != "refused" and tally.gold_failures < self._pair.patience:
                return None
            raise GoldFails(f"it fails on a small database: {failure}") from None
        try:
            predicted = self._trial.run_predicted()
        except QueryFailed as failure:
            if failure.kind == "timeout":
                tally.predicted_timeouts += 1
                tally.scale = min(8, tally.scale * 2)
                if tally.predicted_timeouts < 3 and not failure.out_of_memory:
                    return None
            return failed_verdict(failure)
        if gold.overflow:
            tally.scale = min(8, tally.scale * 2)
            return None
        return answers, gold, predicted

    def _settle(self, rows: Database) -> Database:
        """Takes out the children of rows that a CHECK kept out."""
        stored = {name: self._pair.box.stored(self._pair.tables[name]) for name in rows}
        while not self._generator.sound(stored):
            self._generator.drop_orphans(stored)
        self._trial.load(stored)
        return stored

    def _conclude(self, tally: _Tally) -> Verdict:
        if tally.difference is not None:
            return self._different(tally)
        if tally.predicted_timeouts and tally.informative < ENOUGH:
            return Verdict("timeout", "The prediction takes too long even on small databases.")
        if not tally.informative:
            return Verdict(
                "undecided",
                f"The gold query returned nothing but emptiness or NULL on all {tally.tried} databases tried, "
                "so agreement proves nothing.",
                databases=tally.tried,
            )
        enough = min(ENOUGH, self._effort)
        if tally.informative < enough:
            short = (
                f"The queries take so long that only {tally.tried} databases could be tried"
                if self._budget.spent
                else f"Of {tally.tried} databases tried, {tally.informative} gave a telling result"
            )
            reason = f"{short}; the results agree there, but agreement counts from {enough} telling databases on."
            return Verdict("undecided", reason, databases=tally.tried, informative=tally.informative)
        counted = [thresholds(tree) for tree in self._trees]
        beyond = out_of_reach(*counted) if len(counted) > 1 else None
        if beyond is not None:
            reason = (
                f"Only one of the queries counts rows against {beyond:,}; databases are made up to {MOST:,} such rows, "
                "and the results agree on these."
            )
            return Verdict("undecided", reason, databases=tally.tried, informative=tally.informative)
        unseen = out_of_sight(self._trees)
        if unseen is not None:
            what, number, most = unseen
            reason = (
                f"Only one of the queries {what} as far as {number:,}; databases are made for up to {most:,}, and the "
                "results agree on these."
            )
            return Verdict("undecided", reason, databases=tally.tried, informative=tally.informative)
        if not self._pair.understood:
            reason = (
                f"The results agree on all {tally.tried} databases tried, but the syntax of one of the queries is not "
                "understood, so they may not hold what it asks about."
            )
            return Verdict("undecided", reason, databases=tally.tried, informative=tally.informative)
        return Verdict(
            "equivalent",
            f"The results agree on all {tally.tried} databases made for the pair, "
            f"{tally.informative} of them with a telling result.",
            None,
            True,
            True,
            tally.tried,
            tally.informative,
            proof="tested",
        )

    def _different(self, tally: _Tally) -> Verdict:
        assert tally.difference is not None
        shrinker = Shrinker(self._pair, self._trial, self._generator, self._budget)
        self.difference = shrinker.shrink(tally.difference)
        witness, reason = shrinker.witness(self.difference)
        return Verdict("different", reason, witness, False, tally.lenient, tally.tried, tally.informative)


def _on_file(pair: PreparedPair, trial: Trial, path: str, budget: Budget) -> Verdict | None:
    """Compares on a real database; None if the queries agree there, or if it does not decide."""
    try:
        box = SqliteSandbox.from_file(path)
    except (sqlite3.Error, OSError) as error:
        pair.unused_database = f"{path} cannot be read ({error})"
        return None
    settle_aggregates(box, f"{pair.gold.sql} {pair.predicted.sql}")
    box.allow_json_tables()
    try:
        verdict = _compare_on(box, pair, trial, budget)
        # What SQL leaves open may come out otherwise when scans run backwards: only a lasting difference counts.
        if verdict is not None and verdict.status == "different" and trial.unstable:
            box.perturb(reverse=True, indexes=False)
            again = _compare_on(box, pair, trial, budget)
            stable = again is not None and again.witness and verdict.witness
            if not stable or again.witness.gold != verdict.witness.gold:  # type: ignore[union-attr]
                return None
        return verdict
    finally:
        box.close()


def _compare_on(box: SqliteSandbox, pair: PreparedPair, trial: Trial, budget: Budget) -> Verdict | None:
    def run(sql: str) -> Result:
        return box.run(sql, ON_FILE_STEPS, budget.seconds, ON_FILE_ROWS)

    try:
        result = run(trial.gold_sql)
    except QueryFailed as failure:
        if failure.kind == "timeout":
            raise GoldFails(f"on the database, {failure}") from None
        # The file has another schema, or none: the databases made for the pair decide.
        pair.unused_database = f"the gold query fails on it ({failure})"
        return None
    answers = trial.answers(result)
    try:
        predicted = run(pair.predicted.sql)
    except QueryFailed as failure:
        return failed_verdict(failure)
    width = len(result.columns) - (trial.order.extra if trial.order else 0)
    gold = Result(result.columns[:width], answers.window)
    if result.overflow:
        pair.unused_database = f"the gold query returns more than {ON_FILE_ROWS:,} rows on it"
    if strictly_same(answers, gold, predicted) or result.overflow:
        return None
    lenient = LenientComparison().same(gold.rows, predicted.rows, width, len(predicted.columns))
    shown = Table(gold.columns, tuple(gold.rows[:20])), Table(predicted.columns, tuple(predicted.rows[:20]))
    reason = "On the real database: " + explain(gold, predicted)
    return Verdict("different", reason, Witness({}, *shown), False, lenient, 1, 1)


def not_alone(verdict: Verdict, other: str) -> Verdict:
    """The verdict for an answer whose first query is right and not the only one: not strictly an answer at all."""
    shown = other if len(other) <= 60 else f"{other[:57]}..."
    reason = f"The first query of the answer is equivalent to the gold query, but another query follows it: {shown}"
    return replace(verdict, status="error", reason=reason, strict=False, proof=None)


def failed_verdict(failure: QueryFailed) -> Verdict:
    """The verdict for a prediction that gives no result."""
    if failure.kind == "refused":
        return Verdict("refused", f"The prediction is refused: {failure}.")
    if failure.kind == "timeout":
        return Verdict("timeout", f"The prediction was stopped: {failure}.")
    return Verdict("error", f"The prediction does not run: {failure}.")
