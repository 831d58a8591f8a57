"""What a generator of rows needs to know of a pair of queries: which rows must exist together for a query to see them.

A `Plan` lists *instances* (one per table reference in a query), *slots* (one column of an instance), and for every
SELECT a condition tree over slots. `compiler` makes it, `scenarios` draws rows that satisfy a condition, or that fail
one part of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from text2sql.equivalence.databases.boundaries import Boundary, ColumnKey
from text2sql.equivalence.databases.concatenations import Concatenation
from text2sql.equivalence.databases.reaches import Reach
from text2sql.equivalence.databases.runs import Running
from text2sql.equivalence.databases.values.number_readings import NumberReading
from text2sql.equivalence.databases.values.thresholds import Threshold
from text2sql.equivalence.databases.values.time_mentions import TimeMentions
from text2sql.sql.column_paths import Path
from text2sql.sql.schema import Schema, TableSchema
from text2sql.sql.values import Value


@dataclass
class Condition:
    """A condition: and, or, not over parts; cmp, eq, rel, null, func over slots; query for a subquery with rows.

    Attributes:
        parts: Of and, or, not.
        slots: The columns that it is about, in the order in which ``expression`` calls them v0, v1, ...
        op: The comparison of cmp and rel; ``aggregate`` for a func over groups.
        literal: What cmp compares with.
        candidates: Values on which it may come out either way, the literal itself first.
        query: The subquery of query and in.
        expression: The condition of func for SQLite to decide, None where SQLite alone cannot.
        differs: Whether the other query lacks it, or lacks a part of it.
        of: The name of the column of constants that ``literal`` comes from.
        spelt: How it is written, where SQLite alone cannot decide it.
    """

    kind: str
    parts: list[Condition] = field(default_factory=list)
    slots: tuple[int, ...] = ()
    op: str = ""
    literal: Value | tuple[Value, ...] = None
    candidates: tuple[Value, ...] = ()
    query: Query | None = None
    expression: exp.Expr | None = None
    differs: bool = False
    of: str = ""
    spelt: str = ""

    @property
    def optional(self) -> bool:
        """Whether it may hold or not: the condition of a CASE."""
        return self.kind == "or" and self.parts[-1:] == [Condition("and")]


@dataclass
class Query:
    """A SELECT with its instances and condition, or a set operation over two queries.

    Attributes:
        kind: select, union, intersect or except.
        projections: Of each result column the slot that it shows, None for anything else.
        group: The slots of GROUP BY.
        partition: Those of PARTITION BY.
        spread: Whether its result has one row a group: further rows need further groups.
        constraints: What its tables' CHECKs say of several columns at once; it always holds.
        constants: By name of a result column that reads no table, its values.
    """

    kind: str
    instances: list[int] = field(default_factory=list)
    condition: Condition = field(default_factory=lambda: Condition("and"))
    projections: list[int | None] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    group: list[int] = field(default_factory=list)
    partition: list[int] = field(default_factory=list)
    spread: bool = False
    constraints: list[Condition] = field(default_factory=list)
    constants: dict[str, tuple[Value, ...]] = field(default_factory=dict)
    left: Query | None = None
    right: Query | None = None


@dataclass(frozen=True)
class Recursion:
    """What a recursive query follows from row to row.

    Attributes:
        source: The column whose value a row hands on.
        target: The column that the next row has it in.
        base: The rows that the recursion begins with.
        step: The rows of one step, whatever they follow.
        head: The column whose value the first step follows; None where that is a constant.
        start: That constant.
    """

    source: ColumnKey
    target: ColumnKey
    base: Query
    step: Query
    head: ColumnKey | None
    start: Value


@dataclass
class Plan:
    """What a pair of queries says about the rows worth having.

    Attributes:
        tables: Of each instance, the lower-case name of its table.
        slots: Each a pair of instance and lower-case column.
        queries: One per tree that could be compiled, the gold query first.
        literals: Every literal of the trees.
        thresholds: Numbers that rows are counted against, as in LIMIT 3 or HAVING COUNT(*) > 3.
        hints: By name of a column, values on which the functions around it differ.
        functions: By name of a column, the expressions over it (called v0) that may make two values equal.
        parting: The names of columns over which the queries have different expressions.
        boundaries: Of each query the comparisons over groups that not every query has; empty for one query.
        asked: The comparisons over groups of the gold query.
        extremes: Columns whose smallest or largest value decides: of MIN, MAX, and of ORDER BY before LIMIT.
        aggregated: Of each query by its number, its aggregates and the columns that they are of; None for all rows.
        summed: Columns whose sum is taken: groups compete by it where their rows have equal values.
        documents: By name of a column that is read as JSON, the paths that the queries read.
        made: By name of a column whose values have parts, the values that it holds.
        fractional: The names of columns that hold fractions of a second.
        concatenations: What the queries put together.
        defaults: By name of a column, the numbers that stand for its NULL.
        phrases: Words that full-text searches look for.
        distinct_counts: Whether a query counts distinct values, ranks them, or finds one by its rank.
        chains: By table the pairs of columns by which rows of it follow each other: a row's parent and its key.
        recursions: The recursive parts of the queries, the gold query's first.
        deepest: How many steps these are compared with.
        totals: By name of a column that they add up, the numbers that the sum is compared with.
        ordered: The columns that windows are sorted by.
        reaches: The windows that look some rows away.
        time_mentions: What the queries say about time; None where they say nothing.
        swept: By name of a column, texts on which the functions of an engine part ways.
        grouped: Whether groups compete: a query groups rows, and sorts or selects by aggregates.
        rivals: By name of a column, what one query computes from it (called v0), next to what the other one does.
        universal: Whether a query asks something of all rows of a table.
        running: The sums that windows carry from row to row, and what these are compared with.
        readings: By name of a column, what is read as a number out of parts of its texts.
        runs: Whether a query tells rows that follow each other without a gap by their distance from their number.
    """

    schema: Schema
    tables: list[str] = field(default_factory=list)
    slots: list[tuple[int, str]] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    literals: list[Value] = field(default_factory=list)
    thresholds: list[Threshold] = field(default_factory=list)
    hints: dict[str, list[Value]] = field(default_factory=dict)
    functions: dict[str, list[exp.Expr]] = field(default_factory=dict)
    parting: set[str] = field(default_factory=set)
    boundaries: list[list[Boundary]] = field(default_factory=list)
    asked: list[Boundary] = field(default_factory=list)
    extremes: set[ColumnKey] = field(default_factory=set)
    aggregated: dict[int, set[tuple[str, ColumnKey | None]]] = field(default_factory=dict)
    summed: set[ColumnKey] = field(default_factory=set)
    documents: dict[str, list[Path]] = field(default_factory=dict)
    made: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    fractional: Collection[str] = frozenset()
    concatenations: list[Concatenation] = field(default_factory=list)
    defaults: dict[str, list[int | float]] = field(default_factory=dict)
    phrases: list[Value] = field(default_factory=list)
    distinct_counts: bool = False
    chains: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    recursions: list[Recursion] = field(default_factory=list)
    deepest: int = 0
    totals: dict[str, list[int | float]] = field(default_factory=dict)
    ordered: set[ColumnKey] = field(default_factory=set)
    reaches: list[Reach] = field(default_factory=list)
    time_mentions: TimeMentions | None = None
    swept: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    grouped: bool = False
    rivals: Mapping[str, Sequence[tuple[exp.Expr, exp.Expr]]] = field(default_factory=dict)
    universal: bool = False
    running: list[Running] = field(default_factory=list)
    runs: bool = False
    readings: Mapping[str, NumberReading] = field(default_factory=dict)
    _index: dict[tuple[int, str], int] = field(default_factory=dict)

    @property
    def nested(self) -> bool:
        """Whether a query reads tables in more than one SELECT."""
        return any(sum(bool(part.instances) for part in subqueries(query)) > 1 for query in self.queries)

    def slot(self, instance: int, column: str) -> int:
        """The number of a slot, made on first use."""
        key = (instance, column)
        if key not in self._index:
            self._index[key] = len(self.slots)
            self.slots.append(key)
        return self._index[key]

    def reader(self, table: str) -> int:
        """The number of the first query that reads a table; 0 if none does."""
        for number, query in enumerate(self.queries):
            if any(self.tables[instance] == table for part in subqueries(query) for instance in part.instances):
                return number
        return 0

    def columns_by_instance(self) -> dict[int, list[tuple[str, int]]]:
        """Of every instance, the columns that are slots, with their numbers."""
        found: dict[int, list[tuple[str, int]]] = {}
        for slot, (instance, column) in enumerate(self.slots):
            found.setdefault(instance, []).append((column, slot))
        return found

    def table(self, slot: int) -> TableSchema:
        """The table of a slot."""
        return self.schema.tables[self.tables[self.slots[slot][0]]]

    def column_of(self, slot: int) -> tuple[str, str]:
        """Table and column of a slot, in lower case."""
        instance, column = self.slots[slot]
        return self.tables[instance], column


def subqueries(query: Query) -> Iterator[Query]:
    """A query and the sides of its set operations, subqueries included."""
    yield query
    for side in (query.left, query.right):
        if side:
            yield from subqueries(side)
    for condition in parts(query.condition):
        if condition.query is not None:
            yield from subqueries(condition.query)


def parts(condition: Condition) -> Iterator[Condition]:
    """A condition and all within it."""
    yield condition
    for part in condition.parts:
        yield from parts(part)


def atoms(query: Query) -> Iterator[Condition]:
    """The conditions of a query and of those within it that are about columns, each once."""
    seen: set[int] = set()
    for part in subqueries(query):
        for condition in (*parts(part.condition), *(c for constraint in part.constraints for c in parts(constraint))):
            if condition.slots and id(condition) not in seen:
                seen.add(id(condition))
                yield condition
