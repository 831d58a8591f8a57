"""Makes a counterexample small, and says in words how two results differ on it."""

from __future__ import annotations

from text2sql.equivalence.databases.drawing.generator import Database, Generator
from text2sql.equivalence.databases.values.column_values import ordinary_values
from text2sql.equivalence.pair import PreparedPair
from text2sql.equivalence.results import LenientComparison
from text2sql.equivalence.trial import BothResults, Trial
from text2sql.equivalence.verdict import Table, Witness
from text2sql.sql.budget import Budget
from text2sql.sql.sandbox import QueryFailed, Result
from text2sql.sql.schema import TableSchema
from text2sql.sql.values import Row, Value

# Databases that are tried for one that is smaller.
_MAX_TRIALS = 80
# Rows that are taken out of a table at once, the most first.
_CHUNKS = (8, 4, 2, 1)
# Rows of a result in a witness.
_MAX_WITNESS_ROWS = 50
# Characters of a row in a sentence.
_MAX_ROW_CHARACTERS = 80


class Shrinker:
    """Shrinks the database on which two queries differ."""

    def __init__(self, pair: PreparedPair, trial: Trial, generator: Generator, budget: Budget) -> None:
        self._pair, self._trial, self._generator, self._budget = pair, trial, generator, budget
        # The last database on which they were seen to differ, and the results there.
        self._last_rows: Database | None = None
        self._last_results: BothResults | None = None

    def differs(self, rows: Database) -> bool:
        """Whether the queries differ on a database, for good."""
        self._trial.load(rows)
        try:
            gold, allowed = self._trial.run_gold()
            results = BothResults(gold, allowed, self._trial.run_predicted())
        except QueryFailed:
            return False
        if gold.overflow or results.agree or not self._trial.is_real(rows, allowed):
            return False
        self._last_rows, self._last_results = rows, results
        return True

    def shrink(self, rows: Database) -> Database:
        """Takes out rows while the queries still differ and the keys still hold."""
        trials = 0
        # A difference that shows only when scans run backwards is left as it is.
        if not self.differs(rows):
            return rows
        for chunk in _CHUNKS:
            for name in list(rows):
                start = 0
                while start < len(rows[name]) and trials < _MAX_TRIALS:
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
        self._trial.renew_budget()
        self._trial.load(rows)
        if self._last_rows is rows and self._last_results is not None:
            results = self._last_results
        else:
            gold, allowed = self._trial.run_gold()
            results = BothResults(gold, allowed, self._trial.run_predicted())
        gold, predicted = results.gold, results.predicted
        sandbox, schema = self._pair.sandbox, self._pair.schema
        if self._trial.may_reverse and results.allowed.includes(predicted.rows):
            sandbox.perturb(reverse=True)
            predicted = self._trial.run_predicted()
            sandbox.perturb()
        tables = {}
        for name in rows:
            visible = self._pair.tables[name]
            tables[schema.tables[name].name] = _with_all_columns(schema.tables[name], visible, sandbox.stored(visible))
        return Witness(tables, _first_rows(gold), _first_rows(predicted)), explain(gold, predicted)


def _first_rows(result: Result) -> Table:
    return Table(result.columns, tuple(result.rows[:_MAX_WITNESS_ROWS]))


def _with_all_columns(table: TableSchema, visible: TableSchema, rows: list[Row]) -> Table:
    """Rows with all columns of their table: those that neither query sees are NULL where they may be."""
    index_of = {key: index for index, key in enumerate(visible.columns)}

    def value(key: str, row_number: int, row: Row) -> Value:
        if key in index_of:
            return row[index_of[key]]
        column = table.columns[key]
        return ordinary_values(column.kind, 0, row_number)[-1] if column.not_null else None

    wide = [tuple(value(key, number, row) for key in table.columns) for number, row in enumerate(rows, 1)]
    return Table(tuple(column.name for column in table.columns.values()), tuple(wide))


def explain(gold: Result, predicted: Result) -> str:
    """One sentence on how two results differ."""
    if len(gold.columns) != len(predicted.columns):
        return f"The gold query returns {_count(len(gold.columns), 'column')}, the prediction {len(predicted.columns)}."
    if predicted.overflow:
        return f"The gold query returns {_count(len(gold.rows), 'row')}, the prediction thousands."
    gold_rows, predicted_rows = set(gold.rows), set(predicted.rows)
    if gold_rows == predicted_rows:
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
    missing = next(iter(sorted(gold_rows - predicted_rows, key=repr)), None)
    extra = next(iter(sorted(predicted_rows - gold_rows, key=repr)), None)
    return f"The gold query returns {_show(missing)} where the prediction returns {_show(extra)}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _show(row: Row | None) -> str:
    if row is None:
        return "nothing"
    text = ", ".join("NULL" if value is None else repr(value) for value in row)
    return f"({text[:_MAX_ROW_CHARACTERS]}…)" if len(text) > _MAX_ROW_CHARACTERS else f"({text})"
