"""The search for a database on which the queries of a pair differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from text2sql.equivalence.databases.drawing.generator import Database, Generator
from text2sql.equivalence.databases.drawing.recipes import FIRST_TARGETED
from text2sql.equivalence.databases.limits import count_beyond_limit, reach_beyond_limit
from text2sql.equivalence.databases.phenomena.count_thresholds import MAX_COUNTED_ROWS, read_count_thresholds
from text2sql.equivalence.pair import GoldFails, PreparedPair
from text2sql.equivalence.results import LenientComparison, is_informative
from text2sql.equivalence.shrink import Shrinker
from text2sql.equivalence.trial import BothResults, Trial
from text2sql.equivalence.verdict import Verdict
from text2sql.sql.budget import Budget
from text2sql.sql.sandbox import QueryFailed

# Informative databases that agreement rests on.
MIN_INFORMATIVE = 6
# Timeouts of the prediction after which it is given up; each halves the rows of the databases that follow.
_MAX_PREDICTED_TIMEOUTS = 3
_MAX_SHRINK_FACTOR = 8


@dataclass
class _Tally:
    """What the databases tried so far have shown.

    Attributes:
        databases: How many were compared.
        informative: On how many of them the gold query returned something.
        shrink_factor: Above 1, databases have that many times fewer rows: the queries proved too slow.
        gold_failures: On how many the gold query failed.
        gold_stopped: On how many it took too long, or returned more rows than are compared.
        predicted_timeouts: On how many the prediction took too long.
        lenient: Whether the results agree as sets of rows, with the columns in some order.
        difference: The first database on which the queries differ.
    """

    databases: int = 0
    informative: int = 0
    shrink_factor: int = 1
    gold_failures: int = 0
    gold_stopped: int = 0
    predicted_timeouts: int = 0
    lenient: bool = True
    comparison: LenientComparison = field(default_factory=LenientComparison)
    difference: Database | None = None

    def shrink(self) -> None:
        self.shrink_factor = min(_MAX_SHRINK_FACTOR, self.shrink_factor * 2)


class CounterexampleSearch:
    """Tries databases until the queries differ on one or there have been enough.

    Args:
        pair: Both queries.
        trial: Runs them.
        generator: Makes the databases.
        databases: How many to try; more are tried where agreement would be vacuous.
        budget: What the search may cost.
        scouted: Whether another engine has found no difference on these databases.

    Attributes:
        counterexample: The rows of the witness, once there is one.
    """

    def __init__(
        self,
        pair: PreparedPair,
        trial: Trial,
        generator: Generator,
        databases: int,
        budget: Budget,
        *,
        scouted: bool = False,
    ) -> None:
        self._pair, self._trial, self._generator, self._budget = pair, trial, generator, budget
        self.counterexample: Database | None = None
        self._min_informative = min(MIN_INFORMATIVE, databases)
        # Groups that compete differ in many ways that rarely decide: AVG(x) against AVG(DISTINCT x). An engine that
        # has scouted has seen them.
        enough = databases * 2 if generator.groups_compete and not scouted else databases
        self._enough = enough + generator.target_count if enough > FIRST_TARGETED else enough
        # Those that are aimed at something take nothing from those that make the gold query find something.
        self._max_databases = max(databases * 3, self._enough + databases)

    def verdict(self) -> Verdict:
        """Searches; queries that are the same by their trees need only one informative database."""
        tally = _Tally()
        is_same_query: bool | None = None
        for index in range(self._max_databases):
            if is_same_query is None and tally.informative and tally.difference is None:
                is_same_query = self._pair.is_same_query
            if is_same_query and tally.difference is None:
                reason = "Both are the same query, written alike."
                return Verdict.equivalent(reason, "canonical", databases=index, informative=1)
            if self._is_over(index, tally):
                break
            verdict = self._try_database(index, tally)
            if verdict is not None:
                return verdict
        return self._conclude(tally)

    def _is_over(self, index: int, tally: _Tally) -> bool:
        if index >= self._enough and tally.informative >= self._min_informative:
            return True
        if self._budget.spent:
            return True
        return tally.difference is not None and (not tally.lenient or index >= self._enough)

    def finds_difference(self, databases: int) -> bool:
        """Whether one of the first databases shows that the queries differ, or that the prediction does not run."""
        tally = _Tally()
        for index in range(databases):
            if self._try_database(index, tally) is not None or tally.difference is not None:
                return True
            if self._budget.spent:
                break
        return False

    def _try_database(self, index: int, tally: _Tally) -> Verdict | None:
        """Compares on one database; a verdict only if the search ends here without a difference."""
        rows = self._generator.database(index, tally.shrink_factor, informative=index >= self._enough)
        self._trial.load(rows)
        if self._generator.may_refuse_rows or self._pair.sandbox.refusing:
            rows = self._drop_orphans(rows)
        reverse = self._trial.may_reverse and index % 3 == 1
        if reverse:
            self._pair.sandbox.perturb(reverse=True)
        try:
            results = self._run_both(tally)
        finally:
            if reverse:
                self._pair.sandbox.perturb()
        if results is None or isinstance(results, Verdict):
            return results
        self._count(rows, results, tally)
        return None

    def _drop_orphans(self, rows: Database) -> Database:
        """Removes from the loaded database the children of rows that a CHECK kept out."""
        stored = {name: self._pair.sandbox.stored(self._pair.tables[name]) for name in rows}
        while not self._generator.foreign_keys_hold(stored):
            self._generator.drop_orphans(stored)
        self._trial.load(stored)
        return stored

    def _run_both(self, tally: _Tally) -> BothResults | Verdict | None:
        """Runs both queries; None to go on with another database."""
        try:
            gold, allowed = self._trial.run_gold()
        except QueryFailed as failure:
            self._handle_gold_failure(failure, tally)
            return None
        try:
            predicted = self._trial.run_predicted()
        except QueryFailed as failure:
            if failure.kind == "timeout":
                tally.predicted_timeouts += 1
                tally.shrink()
                if tally.predicted_timeouts < _MAX_PREDICTED_TIMEOUTS and not failure.out_of_memory:
                    return None
            return Verdict.failed(failure)
        if gold.overflow:
            tally.gold_stopped += 1
            tally.shrink()
            return None
        return BothResults(gold, allowed, predicted)

    def _handle_gold_failure(self, failure: QueryFailed, tally: _Tally) -> None:
        """Has the next databases help the gold query.

        Raises:
            GoldFails: It has failed on too many of them, or does more than read.
        """
        tally.gold_stopped += failure.kind == "timeout"
        if failure.kind == "timeout" and self._generator.is_recursive and self._generator.allow_cycles:
            # A recursion that follows rows round in circles does not end: data where it does say more.
            self._generator.allow_cycles = False
            return
        tally.gold_failures += 1
        if failure.kind == "timeout":
            tally.shrink()
        if failure.kind == "refused" or tally.gold_failures >= self._pair.max_gold_failures:
            raise GoldFails(f"it fails on a small database: {failure}") from None

    def _count(self, rows: Database, results: BothResults, tally: _Tally) -> None:
        """Adds what one database has shown."""
        gold, predicted = results.gold, results.predicted
        tally.databases += 1
        tally.informative += is_informative(gold.rows)
        strict = results.agree
        if not strict and tally.difference is None and self._trial.is_real(rows, results.allowed):
            tally.difference = rows
        if tally.lenient and (not strict or tally.difference is not None):
            same = strict or tally.comparison.same(gold.rows, predicted.rows, len(gold.columns), len(predicted.columns))
            if not same and (tally.difference is rows or self._trial.is_real(rows, results.allowed)):
                tally.lenient = False

    def _conclude(self, tally: _Tally) -> Verdict:
        if tally.difference is not None:
            return self._different(tally.difference, tally)
        if tally.predicted_timeouts and tally.informative < MIN_INFORMATIVE:
            return Verdict("timeout", "The prediction takes too long even on small databases.")
        if tally.gold_stopped and not tally.databases:
            raise GoldFails("it takes too long or returns too many rows, even on small databases")
        doubt = next(self._doubts(tally), None)
        if doubt is not None:
            return Verdict.undecided(doubt, databases=tally.databases, informative=tally.informative)
        return Verdict.equivalent(
            f"The results agree on all {tally.databases} databases made for the pair, "
            f"{tally.informative} of them with a telling result.",
            "tested",
            databases=tally.databases,
            informative=tally.informative,
        )

    def _doubts(self, tally: _Tally) -> Iterator[str]:
        """The reasons for which agreement on all databases does not decide, the worst first."""
        if not tally.databases:
            yield "No database could be tried in the time for the pair."
        if not tally.informative and tally.gold_stopped:
            yield (
                f"The gold query took too long or returned too many rows on {tally.gold_stopped} of the databases "
                f"tried, and nothing but emptiness or NULL on the other {tally.databases}, so agreement proves nothing."
            )
        if not tally.informative:
            yield (
                f"The gold query returned nothing but emptiness or NULL on all {tally.databases} databases tried, "
                "so agreement proves nothing."
            )
        if tally.informative < self._min_informative:
            short = (
                f"The queries take so long that only {tally.databases} databases could be tried"
                if self._budget.spent
                else f"Of {tally.databases} databases tried, {tally.informative} gave a telling result"
            )
            yield (
                f"{short}; the results agree there, but agreement counts from {self._min_informative} telling "
                "databases on."
            )
        trees = self._pair.sqlite_trees
        counts = [read_count_thresholds(tree) for tree in trees]
        uncountable = count_beyond_limit(*counts) if len(counts) > 1 else None
        if uncountable is not None:
            yield (
                f"Only one of the queries counts rows against {uncountable:,}; databases are made up to "
                f"{MAX_COUNTED_ROWS:,} such rows, and the results agree on these."
            )
        unseen = reach_beyond_limit(trees)
        if unseen is not None:
            what, number, limit = unseen
            yield (
                f"Only one of the queries {what} as far as {number:,}; databases are made for up to {limit:,}, and the "
                "results agree on these."
            )
        if not self._pair.is_parsed:
            yield (
                f"The results agree on all {tally.databases} databases tried, but the syntax of one of the queries is "
                "not understood, so they may not hold what it asks about."
            )

    def _different(self, difference: Database, tally: _Tally) -> Verdict:
        shrinker = Shrinker(self._pair, self._trial, self._generator, self._budget)
        self.counterexample = shrinker.shrink(difference)
        witness, reason = shrinker.witness(self.counterexample)
        return Verdict.different(
            reason, witness, lenient=tally.lenient, databases=tally.databases, informative=tally.informative
        )
