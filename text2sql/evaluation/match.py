"""The decision: do two queries mean the same on every database of a schema?

Databases made for the pair are tried until one tells the queries apart; agreement counts once the gold query has
returned something on several of them. The same arguments give the same verdict, whatever the machine's load: queries
are limited by SQLite's instruction count first and by the clock only as a last resort.
"""

from __future__ import annotations

import random
import sqlite3
import time
from dataclasses import dataclass, field

from sqlglot import exp

from text2sql.evaluation import order
from text2sql.evaluation.canonical import canonical
from text2sql.evaluation.compare import Answers, LenientComparison, informative, same_bag
from text2sql.evaluation.conditions import Node, Plan, compile_plan
from text2sql.evaluation.domains import Domains
from text2sql.evaluation.execute import QueryFailed, Result, Sandbox, file_schema, is_write, used_schema
from text2sql.evaluation.extract import extract_sql
from text2sql.evaluation.instances import Generator, Rows
from text2sql.evaluation.prepare import Prepared, misread_column, missing_name, parse, prepare
from text2sql.evaluation.repair import add_column, add_table, clean, qualify, word_names
from text2sql.evaluation.schema import Schema, TableSchema, parse_schema
from text2sql.evaluation.tokens import quote_identifier
from text2sql.evaluation.verdict import Row, Table, Value, Verdict, Witness

DEFAULT_EFFORT = 40
_MAX_STEPS = 2_000_000
_ENOUGH = 6  # informative databases that agreement rests on
_SHAKES = 6
_SHRINK_TRIALS = 80


def execution_match(
    schema: str,
    gold: str,
    predicted: str,
    database: str | None = None,
    *,
    effort: int = DEFAULT_EFFORT,
    seed: int = 0,
    timeout: float = 2.0,
) -> Verdict:
    """Decides whether a predicted query means the same as the gold query.

    Args:
        schema: ``CREATE TABLE`` statements; if empty, those of ``database``.
        gold: The gold query.
        predicted: The prediction as the model wrote it; see `extract_sql`.
        database: Path of a real SQLite database, compared first. It is opened read-only.
        effort: How many databases to make; more are made where agreement would be vacuous.
        seed: Of the databases.
        timeout: Seconds for the pair, a last resort.

    Returns:
        A verdict; a failure of the evaluator itself is ``undecided`` with its reason.
    """
    try:
        return _Pair(schema, gold, predicted, database, effort, seed, timeout).verdict()
    except (Exception, RecursionError) as error:
        return Verdict("undecided", f"The evaluator failed on this pair: {type(error).__name__}: {error}")


def compile_prediction(schema: str, gold: str, predicted: str) -> QueryFailed | None:
    """Compiles a prediction against a schema, completed by what its gold query reads; None if SQLite accepts it."""
    pair = _Pair(schema, gold, predicted, None, 1, 0, 2.0)
    if not pair._predicted_text or is_write(pair._predicted_text):
        return QueryFailed("refused" if pair._predicted_text else "error", "not a query")
    try:
        try:
            pair._prepare_gold()
        except _GoldFails:
            pair._open()
            pair._gold = Prepared("")
        pair._prepare_predicted()
    except QueryFailed as failure:
        return failure
    finally:
        pair._box.close()
    return None


class _GoldFails(Exception):
    """The gold query does not run: nothing can be decided."""


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
    difference: Rows | None = None


class _Pair:
    """One pair and the connection on which it is compared."""

    def __init__(
        self, schema: str, gold: str, predicted: str, database: str | None, effort: int, seed: int, timeout: float
    ) -> None:
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._database = database
        self._effort, self._seed = max(1, effort), seed
        self._gold_text, self._predicted_text = clean(gold), extract_sql(predicted)
        if database is not None and not schema.strip():
            schema = file_schema(database)
        self._schema = parse_schema(schema)
        self._rng = random.Random(seed)
        self._shaken_sql: dict[str, str] = {}

    # -- preparation

    def verdict(self) -> Verdict:
        if not self._predicted_text:
            return Verdict("error", "The prediction holds no SQL query.")
        if is_write(self._predicted_text):
            return Verdict("refused", "The prediction is refused: it is not a read-only query.")
        try:
            self._prepare_gold()
            try:
                self._prepare_predicted()
            except QueryFailed as failure:
                return _failed(failure)
            return self._decide()
        except _GoldFails as failure:
            return Verdict("undecided", f"The gold query cannot be used: {failure}.")
        finally:
            if hasattr(self, "_box"):
                self._box.close()

    def _open(self) -> None:
        """Opens a sandbox with the tables that either query may read."""
        if hasattr(self, "_box"):
            self._box.close()
        names = word_names(self._gold_text) | word_names(self._predicted_text)
        self._tables: dict[str, TableSchema] = used_schema(self._schema, sorted(names))
        self._box = Sandbox.in_memory(self._tables.values())
        self._box.create_function(order.SHAKE, self._rng.random)

    def _check(self, sql: str) -> QueryFailed | None:
        try:
            self._box.check(sql)
        except QueryFailed as failure:
            return failure
        return None

    def _prepare_gold(self) -> None:
        """Prepares the gold query; adds the tables and columns that its schema forgot."""
        if not self._gold_text or is_write(self._gold_text):
            raise _GoldFails("it is not a query")
        self._open()
        for _ in range(12):
            try:
                self._gold = prepare(self._gold_text, self._schema, self._check)
                break
            except QueryFailed as failure:
                if not self._mend(failure):
                    raise _GoldFails(str(failure)) from None
        else:
            raise _GoldFails("its schema lacks too much")

    def _mend(self, failure: QueryFailed) -> bool:
        missing = missing_name(failure)
        if missing is None:
            return False
        kind, name = missing
        if kind == "ambiguous":
            qualified = qualify(self._gold_text, name, self._schema)
            if qualified is None or qualified == self._gold_text:
                return False
            if self._predicted_text == self._gold_text:
                self._predicted_text = qualified
            self._gold_text = qualified
            return True
        self._schema = self._schema.copy()
        if kind == "table":
            add_table(self._schema, name)
        elif not add_column(self._schema, name, self._gold_text, self._predicted_text):
            return False
        self._open()
        return True

    def _prepare_predicted(self) -> None:
        self._predicted = prepare(self._predicted_text, self._schema, self._check)
        column = misread_column(self._predicted)
        # What the gold query itself treats as a string is one.
        if column is not None and column not in self._gold.strings:
            raise QueryFailed("error", f"no such column: {column} (in double quotes)")

    # -- execution

    def _plan_runs(self) -> None:
        """Settles how both queries are run, compared and shaken."""
        gold, predicted = self._gold.tree, self._predicted.tree
        plan = order.plan_order(gold) if gold is not None else None
        if plan is not None and self._check(plan.sql) is not None:
            plan = None
        self._order = plan
        self._ordered = plan.ordered if plan else True
        self._unstable = (
            gold is None
            or predicted is None
            or order.unstable(gold, top_limit=plan is None)
            or order.unstable(predicted, top_limit=True)
        )
        # A prediction that does not sort must not pass because a scan happens to run in order.
        self._may_reverse = self._ordered and predicted is not None and predicted.find(exp.Order) is None
        self._gold_sql = plan.sql if plan else self._gold.sql

    def _seconds(self) -> float:
        return max(0.01, self._deadline - time.monotonic())

    def _run_gold(self, box: Sandbox, sql: str) -> tuple[Result, Answers]:
        result = box.run(sql, _MAX_STEPS, self._seconds())
        if self._order:
            answers = self._order.answers(result)
            width = len(result.columns) - self._order.extra
            return Result(result.columns[:width], answers.window, result.overflow), answers
        # Each row is its own group: the order must be exactly this one.
        return result, Answers(result.rows, list(range(1, len(result.rows) + 1)))

    def _run_predicted(self, box: Sandbox, sql: str) -> Result:
        return box.run(sql, _MAX_STEPS, self._seconds())

    def _load(self, rows: Rows) -> None:
        self._box.load({name: (self._tables[name], data) for name, data in rows.items()})

    # -- the decision

    def _decide(self) -> Verdict:
        self._plan_runs()
        if self._database is not None:
            verdict = self._on_file(self._database)
            if verdict is not None:
                return verdict
        trees = [p.tree for p in (self._gold, self._predicted) if p.tree is not None]
        same = len(trees) == 2 and (self._gold.sql == self._predicted.sql or canonical(trees[0]) == canonical(trees[1]))
        self._plan = compile_plan(self._schema, trees[:1] if same else trees)
        self._plan = _only(self._plan, self._tables)
        probe = _Probe()
        try:
            domains = Domains(self._plan, self._tables, probe)
            self._generator = Generator(self._plan, self._tables, domains, self._seed)
            return self._search(same)
        finally:
            probe.close()

    def _search(self, same: bool) -> Verdict:
        """Tries databases until one tells the queries apart or there have been enough."""
        tally = _Tally()
        most = self._effort * 3
        index = -1
        while index + 1 < most:
            index += 1
            if same and tally.informative:
                return Verdict("equivalent", "Both are the same query, written alike.", None, True, True, index, 1)
            if index >= self._effort and tally.informative >= min(_ENOUGH, self._effort):
                break
            if time.monotonic() > self._deadline:
                break
            if tally.difference is not None and (not tally.lenient or index >= self._effort):
                break
            verdict = self._try(index, tally)
            if verdict is not None:
                return verdict
        return self._conclude(tally)

    def _try(self, index: int, tally: _Tally) -> Verdict | None:
        """Compares on one database; a verdict only if the search ends here without a difference."""
        rows = self._generator.database(index, tally.scale)
        self._load(rows)
        if any(table.checks for table in self._tables.values()):
            rows = self._settle(rows)
        reverse = self._may_reverse and index % 3 == 1
        if reverse:
            self._box.perturb(reverse=True)
        try:
            outcome = self._compare_once(tally)
        finally:
            if reverse:
                self._box.perturb()
        if isinstance(outcome, Verdict) or outcome is None:
            return outcome
        answers, gold, predicted = outcome
        tally.tried += 1
        tally.informative += informative(gold.rows)
        strict = not predicted.overflow and self._strictly(answers, gold, predicted)
        if not strict and tally.difference is None and self._real(rows, answers):
            tally.difference = rows
        if tally.lenient and (not strict or tally.difference is not None):
            same = strict or tally.comparison.same(gold.rows, predicted.rows, len(gold.columns), len(predicted.columns))
            if not same and (tally.difference is rows or self._real(rows, answers)):
                tally.lenient = False
        return None

    def _compare_once(self, tally: _Tally) -> tuple[Answers, Result, Result] | Verdict | None:
        """Runs both queries; None to go on with a smaller database."""
        try:
            gold, answers = self._run_gold(self._box, self._gold_sql)
        except QueryFailed as failure:
            tally.gold_failures += 1
            if failure.kind == "timeout":
                tally.scale = min(8, tally.scale * 2)
            if failure.kind != "refused" and tally.gold_failures < 6:
                return None
            raise _GoldFails(f"it fails on a small database: {failure}") from None
        try:
            predicted = self._run_predicted(self._box, self._predicted.sql)
        except QueryFailed as failure:
            if failure.kind == "timeout":
                tally.predicted_timeouts += 1
                tally.scale = min(8, tally.scale * 2)
                if tally.predicted_timeouts < 4:
                    return None
            return _failed(failure)
        if gold.overflow:
            tally.scale = min(8, tally.scale * 2)
            return None
        return answers, gold, predicted

    def _settle(self, rows: Rows) -> Rows:
        """Takes out the children of rows that a CHECK kept out."""
        stored = {name: self._box.stored(self._tables[name]) for name in rows}
        while not self._generator.sound(stored):
            self._generator.drop_orphans(stored)
        self._load(stored)
        return stored

    def _strictly(self, answers: Answers, gold: Result, predicted: Result) -> bool:
        return len(gold.columns) == len(predicted.columns) and answers.allow(predicted.rows)

    def _real(self, rows: Rows, answers: Answers) -> bool:
        """Whether a difference seen lies in the queries, not in the order in which SQLite happened to meet the rows.

        Both queries are run again with the rows in other orders and ties broken by chance. If the gold query stays the
        same, the prediction is at fault. If it does not, its columns that changed are left out of the comparison, and
        the difference counts only if no two runs agree on the others.
        """
        if not self._unstable:
            return True
        golds, predictions = [answers], []
        gold_sql = self._shaken("gold", self._gold, self._gold_sql)
        predicted_sql = self._shaken("predicted", self._predicted, self._predicted.sql)
        try:
            for number in range(_SHAKES):
                self._load(self._reordered(rows, number))
                self._box.perturb(reverse=number % 2 == 1, indexes=number % 3 == 0)
                golds.append(self._run_gold(self._box, gold_sql)[1])
                predictions.append(self._run_predicted(self._box, predicted_sql).rows)
                if number and _may_agree(golds, predictions):
                    return False
        except QueryFailed:
            return False
        finally:
            self._box.perturb()
            self._load(rows)
        return True

    def _reordered(self, rows: Rows, number: int) -> Rows:
        if number == 0:
            return {name: data[::-1] for name, data in rows.items()}
        shuffled = {name: list(data) for name, data in rows.items()}
        for data in shuffled.values():
            self._rng.shuffle(data)
        return shuffled

    def _shaken(self, which: str, prepared: Prepared, sql: str) -> str:
        """The query with all that it leaves open decided by chance, if SQLite accepts it so."""
        if which not in self._shaken_sql:
            tree = parse(sql) if prepared.tree is not None else None
            text = order.shaken(tree) if tree is not None else sql
            self._shaken_sql[which] = text if self._check(text) is None else sql
        return self._shaken_sql[which]

    # -- verdicts

    def _conclude(self, tally: _Tally) -> Verdict:
        if tally.difference is not None:
            return self._different(tally)
        if tally.predicted_timeouts and not tally.informative:
            return Verdict("timeout", "The prediction takes too long even on small databases.")
        if not tally.informative:
            return Verdict(
                "undecided",
                f"The gold query returned nothing but emptiness or NULL on all {tally.tried} databases tried, "
                "so agreement proves nothing.",
                databases=tally.tried,
            )
        return Verdict(
            "equivalent",
            f"The results agree on all {tally.tried} databases made for the pair, "
            f"{tally.informative} of them with a telling result.",
            None,
            True,
            True,
            tally.tried,
            tally.informative,
        )

    def _different(self, tally: _Tally) -> Verdict:
        assert tally.difference is not None
        rows = self._shrink(tally.difference)
        witness, reason = self._witness(rows)
        return Verdict("different", reason, witness, False, tally.lenient, tally.tried, tally.informative)

    def _differs(self, rows: Rows) -> bool:
        """Whether the queries differ on a database, for good."""
        self._load(rows)
        try:
            gold, answers = self._run_gold(self._box, self._gold_sql)
            predicted = self._run_predicted(self._box, self._predicted.sql)
        except QueryFailed:
            return False
        if gold.overflow or self._strictly(answers, gold, predicted):
            return False
        return self._real(rows, answers)

    def _shrink(self, rows: Rows) -> Rows:
        """Takes out rows while the queries still differ and the keys still hold."""
        trials = 0
        # A difference that shows only when scans run backwards is left as it is.
        if not self._differs(rows):
            return rows
        for chunk in (8, 4, 2, 1):
            for name in list(rows):
                start = 0
                while start < len(rows[name]) and trials < _SHRINK_TRIALS:
                    if chunk > 1 and len(rows[name]) < chunk:
                        break
                    smaller = {**rows, name: rows[name][:start] + rows[name][start + chunk :]}
                    trials += 1
                    if self._generator.sound(smaller) and self._differs(smaller):
                        rows = smaller
                    else:
                        start += chunk
                    if time.monotonic() > self._deadline:
                        return rows
        return rows

    def _witness(self, rows: Rows) -> tuple[Witness, str]:
        self._load(rows)
        gold, answers = self._run_gold(self._box, self._gold_sql)
        predicted = self._run_predicted(self._box, self._predicted.sql)
        if self._may_reverse and answers.allow(predicted.rows):
            self._box.perturb(reverse=True)
            predicted = self._run_predicted(self._box, self._predicted.sql)
            self._box.perturb()
        tables = {
            self._tables[name].name: Table(
                tuple(column.name for column in self._tables[name].columns.values()),
                tuple(self._box.stored(self._tables[name])),
            )
            for name in rows
        }
        cut = predicted.rows[:50]
        witness = Witness(tables, Table(gold.columns, tuple(gold.rows[:50])), Table(predicted.columns, tuple(cut)))
        return witness, _explain(gold, predicted)

    def _on_file(self, path: str) -> Verdict | None:
        """Compares on a real database; None if they agree there."""
        try:
            box = Sandbox.from_file(path)
        except sqlite3.Error as error:
            raise RuntimeError(f"cannot read the database {path}: {error}") from None
        try:
            box.create_function(order.SHAKE, self._rng.random)
            return self._on_open_file(box)
        finally:
            box.close()

    def _on_open_file(self, box: Sandbox) -> Verdict | None:
        steps = 200 * _MAX_STEPS
        try:
            result = box.run(self._gold_sql, steps, self._seconds(), 200_000)
            answers = (
                self._order.answers(result)
                if self._order
                else Answers(result.rows, list(range(1, len(result.rows) + 1)))
            )
        except QueryFailed as failure:
            if failure.kind == "timeout":
                raise _GoldFails(f"on the database, {failure}") from None
            return None  # the file has another schema: the databases made for the pair decide
        try:
            predicted = box.run(self._predicted.sql, steps, self._seconds(), 200_000)
        except QueryFailed as failure:
            return _failed(failure)
        width = len(result.columns) - (self._order.extra if self._order else 0)
        gold = Result(result.columns[:width], answers.window)
        if self._unstable or self._strictly(answers, gold, predicted):
            return None
        lenient = LenientComparison().same(gold.rows, predicted.rows, width, len(predicted.columns))
        witness = Witness(
            {},
            Table(gold.columns, tuple(gold.rows[:20])),
            Table(predicted.columns, tuple(predicted.rows[:20])),
        )
        reason = "On the real database: " + _explain(gold, predicted)
        return Verdict("different", reason, witness, False, lenient, 1, 1)


def _may_agree(golds: list[Answers], predictions: list[list[Row]]) -> bool:
    """Whether the gold query's own result varies, and the prediction is like it in all that does not vary."""
    if all(golds[0].allow(other.window) for other in golds):
        return False
    if len({len(gold.window) for gold in golds}) > 1:
        return True
    unsettled = _unsettled([gold.window for gold in golds])
    masked = [_masked(rows, unsettled) for rows in predictions]
    return any(_masked_answers(gold, unsettled).allow(rows) for gold in golds for rows in masked)


def _unsettled(results: list[list[Row]]) -> set[int]:
    """The columns whose values differ between equally long results; all of them if it is not a matter of columns."""
    everything = set(range(len(results[0][0]))) if results[0] else set()
    return {
        column
        for column in everything
        if any(
            not same_bag([(row[column],) for row in rows], [(row[column],) for row in results[0]])
            for rows in results[1:]
        )
    } or everything


def _masked(rows: list[Row], columns: set[int]) -> list[Row]:
    return [tuple(None if at in columns else value for at, value in enumerate(row)) for row in rows]


def _masked_answers(answers: Answers, columns: set[int]) -> Answers:
    return Answers(_masked(answers.rows, columns), answers.groups, answers.offset, answers.limit)


def _failed(failure: QueryFailed) -> Verdict:
    """The verdict for a prediction that gives no result."""
    if failure.kind == "refused":
        return Verdict("refused", f"The prediction is refused: {failure}.")
    if failure.kind == "timeout":
        return Verdict("timeout", f"The prediction was stopped: {failure}.")
    return Verdict("error", f"The prediction does not run: {failure}.")


def _only(plan: Plan, tables: dict[str, TableSchema]) -> Plan:
    """Adds to the tables those that the plan found under another spelling."""
    for name in plan.tables:
        tables.setdefault(name, plan.schema.tables[name])
    return plan


def _explain(gold: Result, predicted: Result) -> str:
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


class _Probe:
    """Asks SQLite on which values a condition over one column is true."""

    def __init__(self) -> None:
        self._boxes: dict[str, tuple[Sandbox, TableSchema]] = {}

    def close(self) -> None:
        for box, _ in self._boxes.values():
            box.close()

    def __call__(self, node: Node, affinity: str, candidates: tuple[Value, ...]) -> list[bool] | None:
        assert node.expression is not None
        if affinity not in self._boxes:
            table = parse_schema(f"CREATE TABLE probe (v {'' if affinity == 'BLOB' else affinity}, n INTEGER)")
            probe_table = table.tables["probe"]
            self._boxes[affinity] = (Sandbox.in_memory([probe_table]), probe_table)
        box, probe_table = self._boxes[affinity]
        box.load({"probe": (probe_table, [(value, number) for number, value in enumerate(candidates)])})

        def rename(part: exp.Expression) -> exp.Expression:
            return exp.column("v", quoted=False) if isinstance(part, exp.Column) else part

        condition = node.expression.copy().transform(rename).sql("sqlite")
        try:
            rows = box.run(f"SELECT ({condition}) FROM {quote_identifier('probe')} ORDER BY n", 500_000, 0.2).rows
        except QueryFailed:
            return None
        return [bool(row[0]) for row in rows] if len(rows) == len(candidates) else None


__all__ = ["DEFAULT_EFFORT", "Schema", "execution_match"]
