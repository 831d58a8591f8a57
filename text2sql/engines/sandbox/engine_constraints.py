"""Lets an engine check made rows where SQLite cannot: each row is checked once, before the pair's queries see it.

For that the rows are inserted into tables of their own, with the same columns and without keys, so that a row that
violates a constraint does not affect the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlglot import exp

from text2sql.engines.declared.constraints import FIRST_ROW, SECOND_ROW, EngineConstraints
from text2sql.engines.declared.types import EngineType
from text2sql.engines.dialect import Dialect
from text2sql.engines.sandbox.engine import QUERY_SECONDS, Engine
from text2sql.engines.sandbox.engine_schema import EngineColumn, EngineSchema
from text2sql.engines.trees import parse_query
from text2sql.engines.values.fitting import default_value, fit_value
from text2sql.sql.sandbox import MAX_ROWS, QueryFailed
from text2sql.sql.schema import Column, Schema, TableSchema
from text2sql.sql.tokens import fold
from text2sql.sql.values import Row, Value

# The column with the number of a row.
_ROW_NUMBER = "text2sql_row"


class EngineConstraintChecker:
    """Checks the constraints of a pair's tables.

    Args:
        engine: The engine that checks.
        schema: The pair's schema.
        tables: The tables that the queries read, by lower-case name.
        modifier: What stands before TABLE: TEMPORARY or nothing.

    Attributes:
        create_statements: The statements that create the tables for checked rows.
        drop_statements: The statements that drop them.
        has_replaced_rows: Whether the engine's rows have been replaced by checked ones.
    """

    def __init__(self, engine: Engine, schema: EngineSchema, tables: Mapping[str, TableSchema], modifier: str) -> None:
        self._engine, self._constraints = engine, schema.engine_constraints(tables)
        self._schema, self._tables = _check_tables(schema, {name: tables[name] for name in self._constraints})
        self.create_statements = [
            self._schema.create_table_statement(table, modifier) for table in self._tables.values()
        ]
        self.drop_statements = [self._schema.drop_table_statement(table, modifier) for table in self._tables.values()]
        self.has_replaced_rows = False
        # Whether a row of a table satisfies the conditions on single rows.
        self._verdicts = dict[tuple[str, Row], bool]()
        # The last rows of a table that satisfied its conditions on pairs of rows; so do all subsets of them.
        self._valid_pairs = dict[str, Counter[Row]]()
        # Of each table and condition on rows, the columns that it reads.
        self._columns_read = dict[str, dict[str, set[str]]]()
        self._is_compiled = False

    def valid_rows(self, rows: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
        """The rows that violate no constraint, by lower-case name of their table."""
        result = dict(rows)
        for name in [name for name in self._constraints if name in rows]:
            self._compile()
            if self._constraints[name].row_conditions:
                result[name] = self._satisfying(name, result[name])
            if self._constraints[name].pair_conditions:
                result[name] = self._without_conflicts(name, result[name])
        return result

    def allowed(self, name: str, column: str, values: Sequence[Value]) -> list[bool] | None:
        """Which of some values the conditions on a single column allow; None where it has none."""
        self._compile()
        conditions = [text for text, columns in self._columns_read.get(name, {}).items() if columns == {column}]
        if not conditions:
            return None
        types = self._schema.column_types(self._tables[name])
        others = [default_value(types[key]) for key in self._tables[name].columns if key != _ROW_NUMBER]
        index = list(self._tables[name].columns).index(column)
        fitted = [fit_value(value, types[column]) for value in values]
        rows = [(*others[:index], value, *others[index + 1 :]) for value in fitted if value is not None]
        refused = {rows[number][index] for number in self._violating(name, rows, conditions)} if rows else set[Value]()
        # A value that the column's type cannot hold is fitted elsewhere.
        return [value not in refused for value in fitted]

    def _compile(self) -> None:
        """Drops the constraints that the engine does not accept, such as those that read columns that are not there."""
        for name, constraints in self._constraints.items() if not self._is_compiled else ():
            self._constraints[name] = EngineConstraints(
                [
                    text
                    for text in constraints.row_conditions
                    if self._is_accepted(self._violations_query(name, [text]))
                ],
                [
                    text
                    for text in constraints.pair_conditions
                    if self._is_accepted(self._conflicts_query(name, [text]))
                ],
            )
            columns = self._tables[name].columns.keys()
            self._columns_read[name] = {
                text: _columns_in(text, self._schema.dialect) & columns
                for text in self._constraints[name].row_conditions
            }
        self._is_compiled = True

    def _is_accepted(self, sql: str) -> bool:
        try:
            self._query_on(sql, [])
        except QueryFailed as failure:
            return failure.by_rows
        return True

    def _satisfying(self, name: str, rows: list[Row]) -> list[Row]:
        """The rows that satisfy the conditions on single rows."""
        unknown = [row for row in dict.fromkeys(rows) if (name, row) not in self._verdicts]
        if unknown:
            violating = self._violating(name, unknown, self._constraints[name].row_conditions)
            self._verdicts |= {(name, row): number not in violating for number, row in enumerate(unknown)}
        return [row for row in rows if self._verdicts[name, row]]

    def _violating(self, name: str, rows: Sequence[Row], conditions: Sequence[str]) -> set[int]:
        """The numbers of the rows that violate a condition, or on which one fails."""
        try:
            result = self._query_on(self._violations_query(name, conditions), self._insert_statements(name, rows))
            return {int(number) for (number,) in result if isinstance(number, int)}
        except QueryFailed:
            if len(rows) == 1:
                return {0}
        half = len(rows) // 2
        later = self._violating(name, rows[half:], conditions)
        return self._violating(name, rows[:half], conditions) | {half + number for number in later}

    def _without_conflicts(self, name: str, rows: list[Row]) -> list[Row]:
        """The rows without those that conflict with an earlier one."""
        if name in self._valid_pairs and Counter(rows) <= self._valid_pairs[name]:
            return rows
        dropped = set[Value]()
        query = self._conflicts_query(name, self._constraints[name].pair_conditions)
        try:
            conflicts = self._query_on(query, self._insert_statements(name, rows))
        except QueryFailed:
            # Nothing is known of these rows but that one alone has no conflict.
            rows, conflicts = rows[:1], []
        for first, second in sorted(conflicts):
            if first not in dropped:
                dropped.add(second)
        valid = [row for number, row in enumerate(rows) if number not in dropped]
        self._valid_pairs[name] = Counter(valid)
        return valid

    def _violations_query(self, name: str, conditions: Sequence[str]) -> str:
        violated = " OR ".join(f"NOT ({condition})" for condition in conditions)
        return f"SELECT {_ROW_NUMBER} FROM {self._tables[name].name} WHERE {violated}"

    def _conflicts_query(self, name: str, conditions: Sequence[str]) -> str:
        table, conflicting = self._tables[name].name, " OR ".join(f"({condition})" for condition in conditions)
        first, second = f"{FIRST_ROW}.{_ROW_NUMBER}", f"{SECOND_ROW}.{_ROW_NUMBER}"
        source = f"{table} {FIRST_ROW} JOIN {table} {SECOND_ROW} ON {first} < {second}"
        return f"SELECT {first}, {second} FROM {source} WHERE {conflicting}"

    def _insert_statements(self, name: str, rows: Sequence[Row]) -> list[str]:
        numbered = [(*row, number) for number, row in enumerate(rows)]
        return [self._schema.insert_statement(self._tables[name], numbered)] if numbered else []

    def _query_on(self, sql: str, insert_statements: Sequence[str]) -> list[Row]:
        self.has_replaced_rows = True
        self._engine.replace_rows(insert_statements)
        return self._engine.query(sql, QUERY_SECONDS, MAX_ROWS).rows


def _columns_in(condition: str, dialect: Dialect) -> set[str]:
    tree = parse_query(f"SELECT {condition}", dialect)
    return {fold(column.name) for column in tree.find_all(exp.Column)} if tree is not None else set()


def _check_tables(
    schema: EngineSchema, tables: Mapping[str, TableSchema]
) -> tuple[EngineSchema, dict[str, TableSchema]]:
    """Tables for rows to be checked, by the lower-case name of the original table; and their schema."""
    columns, copies = dict[tuple[str, str], EngineColumn](), dict[str, TableSchema]()
    for number, (name, table) in enumerate(tables.items()):
        copy_name, types = f"text2sql_rows_{number}", schema.column_types(table)
        for key in table.columns:
            columns[copy_name, key] = replace(schema.column(name, key), type=types[key])
        columns[copy_name, _ROW_NUMBER] = EngineColumn(_ROW_NUMBER, EngineType("integer", "INTEGER", 32))
        row_number = Column(_ROW_NUMBER, "INTEGER", not_null=True)
        copies[name] = TableSchema(copy_name, {**table.columns, _ROW_NUMBER: row_number})
    return EngineSchema(
        schema.dialect, Schema({fold(copy.name): copy for copy in copies.values()}), columns=columns
    ), copies
