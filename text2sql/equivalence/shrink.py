"""Makes a difference small and says it in words."""

from __future__ import annotations

from text2sql.equivalence.databases.drawing.generator import Database, Generator
from text2sql.equivalence.databases.values.column_values import ordinary_values
from text2sql.equivalence.pair import PreparedPair
from text2sql.equivalence.results import Answers, LenientComparison
from text2sql.equivalence.trial import Trial, strictly_same
from text2sql.equivalence.verdict import Table, Witness
from text2sql.sql.budget import Budget
from text2sql.sql.sandbox import QueryFailed, Result
from text2sql.sql.schema import TableSchema
from text2sql.sql.values import Row

_TRIALS = 80
# Rows of a result in a witness.
_SHOWN = 50


class Shrinker:
    """Shrinks the database on which two queries differ."""

    def __init__(self, pair: PreparedPair, trial: Trial, generator: Generator, budget: Budget) -> None:
        self._pair, self._trial, self._generator, self._budget = pair, trial, generator, budget
        # The last database on which they were seen to differ, with the results there.
        self._seen: tuple[Database, Result, Answers, Result] | None = None

    def differs(self, rows: Database) -> bool:
        """Whether the queries differ on a database, for good."""
        self._trial.load(rows)
        try:
            gold, answers = self._trial.run_gold()
            predicted = self._trial.run_predicted()
        except QueryFailed:
            return False
        if gold.overflow or strictly_same(answers, gold, predicted):
            return False
        if not self._trial.real(rows, answers):
            return False
        self._seen = rows, gold, answers, predicted
        return True

    def shrink(self, rows: Database) -> Database:
        """Takes out rows while the queries still differ and the keys still hold."""
        trials = 0
        # A difference that shows only when scans run backwards is left as it is.
        if not self.differs(rows):
            return rows
        for chunk in (8, 4, 2, 1):
            for name in list(rows):
                start = 0
                while start < len(rows[name]) and trials < _TRIALS:
                    if chunk > 1 and len(rows[name]) < chunk:
                        break
                    smaller = {**rows, name: rows[name][:start] + rows[name][start + chunk :]}
                    trials += 1
                    if self._generator.foreign_keys_hold(smaller) and self.differs(smaller):
                        rows = smaller
                    else:
                        start += chunk
                    if self._budget.spent:
                        return rows
        return rows

    def witness(self, rows: Database) -> tuple[Witness, str]:
        """The database with both results, and a sentence on how they differ."""
        # What was found is not lost because the search for it, or the shrinking, took all the time.
        self._trial.renew()
        self._trial.load(rows)
        if self._seen is not None and self._seen[0] is rows:
            _, gold, answers, predicted = self._seen
        else:
            gold, answers = self._trial.run_gold()
            predicted = self._trial.run_predicted()
        if self._trial.may_reverse and answers.allow(predicted.rows):
            self._pair.box.perturb(reverse=True)
            predicted = self._trial.run_predicted()
            self._pair.box.perturb()
        tables = {
            self._pair.schema.tables[name].name: _widened(
                self._pair.schema.tables[name], self._pair.tables[name], self._pair.box.stored(self._pair.tables[name])
            )
            for name in rows
        }
        cut = predicted.rows[:_SHOWN]
        witness = Witness(tables, Table(gold.columns, tuple(gold.rows[:_SHOWN])), Table(predicted.columns, tuple(cut)))
        return witness, explain(gold, predicted)


def _widened(table: TableSchema, narrow: TableSchema, rows: list[Row]) -> Table:
    """Rows with all columns of their table: those that neither query sees are NULL where they may be."""
    places = {key: at for at, key in enumerate(narrow.columns)}
    wide = []
    for number, row in enumerate(rows):
        wide.append(
            tuple(
                row[places[key]]
                if key in places
                else (ordinary_values(column.kind, 0, number + 1)[-1] if column.not_null else None)
                for key, column in table.columns.items()
            )
        )
    return Table(tuple(column.name for column in table.columns.values()), tuple(wide))


def explain(gold: Result, predicted: Result) -> str:
    """One sentence on how two results differ."""
    if len(gold.columns) != len(predicted.columns):
        return f"The gold query returns {_count(len(gold.columns), 'column')}, the prediction {len(predicted.columns)}."
    if predicted.overflow:
        return f"The gold query returns {_count(len(gold.rows), 'row')}, the prediction thousands."
    left, right = set(gold.rows), set(predicted.rows)
    if left == right:
        if len(gold.rows) != len(predicted.rows):
            return (
                f"The results differ in duplicates: the gold query returns {_count(len(gold.rows), 'row')}, "
                f"the prediction {len(predicted.rows)}."
            )
        return "The results hold the same rows in another order, or not equally often."
    if len(gold.rows) != len(predicted.rows):
        return f"The gold query returns {_count(len(gold.rows), 'row')}, the prediction {len(predicted.rows)}."
    width = len(gold.columns)
    if width > 1 and LenientComparison().same(gold.rows, predicted.rows, width, width):
        return "The results hold the same columns in another order."
    missing = next(iter(sorted(left - right, key=repr)), None)
    extra = next(iter(sorted(right - left, key=repr)), None)
    return f"The gold query returns {_show(missing)} where the prediction returns {_show(extra)}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _show(row: Row | None) -> str:
    if row is None:
        return "nothing"
    text = ", ".join("NULL" if value is None else repr(value) for value in row)
    return f"({text[:80]}…)" if len(text) > 80 else f"({text})"
