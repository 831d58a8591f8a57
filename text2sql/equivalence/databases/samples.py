"""A sample: rows that a database must contain, because a difference between the queries shows on them.

The modules of `differences` find samples; `drawing.row_drawer` makes the rest of the rows around them.
"""

from __future__ import annotations

from dataclasses import dataclass

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.sql.values import Row

# Rows over the columns of a sample.
Group = tuple[Row, ...]


@dataclass(frozen=True)
class Sample:
    """Values that the rows of one query have in some columns: one group of rows.

    Attributes:
        query: The number of the query that sees the rows.
        columns: The columns whose values are given.
        rows: Their values, one tuple for each copy of the query's rows.
        constant_columns: Those of the columns that have one value for all copies.
        copies_agree: Whether the copies agree in all else that may be equal.
        no_other_rows: Whether each of the rows is compared with all of its table, so that there may be no others.
        holds: Whether the comparison that the sample is made for holds on it.
        separate_groups: Whether each copy is a group of its own, so that only a window's partition is shared.
    """

    query: int
    columns: tuple[ColumnKey, ...]
    rows: Group
    constant_columns: frozenset[ColumnKey] = frozenset()
    copies_agree: bool = False
    no_other_rows: bool = False
    holds: bool = False
    separate_groups: bool = False


# The samples of one database.
SampleDatabase = tuple[Sample, ...]
