"""Runs both queries on one database, and tells a difference between them from what SQL leaves to the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from text2sql.equivalence import ties
from text2sql.equivalence.databases.drawing.generator import Database
from text2sql.equivalence.pair import PreparedPair
from text2sql.equivalence.results import AllowedResults, same_bag
from text2sql.sql.budget import TIMEOUT, Budget
from text2sql.sql.prepare import Prepared
from text2sql.sql.sandbox import QueryFailed, Result
from text2sql.sql.values import Row, Value

# Instructions of SQLite's virtual machine that a query may take on a made database.
MAX_STEPS = 2_000_000
# Many times what that number of steps takes, unless each of them is made slow on purpose.
_QUERY_SECONDS = TIMEOUT / 5
# Further runs of both queries, each by how it breaks ties: `TieBreaker.direction`.
_TIE_DIRECTIONS = (0, 1, 0, -1, 0, 0)
# Databases on which the form of the gold query without LIMIT is checked against the query itself.
_FORM_CHECKS = 3


@dataclass(frozen=True)
class BothResults:
    """What both queries return on one database.

    Attributes:
        gold: The result of the gold query.
        allowed: All results that it allows.
        predicted: The result of the prediction.
    """

    gold: Result
    allowed: AllowedResults
    predicted: Result

    @property
    def agree(self) -> bool:
        """Whether the prediction's result is one that the gold query allows."""
        same_width = len(self.gold.columns) == len(self.predicted.columns)
        return same_width and not self.predicted.overflow and self.allowed.includes(self.predicted.rows)


class Trial:
    """How a pair is run and compared.

    Args:
        pair: Both queries, prepared.
        budget: What all of the pair may cost.

    Attributes:
        order: How the gold query is run so that its ties can be seen; None where it is run as it stands.
        gold_sql: The gold query without its LIMIT and with its sort keys, where that can be had.
        may_reverse: Whether the prediction must also hold when scans run backwards: it does not sort, and the gold
            query does, so it must not pass because a scan happens to run in order.
        unstable: Whether either result may depend on more than the data.
    """

    def __init__(self, pair: PreparedPair, budget: Budget) -> None:
        self._pair, self._sandbox, self._budget = pair, pair.sandbox, budget
        self._form_checks_left = _FORM_CHECKS
        self._randomized_sql: dict[str, str] = {}
        gold, predicted = pair.gold.tree, pair.predicted.tree
        plan = pair.order_plan(gold) if gold is not None else None
        if gold is not None and plan is not None and pair.check(plan.sql) is not None:
            # The rewritten form is not accepted; a query that neither sorts nor cuts needs none.
            plan = ties.unordered_plan(pair.gold.sql, gold)
        self.order = plan
        self.unstable = (
            gold is None
            or predicted is None
            or ties.is_unstable(gold, top_limit=plan is None)
            or ties.is_unstable(predicted, top_limit=True)
            or pair.groups_collated_texts
        )
        ordered = plan.ordered if plan else True
        self.may_reverse = ordered and predicted is not None and predicted.find(exp.Order) is None
        self.gold_sql = plan.sql if plan else pair.gold.sql

    def allowed_results(self, result: Result) -> AllowedResults:
        """All results that the gold query allows."""
        if self.order:
            return self.order.allowed_results(result)
        # Each row is its own group: the order must be exactly this one.
        return AllowedResults(result.rows, list(range(1, len(result.rows) + 1)))

    def run_gold(self, sql: str | None = None) -> tuple[Result, AllowedResults]:
        """Runs the gold query, or another form of it.

        Raises:
            QueryFailed: If it gives no result.
        """
        rewritten = self.order is not None and self.order.sql != self._pair.gold.sql
        if sql is None and rewritten and self._form_checks_left:
            result = self._run_checked_form()
        else:
            result = self._run(sql or self.gold_sql)
        allowed = self.allowed_results(result)
        return Result(result.columns[: self.result_width(result)], allowed.window, result.overflow), allowed

    def result_width(self, result: Result) -> int:
        """How many columns of a result of `gold_sql` are the gold query's own: the others are its sort keys."""
        return len(result.columns) - (self.order.extra_columns if self.order else 0)

    def run_predicted(self, sql: str | None = None) -> Result:
        """Runs the prediction, or another form of it.

        Raises:
            QueryFailed: If it gives no result.
        """
        return self._run(sql or self._pair.predicted.sql)

    def _run(self, sql: str) -> Result:
        try:
            return self._sandbox.run(sql, MAX_STEPS, self._budget.at_most(_QUERY_SECONDS))
        finally:
            self._budget.spend(self._sandbox.steps)

    def renew_budget(self) -> None:
        """Gives the last runs of a pair, those for its witness, a budget of their own."""
        self._budget = Budget(4 * _QUERY_SECONDS)

    def _run_checked_form(self) -> Result:
        """Runs the form without LIMIT, which sqlglot wrote.

        The form is given up if its result does not hold what the gold query itself returns, which is then returned.
        """
        self._form_checks_left -= 1
        assert self.order is not None
        result = self._run(self.order.sql)
        if result.overflow:
            return result
        original = self._run(self._pair.gold.sql)
        if self.order.allowed_results(result).includes(original.rows):
            return result
        self.order, self.gold_sql, self.unstable = None, self._pair.gold.sql, True
        return original

    def load(self, rows: Database) -> None:
        """Replaces the contents of the database."""
        self._budget.spend(0, sum(map(len, rows.values())))
        self._sandbox.load({name: (self._pair.tables[name], data) for name, data in rows.items()})

    def is_real(self, rows: Database, allowed: AllowedResults) -> bool:
        """Whether a difference seen lies in the queries, not in the order in which SQLite happened to meet the rows.

        Both queries are run again with the rows in other orders and ties broken at random. If the gold query stays the
        same, the prediction is at fault. If it does not, its columns that changed are left out of the comparison, and
        the difference counts only if no two runs agree on the others.
        """
        if not self.unstable:
            return True
        if self._pair.groups_collated_texts and self._differs_in_spelling_only(rows, allowed):
            return False
        golds, predictions = [allowed], []
        gold_sql = self._randomized("gold", self._pair.gold, self.gold_sql)
        predicted_sql = self._randomized("predicted", self._pair.predicted, self._pair.predicted.sql)
        try:
            for number, direction in enumerate(_TIE_DIRECTIONS):
                self.load(self._reordered(rows, number))
                self._sandbox.perturb(reverse=number % 2 == 1, indexes=number % 3 == 0)
                self._pair.tie_breaker.direction = direction
                # Random values inside a query may cancel out, so every other time the query runs as it stands.
                golds.append(self.run_gold(gold_sql if number % 2 else None)[1])
                predictions.append(self.run_predicted(predicted_sql if number % 2 else None).rows)
                if number and _may_agree(golds, predictions):
                    return False
        except QueryFailed:
            return False
        finally:
            self._sandbox.perturb()
            self.load(rows)
        return True

    def _differs_in_spelling_only(self, rows: Database, allowed: AllowedResults) -> bool:
        """Whether results agree but for the spelling of texts, and wholly once all texts are spelt in one way."""
        try:
            predicted = self.run_predicted()
            folded = AllowedResults(_folded(allowed.rows), allowed.group_ends, allowed.offset, allowed.limit)
            if not folded.includes(_folded(predicted.rows)):
                return False
            self.load(_with_one_spelling(rows))
            gold, unified = self.run_gold()
            return BothResults(gold, unified, self.run_predicted()).agree
        except QueryFailed:
            return False
        finally:
            self.load(rows)

    def _reordered(self, rows: Database, number: int) -> Database:
        """The same rows in another order: backwards the first time, then shuffled."""
        if number == 0:
            return {name: data[::-1] for name, data in rows.items()}
        shuffled = {name: list(data) for name, data in rows.items()}
        for data in shuffled.values():
            self._pair.rng.shuffle(data)
        return shuffled

    def _randomized(self, which: str, prepared: Prepared, sql: str) -> str:
        """The query with all that it leaves open decided at random, if SQLite accepts it so."""
        if which not in self._randomized_sql:
            tree = self._pair.syntax.parse(sql) if prepared.tree is not None else None
            text = ties.randomize_ties(tree, self._pair.syntax) if tree is not None else sql
            self._randomized_sql[which] = text if self._pair.check(text) is None else sql
        return self._randomized_sql[which]


def _folded(rows: Sequence[Row]) -> list[Row]:
    return [tuple(_folded_text(value) if isinstance(value, str) else value for value in row) for row in rows]


def _folded_text(text: str) -> str:
    """What the spellings of a text have in common: no collation overlooks more than case and spaces at the end."""
    return text.casefold().rstrip(" ")


def _with_one_spelling(rows: Database) -> Database:
    """The rows with every text spelt as it is where it first occurs, case and spaces at its end aside."""
    first_spelling: dict[str, str] = {}

    def respell(value: Value) -> Value:
        return first_spelling.setdefault(_folded_text(value), value) if isinstance(value, str) else value

    return {name: [tuple(map(respell, row)) for row in data] for name, data in rows.items()}


def _may_agree(golds: list[AllowedResults], predictions: list[list[Row]]) -> bool:
    """Whether the gold query's result varies, and the prediction agrees with it in all that does not vary."""
    if all(golds[0].includes(other.window) for other in golds):
        return False
    if len({len(gold.window) for gold in golds}) > 1:
        return True
    varying = _varying_columns([gold.window for gold in golds])
    if not varying:
        # It is not a matter of columns but of rows and their order: each column must hold what it always holds.
        return any(_same_columns(golds[0].window, rows) for rows in predictions)
    masked = [_masked(rows, varying) for rows in predictions]
    return any(_masked_results(gold, varying).includes(rows) for gold in golds for rows in masked)


def _varying_columns(results: list[list[Row]]) -> set[int]:
    """The columns whose values differ between equally long results."""
    columns = set(range(len(results[0][0]))) if results[0] else set()
    return {
        column
        for column in columns
        if any(
            not same_bag([(row[column],) for row in rows], [(row[column],) for row in results[0]])
            for rows in results[1:]
        )
    }


def _same_columns(gold: list[Row], predicted: list[Row]) -> bool:
    """Whether two results hold the same values in each column, whatever belongs together."""
    if len(gold) != len(predicted) or (gold and len(gold[0]) != len(predicted[0])):
        return False
    return all(
        same_bag([(value,) for value in a], [(value,) for value in b])
        for a, b in zip(zip(*gold, strict=True), zip(*predicted, strict=True), strict=True)
    )


def _masked(rows: list[Row], columns: set[int]) -> list[Row]:
    return [tuple(None if index in columns else value for index, value in enumerate(row)) for row in rows]


def _masked_results(allowed: AllowedResults, columns: set[int]) -> AllowedResults:
    return AllowedResults(_masked(allowed.rows, columns), allowed.group_ends, allowed.offset, allowed.limit)
