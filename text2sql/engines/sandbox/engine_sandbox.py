"""The sandbox of one pair in an engine: its tables are filled with made rows, queried, and filled again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from text2sql.engines.sandbox.engine import QUERY_SECONDS, Engine
from text2sql.engines.sandbox.engine_schema import EngineSchema
from text2sql.engines.values.fitted_rows import fit_rows
from text2sql.engines.values.sqlite_functions import SQLITE_FUNCTIONS
from text2sql.sql.sandbox import MAX_ROWS, QueryFailed, Result, SqliteSandbox
from text2sql.sql.schema import TableSchema, View
from text2sql.sql.tokens import fold
from text2sql.sql.values import Row

# The number of SQLite instructions that one query counts as where work is limited by instructions.
_STEPS_PER_QUERY = 20_000


class EngineSandbox:
    """The counterpart of SQLite's `SqliteSandbox` for an engine; rows are written when the first query reads them.

    Args:
        engine: The engine that runs the queries.
        schema: The pair's schema.
        tables: The tables that the queries read, by lower-case name.
        views: The views that the queries read.

    Attributes:
        steps: The work that the last query counts as, in SQLite instructions.
        refusing: Whether stored rows may differ from loaded ones, so that keys must be checked again.

    Raises:
        QueryFailed: The engine does not accept the tables.
    """

    steps = _STEPS_PER_QUERY
    refusing = True

    def __init__(
        self, engine: Engine, schema: EngineSchema, tables: Mapping[str, TableSchema], views: Sequence[View]
    ) -> None:
        self._engine, self._schema = engine, schema
        self._tables = dict(tables)
        self._types = {name: schema.column_types(table) for name, table in tables.items()}
        self._rows: dict[str, list[Row]] = {name: [] for name in tables}
        # SQLite drops the rows that CHECKs and unique indexes refuse, and computes the generated columns of witnesses.
        self._sqlite_checked = {
            name
            for name, table in tables.items()
            if table.checks or table.indexes or len(table.stored_columns) < len(table.columns)
        }
        self._constraint_checker = None
        if self._sqlite_checked:
            self._constraint_checker = SqliteSandbox.in_memory(tables.values(), functions=SQLITE_FUNCTIONS)
        self._is_reversed = self._is_filled = False
        # The INSERT statements whose rows the engine holds now; None if unknown.
        self._written_statements: list[str] | None = None
        self._shuffled: dict[str, str] = {}
        # Results on empty tables by query.
        self._on_empty: dict[str, Result] = {}
        modifier = engine.table_modifier(bool(views))
        engine.create_tables(
            schema.create_statements(tables.values(), views, modifier),
            schema.drop_statements(tables.values(), views, modifier),
        )

    def close(self) -> None:
        """Drops the tables."""
        if self._constraint_checker is not None:
            self._constraint_checker.close()
        self._engine.drop_tables()

    def load(self, rows: Mapping[str, tuple[TableSchema, list[Row]]]) -> None:
        """Replaces the contents of the tables; rows that violate a key or a CHECK are left out."""
        fitted = {
            name: fit_rows(table, data, self._types[name])
            for name, (table, data) in rows.items()
            if name in self._types
        }
        if self._constraint_checker is not None:
            self._constraint_checker.load({name: (self._tables[name], data) for name, data in fitted.items()})
            stored = {
                name: self._constraint_checker.stored(self._tables[name])
                for name in fitted
                if name in self._sqlite_checked
            }
            fitted |= {name: fit_rows(self._tables[name], data, self._types[name]) for name, data in stored.items()}
        self._rows = fitted
        self._is_filled = False

    def stored(self, table: TableSchema) -> list[Row]:
        """The rows of a table."""
        return list(self._rows.get(fold(table.name), ()))

    def perturb(self, *, reverse: bool = False, indexes: bool = True) -> None:
        """Changes the order in which rows are stored, which SQL leaves undefined."""
        # A nondeterministic query may return something else.
        self._on_empty.clear()
        if reverse != self._is_reversed:
            self._is_reversed, self._is_filled = reverse, False

    def shuffle(self, sql: str, shuffled: str) -> None:
        """Registers the query to run instead of `sql` while the row order is perturbed: one that shuffles its rows.

        Where tables are stored in key order, a query without ORDER BY returns that order however rows were inserted.
        """
        self._shuffled[sql] = shuffled

    def check(self, sql: str) -> None:
        """Runs a query on empty tables to find whether the engine accepts it.

        Raises:
            QueryFailed: The engine does not accept it.
        """
        if sql in self._on_empty:
            return
        rows, self._rows, self._is_filled = self._rows, {}, False
        try:
            self._on_empty[sql] = self.run(sql, 0, QUERY_SECONDS)
        except QueryFailed as failure:
            if not failure.by_rows:
                raise
        finally:
            self._rows, self._is_filled = rows, False

    def run(self, sql: str, max_steps: int, seconds: float, max_rows: int = MAX_ROWS) -> Result:
        """Runs one query.

        Args:
            sql: A query that has passed the guard.
            max_steps: Ignored; engines have no such limit.
            seconds: The time limit.
            max_rows: Rows to fetch at most.

        Raises:
            QueryFailed: On errors of the query and exceeded limits.
        """
        if self._is_reversed:
            sql = self._shuffled.get(sql, sql)
        if sql in self._on_empty and max_rows == MAX_ROWS and not any(self._rows.values()):
            return self._on_empty[sql]
        if not self._is_filled:
            self._fill()
        try:
            return self._engine.query(sql, max(seconds, 0.1), max_rows)
        except QueryFailed:
            # A failure ends the engine's transaction, and with it the rows.
            self._is_filled, self._written_statements = False, None
            raise

    def _fill(self) -> None:
        step = -1 if self._is_reversed else 1
        statements = [
            self._schema.insert_statement(self._tables[name], data[::step]) for name, data in self._rows.items() if data
        ]
        # Queries only read, so rows that are stored already need not be written again.
        if statements != self._written_statements:
            self._written_statements = None
            self._engine.replace_rows(statements)
            self._written_statements = statements
        self._is_filled = True
