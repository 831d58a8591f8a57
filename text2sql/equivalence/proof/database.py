"""A symbolic database, of which only the schema is known: a few rows to a table, each of which may be absent."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import z3

from text2sql.equivalence.proof.symbols import FALSE, Bool, Kind, NotModelled, SymbolicValue, all_equal, and_, not_, or_
from text2sql.sql.schema import Column, ForeignKey, TableSchema

_KINDS: dict[str, Kind] = {"integer": "integer", "boolean": "integer", "real": "real"}


@dataclass(frozen=True)
class SymbolicRow:
    """A row that may be absent.

    Attributes:
        present: Whether it is there.
        cells: Its values.
        origin: The rows of tables that it comes from, each by table and number.
    """

    present: Bool
    cells: tuple[SymbolicValue, ...]
    origin: frozenset[tuple[str, int]] = frozenset()


class SymbolicDatabase:
    """Tables with a bound on their rows.

    Args:
        tables: By lower-case name.
        rows: Rows of a table at most.

    Attributes:
        constraints: What the schema asks for: keys, NOT NULL, foreign keys, columns that hold 0 and 1.
    """

    def __init__(self, tables: dict[str, TableSchema], rows: int) -> None:
        self._schemas, self._max_rows = tables, rows
        self._rows: dict[str, list[SymbolicRow]] = {}
        self.constraints: list[Bool] = []

    def columns(self, table: str) -> list[str]:
        """The columns of a table, in lower case.

        Raises:
            NotModelled: There is no such table.
        """
        if table not in self._schemas or self._schemas[table].full_text:
            raise NotModelled(f"the table {table}")
        return list(self._schemas[table].columns)

    def rows(self, table: str) -> list[SymbolicRow]:
        """The rows of a table; made when they are first asked for."""
        if table in self._rows:
            return self._rows[table]
        schema = self._schemas[table]
        rows = self._rows[table] = [self._new_row(schema, table, number) for number in range(self._max_rows)]
        names = list(schema.columns)
        # Which of equal rows are absent does not matter.
        self.constraints += [z3.Implies(b.present, a.present) for a, b in pairwise(rows)]
        for key in schema.keys:
            indices = [names.index(column) for column in key]
            for number, b in enumerate(rows):
                for a in rows[:number]:
                    one, other = ([row.cells[index] for index in indices] for row in (a, b))
                    known = and_(*(not_(value.null) for value in one))
                    self.constraints.append(not_(and_(a.present, b.present, known, all_equal(one, other))))
        return rows

    def add_foreign_keys(self) -> None:
        """Adds the foreign keys between the tables whose rows were asked for to the constraints."""
        for name in list(self._rows):
            for key in self._schemas[name].foreign_keys:
                if key.parent in self._rows:
                    self._add_foreign_key(name, key)

    def _add_foreign_key(self, name: str, key: ForeignKey) -> None:
        child_columns, parent_columns = list(self._schemas[name].columns), list(self._schemas[key.parent].columns)
        if not set(key.parent_columns) <= set(parent_columns) or len(key.columns) != len(key.parent_columns):
            return
        child_indices = [child_columns.index(column) for column in key.columns]
        parent_indices = [parent_columns.index(column) for column in key.parent_columns]
        parents = self._rows[key.parent]
        targets = [[row.cells[index] for index in parent_indices] for row in parents]
        for child in self._rows[name]:
            values = [child.cells[index] for index in child_indices]
            if any(a.numeric != b.numeric for target in targets for a, b in zip(values, target, strict=True)):
                continue
            references = and_(child.present, *(not_(value.null) for value in values))
            has_parent = or_(
                *(and_(row.present, all_equal(values, target)) for row, target in zip(parents, targets, strict=True))
            )
            self.constraints.append(z3.Implies(references, has_parent))

    def _new_row(self, schema: TableSchema, table: str, number: int) -> SymbolicRow:
        cells = []
        for key, column in schema.columns.items():
            name = f"{table}.{key}[{number}]"
            required = column.not_null or key in schema.primary_key
            cells.append(self._new_cell(column, name, FALSE if required else z3.Bool(f"{name} null")))
        return SymbolicRow(z3.Bool(f"{table}[{number}]"), tuple(cells), frozenset({(table, number)}))

    def _new_cell(self, column: Column, name: str, null: Bool) -> SymbolicValue:
        if column.collation or column.generated or column.affinity == "BLOB":
            raise NotModelled("a collated, generated or untyped column")
        kind = _KINDS.get(column.kind, "text")
        if kind == "real" and column.affinity != "REAL":
            kind = "number"
        affinity = "TEXT" if column.affinity == "TEXT" else "NUMERIC"
        term = z3.Int(name) if kind == "integer" else z3.Real(name)
        if column.kind == "boolean":
            self.constraints += [term >= 0, term <= 1]
        return SymbolicValue(kind, null, term, affinity)  # type: ignore[arg-type]
