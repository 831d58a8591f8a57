"""The plan of a pair of queries: which rows must exist together for a query to see them, and what decides its result.

A `Plan` lists *instances* (one per table reference in a query), *slots* (one column of an instance) and, for every
SELECT, a tree of conditions over slots. `reading.compiler` compiles it from the queries' syntax trees; `drawing` draws
rows on which a condition holds, or on which one part of it fails. What the queries compute from columns, groups,
windows and recursion is kept in four groups of facts, which `phenomena` reads and `differences` uses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlglot import exp

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.phenomena.aggregate_comparisons import AggregateComparison
from text2sql.equivalence.databases.phenomena.concatenations import Concatenation
from text2sql.equivalence.databases.phenomena.count_thresholds import CountThreshold
from text2sql.equivalence.databases.phenomena.numbers_in_texts import NumberReading
from text2sql.equivalence.databases.phenomena.running_sums import RunningSum
from text2sql.equivalence.databases.phenomena.time_mentions import TimeMentions
from text2sql.equivalence.databases.phenomena.window_reach import WindowReach
from text2sql.sql.column_paths import Path
from text2sql.sql.schema import Schema, TableSchema
from text2sql.sql.values import Value

# and, or, not: of `parts`. compare: a column with a literal, or with a list of them. equal, relate: two columns by = or
# by another comparison. null: a column IS NULL. expression: any other condition over columns, which SQLite decides.
# exists: a subquery has rows. in: a column has a value that a subquery returns.
ConditionKind = Literal["and", "or", "not", "compare", "equal", "relate", "null", "expression", "exists", "in"]


@dataclass
class Condition:
    """A condition on the rows of a query.

    Attributes:
        kind: What the condition is, see `ConditionKind`; which of the other attributes it has depends on that.
        parts: The operands of and, or and not.
        slots: The columns in it, in the order in which ``expression`` calls them v0, v1, ...
        op: The comparison of compare and relate; ``in`` for a list of literals.
        literal: What compare compares with.
        candidates: Values on which it may come out either way, the literal itself first.
        subquery: The subquery of exists and in.
        expression: The condition over v0, v1, ... for SQLite to decide; None where SQLite alone cannot.
        over_groups: Whether an expression has aggregates, so that no single row decides it.
        differs: Whether the other query lacks it, or lacks a part of it.
        constants_column: The name of the column of constants that ``literal`` comes from; empty for any other.
        source_text: How the query writes it, where SQLite alone cannot decide it; empty for any other.
    """

    kind: ConditionKind
    parts: list[Condition] = field(default_factory=list)
    slots: tuple[int, ...] = ()
    op: str = ""
    literal: Value | tuple[Value, ...] = None
    candidates: tuple[Value, ...] = ()
    subquery: Query | None = None
    expression: exp.Expr | None = None
    over_groups: bool = False
    differs: bool = False
    constants_column: str = ""
    source_text: str = ""

    @property
    def optional(self) -> bool:
        """Whether it may hold or not, as the condition of a CASE may: it is an alternative to an empty conjunction."""
        return self.kind == "or" and self.parts[-1:] == [Condition("and")]


@dataclass
class Query:
    """A SELECT with its instances and condition, or a set operation over two queries.

    Attributes:
        kind: What it is.
        instances: The table references of a SELECT, by number.
        condition: What its rows must meet together.
        projections: Of each result column the slot that it shows, None for anything else.
        column_names: The lower-case names of the result columns.
        group_by: The slots of GROUP BY.
        partition_by: The slots of PARTITION BY.
        one_row_per_group: Whether its result has one row a group: further rows need further groups.
        checks: What its tables' CHECKs say of several columns at once; always holds.
        constants: By name of a result column that reads no table, its values.
        left: The first query of a set operation.
        right: The second query of a set operation.
    """

    kind: Literal["select", "union", "intersect", "except"]
    instances: list[int] = field(default_factory=list)
    condition: Condition = field(default_factory=lambda: Condition("and"))
    projections: list[int | None] = field(default_factory=list)
    column_names: list[str] = field(default_factory=list)
    group_by: list[int] = field(default_factory=list)
    partition_by: list[int] = field(default_factory=list)
    one_row_per_group: bool = False
    checks: list[Condition] = field(default_factory=list)
    constants: dict[str, tuple[Value, ...]] = field(default_factory=dict)
    left: Query | None = None
    right: Query | None = None


@dataclass(frozen=True)
class Recursion:
    """A link that a recursive query follows from row to row.

    Attributes:
        source: The column whose value a row hands on.
        target: The column that holds this value in the next row.
        base: The query that the recursion begins with.
        step: The query of one step, without the condition that links it to the row before.
        start_column: The column whose value the first step follows; None where that is a constant.
        start_value: This constant; None for a column.
    """

    source: ColumnKey
    target: ColumnKey
    base: Query
    step: Query
    start_column: ColumnKey | None
    start_value: Value


@dataclass
class ColumnFacts:
    """What the queries compute from single columns, by lower-case name of the column.

    Attributes:
        hints: Values on which the functions around a column differ.
        functions: The expressions over a column (called v0) that may make two values equal.
        differing_functions: The columns over which the queries have different expressions.
        expression_pairs: What one query computes from a column (called v0), next to what the other one does.
        json_paths: Of a column that is read as JSON, the paths that the queries read.
        structured_values: Of a column whose values have parts, such as an engine's arrays, the values that it holds.
        fractional: The columns that hold fractions of a second.
        null_defaults: The numbers that COALESCE puts in place of a column's NULL.
        sweep_values: Texts on which the functions of an engine differ, each of which gets a row.
        number_readings: What is read as a number out of parts of a column's texts.
        concatenations: The pairs of columns that the queries concatenate.
    """

    hints: dict[str, list[Value]] = field(default_factory=dict)
    functions: dict[str, list[exp.Expr]] = field(default_factory=dict)
    differing_functions: set[str] = field(default_factory=set)
    expression_pairs: Mapping[str, Sequence[tuple[exp.Expr, exp.Expr]]] = field(default_factory=dict)
    json_paths: dict[str, list[Path]] = field(default_factory=dict)
    structured_values: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    fractional: Collection[str] = frozenset()
    null_defaults: dict[str, list[int | float]] = field(default_factory=dict)
    sweep_values: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    number_readings: Mapping[str, NumberReading] = field(default_factory=dict)
    concatenations: list[Concatenation] = field(default_factory=list)


@dataclass
class GroupFacts:
    """What the queries ask of groups.

    Attributes:
        gold_comparisons: The comparisons over groups of the gold query.
        differing_comparisons: Of each query the comparisons that not every query has; empty for one query.
        extreme_columns: Columns whose smallest or largest value decides: of MIN, MAX, and of ORDER BY before LIMIT.
        aggregates: Of each query by its number, its aggregates and the columns that they are of; None for all rows.
        summed_columns: Columns whose sum is taken: groups compete by it where their rows have equal values.
        counts_distinct: Whether a query counts distinct values, ranks them, or finds one by its rank.
        compete: Whether a query groups rows, and sorts or selects the groups by aggregates.
    """

    gold_comparisons: list[AggregateComparison] = field(default_factory=list)
    differing_comparisons: list[list[AggregateComparison]] = field(default_factory=list)
    extreme_columns: set[ColumnKey] = field(default_factory=set)
    aggregates: dict[int, set[tuple[str, ColumnKey | None]]] = field(default_factory=dict)
    summed_columns: set[ColumnKey] = field(default_factory=set)
    counts_distinct: bool = False
    compete: bool = False


@dataclass
class WindowFacts:
    """What the queries' windows look at.

    Attributes:
        order_columns: The columns that windows are sorted by.
        reaches: The windows that look some rows away.
        running_sums: The sums that windows carry from row to row, and what these are compared with.
        find_islands: Whether a query finds rows that follow each other without a gap (gaps and islands).
    """

    order_columns: set[ColumnKey] = field(default_factory=set)
    reaches: list[WindowReach] = field(default_factory=list)
    running_sums: list[RunningSum] = field(default_factory=list)
    find_islands: bool = False


@dataclass
class RecursionFacts:
    """What the recursive parts of the queries follow.

    Attributes:
        recursions: The links that they follow, the gold query's first.
        row_links: By table the pairs of columns by which its rows follow each other: a row's parent and its key.
        max_depth: The largest number of steps that they are compared with.
        totals: By name of a column that they add up, the numbers that the sum is compared with.
    """

    recursions: list[Recursion] = field(default_factory=list)
    row_links: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    max_depth: int = 0
    totals: dict[str, list[int | float]] = field(default_factory=dict)


@dataclass
class Plan:
    """What a pair of queries says about the rows worth having.

    Attributes:
        schema: The schema of the pair.
        tables: Of each instance, the lower-case name of its table.
        slots: Of each slot, its instance and lower-case column.
        queries: One per tree that could be compiled, the gold query first.
        literals: Every literal of the trees.
        count_thresholds: Numbers that rows are counted against, as in LIMIT 3 or HAVING COUNT(*) > 3.
        full_text_phrases: Texts that full-text searches find, or nearly find.
        time_mentions: What the queries say about time; None where they say nothing.
        ask_of_all_rows: Whether a query asks something of all rows of a table (relational division).
        columns: What the queries compute from single columns.
        groups: What they ask of groups.
        windows: What their windows look at.
        recursion: What their recursive parts follow.
    """

    schema: Schema
    tables: list[str] = field(default_factory=list)
    slots: list[tuple[int, str]] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    literals: list[Value] = field(default_factory=list)
    count_thresholds: list[CountThreshold] = field(default_factory=list)
    full_text_phrases: list[Value] = field(default_factory=list)
    time_mentions: TimeMentions | None = None
    ask_of_all_rows: bool = False
    columns: ColumnFacts = field(default_factory=ColumnFacts)
    groups: GroupFacts = field(default_factory=GroupFacts)
    windows: WindowFacts = field(default_factory=WindowFacts)
    recursion: RecursionFacts = field(default_factory=RecursionFacts)
    _slot_numbers: dict[tuple[int, str], int] = field(default_factory=dict)

    @property
    def has_subqueries(self) -> bool:
        """Whether a query reads tables in more than one SELECT."""
        return any(sum(bool(part.instances) for part in query_tree(query)) > 1 for query in self.queries)

    def slot(self, instance: int, column: str) -> int:
        """The number of a slot, assigned on first use."""
        key = (instance, column)
        if key not in self._slot_numbers:
            self._slot_numbers[key] = len(self.slots)
            self.slots.append(key)
        return self._slot_numbers[key]

    def first_reader(self, table: str) -> int:
        """The number of the first query that reads a table; 0 if none does."""
        for number, query in enumerate(self.queries):
            if any(self.tables[instance] == table for part in query_tree(query) for instance in part.instances):
                return number
        return 0

    def columns_by_instance(self) -> dict[int, list[tuple[str, int]]]:
        """Of every instance, the columns that are slots, with the numbers of the slots."""
        columns: dict[int, list[tuple[str, int]]] = {}
        for slot, (instance, column) in enumerate(self.slots):
            columns.setdefault(instance, []).append((column, slot))
        return columns

    def table_of(self, slot: int) -> TableSchema:
        """The table of a slot."""
        return self.schema.tables[self.tables[self.slots[slot][0]]]

    def kind_of(self, slot: int) -> str:
        """The declared kind of a slot's column, see `text2sql.sql.schema.Column.kind`."""
        return self.table_of(slot).columns[self.slots[slot][1]].kind

    def column_of(self, slot: int) -> ColumnKey:
        """Table and column of a slot, in lower case."""
        instance, column = self.slots[slot]
        return self.tables[instance], column


def query_tree(query: Query) -> Iterator[Query]:
    """A query with the sides of its set operations and the subqueries in its conditions, all the way down."""
    yield query
    for side in (query.left, query.right):
        if side:
            yield from query_tree(side)
    for condition in condition_tree(query.condition):
        if condition.subquery is not None:
            yield from query_tree(condition.subquery)


def condition_tree(condition: Condition) -> Iterator[Condition]:
    """A condition and all of its parts, all the way down."""
    yield condition
    for part in condition.parts:
        yield from condition_tree(part)


def atoms(query: Query) -> Iterator[Condition]:
    """The conditions on columns of a query and of its subqueries, its tables' CHECKs included, each once."""
    seen: set[int] = set()
    for part in query_tree(query):
        checks = (condition for check in part.checks for condition in condition_tree(check))
        for condition in (*condition_tree(part.condition), *checks):
            if condition.slots and id(condition) not in seen:
                seen.add(id(condition))
                yield condition
