"""A database of which nothing is known but its schema: a few rows to a table, each of which may be absent."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import z3

from text2sql.equivalence.proof.symbols import FALSE, Bool, Kind, NotModelled, Symbol, all_same, both, either, no
from text2sql.sql.schema import Column, TableSchema

_KINDS: dict[str, Kind] = {"integer": "integer", "boolean": "integer", "real": "real"}


@dataclass(frozen=True)
class Row:
    """A row that may be there.

    Attributes:
        present: Whether it is.
        cells: Its values.
        origin: The rows of tables that it comes from.
    """

    present: Bool
    cells: tuple[Symbol, ...]
    origin: frozenset[tuple[str, int]] = frozenset()


class Database:
    """Tables of ``rows`` rows at most.

    Attributes:
        rules: What its schema asks for: keys, NOT NULL, foreign keys, columns that hold 0 and 1.
    """

    def __init__(self, tables: dict[str, TableSchema], rows: int) -> None:
        self._schemas, self._rows = tables, rows
        self._made: dict[str, list[Row]] = {}
        self._linked: set[str] = set()
        self.rules: list[Bool] = []

    def columns(self, table: str) -> list[str]:
        """The columns of a table, in lower case.

        Raises:
            NotModelled: There is no such table.
        """
        if table not in self._schemas or self._schemas[table].full_text:
            raise NotModelled(f"the table {table}")
        return list(self._schemas[table].columns)

    def rows(self, table: str) -> list[Row]:
        """The rows of a table; made when they are first asked for."""
        if table in self._made:
            return self._made[table]
        schema = self._schemas[table]
        found = self._made[table] = [self._row(schema, table, number) for number in range(self._rows)]
        names = list(schema.columns)
        # Which of equal rows are absent does not matter.
        self.rules += [z3.Implies(b.present, a.present) for a, b in pairwise(found)]
        for key in schema.keys:
            places = [names.index(column) for column in key]
            for number, b in enumerate(found):
                for a in found[:number]:
                    one, other = ([row.cells[place] for place in places] for row in (a, b))
                    known = both(*(no(value.null) for value in one))
                    self.rules.append(no(both(a.present, b.present, known, all_same(one, other))))
        return found

    def link(self) -> None:
        """Adds the foreign keys between the tables that were asked for."""
        for name, children in list(self._made.items()):
            schema = self._schemas[name]
            for key in schema.foreign_keys:
                if key.parent not in self._made:
                    continue
                parent = list(self._schemas[key.parent].columns)
                if not set(key.parent_columns) <= set(parent) or len(key.columns) != len(key.parent_columns):
                    continue
                here = [list(schema.columns).index(column) for column in key.columns]
                there = [parent.index(column) for column in key.parent_columns]
                for child in children:
                    given = [child.cells[place] for place in here]
                    targets = [[row.cells[place] for place in there] for row in self._made[key.parent]]
                    if any(a.numeric != b.numeric for target in targets for a, b in zip(given, target, strict=True)):
                        continue
                    known = both(child.present, *(no(value.null) for value in given))
                    met = either(
                        *(
                            both(row.present, all_same(given, target))
                            for row, target in zip(self._made[key.parent], targets, strict=True)
                        )
                    )
                    self.rules.append(z3.Implies(known, met))

    def _row(self, schema: TableSchema, table: str, number: int) -> Row:
        cells = []
        for key, column in schema.columns.items():
            name = f"{table}.{key}[{number}]"
            required = column.not_null or key in schema.primary_key
            cells.append(self._cell(column, name, FALSE if required else z3.Bool(f"{name} null")))
        return Row(z3.Bool(f"{table}[{number}]"), tuple(cells), frozenset({(table, number)}))

    def _cell(self, column: Column, name: str, null: Bool) -> Symbol:
        if column.collation or column.generated or column.affinity == "BLOB":
            raise NotModelled("a collated, generated or untyped column")
        kind = _KINDS.get(column.kind, "text")
        if kind == "real" and column.affinity != "REAL":
            kind = "number"
        affinity = "TEXT" if column.affinity == "TEXT" else "NUMERIC"
        term = z3.Int(name) if kind == "integer" else z3.Real(name)
        if column.kind == "boolean":
            self.rules += [term >= 0, term <= 1]
        return Symbol(kind, null, term, affinity)  # type: ignore[arg-type]
