"""One pair's tables in an engine: filled with made rows, queried, filled again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from text2sql.engines.sandbox.engine import QUERY_SECONDS, Engine
from text2sql.engines.sandbox.tables import EngineSchema
from text2sql.engines.values.fitted_rows import fitted
from text2sql.engines.values.sqlite_functions import SQLITE_FUNCTIONS
from text2sql.sql.sandbox import MAX_ROWS, QueryFailed, Result, SqliteSandbox
from text2sql.sql.schema import TableSchema, View
from text2sql.sql.tokens import fold
from text2sql.sql.values import Row

# Instructions of SQLite that a query stands for where work is counted.
_STEPS = 20_000


class EngineSandbox:
    """What `SqliteSandbox` is for SQLite, for an engine; rows are written when the first query asks for them.

    Args:
        engine: Where the queries run.
        schema: Of the pair.
        tables: Those that the queries read, by lower-case name.
        views: Those that they read.

    Attributes:
        steps: What the last query counts for where work is counted.
        refusing: Whether rows are changed as they are stored, so that keys must be looked at again.

    Raises:
        QueryFailed: The engine does not accept the tables.
    """

    steps = _STEPS
    refusing = True

    def __init__(
        self, engine: Engine, schema: EngineSchema, tables: Mapping[str, TableSchema], views: Sequence[View]
    ) -> None:
        self._engine, self._schema = engine, schema
        self._tables = dict(tables)
        self._types = {name: schema.with_keys(table) for name, table in tables.items()}
        self._kept: dict[str, list[Row]] = {name: [] for name in tables}
        # SQLite keeps out what CHECKs and unique indexes of some rows refuse, and computes what a witness shows.
        self._kept_by_sqlite = {
            name
            for name, table in tables.items()
            if table.checks or table.indexes or len(table.given) < len(table.columns)
        }
        self._keeper = None
        if self._kept_by_sqlite:
            self._keeper = SqliteSandbox.in_memory(tables.values(), functions=SQLITE_FUNCTIONS)
        self._reverse = self._filled = False
        # The statements whose rows the engine holds; None where it is not known.
        self._held: list[str] | None = None
        self._shuffled: dict[str, str] = {}
        # What queries return on empty tables, by their text.
        self._on_empty: dict[str, Result] = {}
        temporary = engine.temporary(bool(views))
        engine.begin(
            schema.creations(tables.values(), views, temporary), schema.removals(tables.values(), views, temporary)
        )

    def close(self) -> None:
        """Drops the tables."""
        if self._keeper is not None:
            self._keeper.close()
        self._engine.end()

    def load(self, rows: Mapping[str, tuple[TableSchema, list[Row]]]) -> None:
        """Replaces the contents of the tables; rows that break a key or a CHECK are left out."""
        found = {
            name: fitted(table, data, self._types[name]) for name, (table, data) in rows.items() if name in self._types
        }
        if self._keeper is not None:
            self._keeper.load({name: (self._tables[name], data) for name, data in found.items()})
            stored = {name: self._keeper.stored(self._tables[name]) for name in found if name in self._kept_by_sqlite}
            found |= {name: fitted(self._tables[name], data, self._types[name]) for name, data in stored.items()}
        self._kept = found
        self._filled = False

    def stored(self, table: TableSchema) -> list[Row]:
        """All rows of a table."""
        return list(self._kept.get(fold(table.name), ()))

    def perturb(self, *, reverse: bool = False, indexes: bool = True) -> None:
        """Changes what SQL leaves open: the order in which rows were written."""
        # A query that leaves something to chance is to be run again.
        self._on_empty.clear()
        if reverse != self._reverse:
            self._reverse, self._filled = reverse, False

    def shuffle(self, sql: str, shuffled: str) -> None:
        """Has another form of a query run where the order of rows is perturbed: one whose rows come in any order.

        Where rows lie in the order of their key, a query without ORDER BY returns them so however they were written.
        """
        self._shuffled[sql] = shuffled

    def check(self, sql: str) -> None:
        """Runs a query on empty tables, which compiles it.

        Raises:
            QueryFailed: The engine does not accept it.
        """
        if sql in self._on_empty:
            return
        kept, self._kept, self._filled = self._kept, {}, False
        try:
            self._on_empty[sql] = self.run(sql, 0, QUERY_SECONDS)
        except QueryFailed as failure:
            if not failure.by_rows:
                raise
        finally:
            self._kept, self._filled = kept, False

    def run(self, sql: str, max_steps: int, seconds: float, max_rows: int = MAX_ROWS) -> Result:
        """Runs one query.

        Args:
            sql: A query that the guard has let pass.
            max_steps: Says nothing here.
            seconds: A limit of time.
            max_rows: Rows to fetch at most.

        Raises:
            QueryFailed: On errors of the query and exceeded limits.
        """
        if self._reverse:
            sql = self._shuffled.get(sql, sql)
        if sql in self._on_empty and max_rows == MAX_ROWS and not any(self._kept.values()):
            return self._on_empty[sql]
        if not self._filled:
            self._fill()
        try:
            return self._engine.query(sql, max(seconds, 0.1), max_rows)
        except QueryFailed:
            # Engines end a transaction in which something failed.
            self._filled, self._held = False, None
            raise

    def _fill(self) -> None:
        step = -1 if self._reverse else 1
        wanted = [self._schema.insertion(self._tables[name], data[::step]) for name, data in self._kept.items() if data]
        # Queries only read: what is there already is not written again.
        if wanted != self._held:
            self._held = None
            self._engine.fill(wanted)
            self._held = wanted
        self._filled = True
