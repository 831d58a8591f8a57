"""Groups at the boundary of a comparison over groups: one that meets it, one that just misses it on either side.

What a group comes out at is found by asking SQLite: many small groups are put through the very comparison, and those
that meet its boundary, and those that miss it by the least, become rows of a database each, whatever the seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.phenomena.aggregate_comparisons import AggregateComparison, disagreement
from text2sql.equivalence.databases.plan import Plan, atoms
from text2sql.equivalence.databases.samples import Group, Sample, SampleDatabase
from text2sql.equivalence.databases.values.column_values import argument_values
from text2sql.equivalence.databases.values.time_spans import dates_at_distance
from text2sql.sql.values import Row, Value

# Comparisons of one query, each with one of the other query.
_MAX_PAIRS = 4
# Values of each column for rows over several columns.
_VALUES_PER_COLUMN = 7
# Different rows of which groups of equal rows are made: of one column, twice as many of several.
_MAX_UNIFORM_ROWS = 64
# Different rows of which groups of two different rows, and larger groups, are made.
_MAX_MIXED_ROWS = 9
# Numbers that arithmetic on the numbers of a comparison leads to.
_MAX_NUMBERS = 48
# Rows of one group, in which values repeat; five times as many where no column matters.
_MAX_GROUP_ROWS = 60
# Rows of all groups that are put through one comparison.
MAX_ROWS_IN_ALL = 4000
# The largest denominator of a share that a comparison asks for: 0.02 is one row of 50.
_MAX_DENOMINATOR = 50
# How often each of two different rows is in a group.
_MIXES = ((1, 1), (1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2), (1, 4), (4, 1))


def aggregate_comparison_samples(plan: Plan, domains: Domains) -> list[SampleDatabase]:
    """Groups for the comparisons that not every query has, and groups on which those of both queries disagree."""
    by_query = plan.groups.differing_comparisons
    if not any(by_query):
        return []
    first, *others = by_query
    pairs = [(a, b) for other in others for a in first for b in other][:_MAX_PAIRS]
    # The comparisons of one condition are parts of the same whole, so that their disagreement is the same.
    disagreements = {both[1]: both for both in filter(None, itertools.starmap(disagreement, pairs))}
    databases: list[SampleDatabase] = []
    for comparison, disagree in disagreements.values():
        databases += _GroupSearch(plan, domains, 0, comparison).disagreeing(disagree)
    known: dict[tuple[object, ...], list[SampleDatabase]] = {}
    for query, own in enumerate(by_query):
        for comparison in own:
            if comparison.is_row_count:
                continue
            # Comparisons that differ in their operator alone have one boundary.
            sides = comparison.equality, comparison.columns, comparison.numbers
            if sides not in known:
                known[sides] = _GroupSearch(plan, domains, query, comparison).around_boundary()
            databases += [tuple(replace(sample, query=query) for sample in samples) for samples in known[sides]]
    return list(dict.fromkeys(databases))


def gold_comparison_samples(plan: Plan, domains: Domains) -> list[SampleDatabase]:
    """Groups on which the gold query's comparisons hold: without them it may find nothing."""
    databases = [
        samples
        for comparison in plan.groups.gold_comparisons
        for samples in _GroupSearch(plan, domains, 0, comparison).around_boundary()
    ]
    return [samples for samples in databases if any(sample.holds for sample in samples)]


class _GroupSearch:
    """Searches for groups of one comparison.

    Args:
        plan: The compiled pair.
        domains: The values of the columns.
        query: The number of the query that sees the groups.
        comparison: What it asks of a group.
    """

    def __init__(self, plan: Plan, domains: Domains, query: int, comparison: AggregateComparison) -> None:
        self._plan, self._domains, self._query, self._comparison = plan, domains, query, comparison
        self._known = all(key in domains.columns for key in comparison.columns)

    def around_boundary(self) -> list[SampleDatabase]:
        """Databases of a group at the boundary, of one on each side, and of all of them together, if there are any."""
        comparison = self._comparison
        if not self._known:
            return []
        # The groups on either side of the boundary, each with how far it is from being the best one.
        ranked: dict[str, list[tuple[tuple[float, ...], Group]]] = {"equal": [], "above": [], "below": []}
        met: set[Group] = set()
        for signed in (False, True):
            if signed and (all(ranked.values()) or not comparison.signed):
                break
            texts = [comparison.equality, comparison.condition, comparison.difference, comparison.decides or "1"]
            for group, (equal, holds, distance, decides) in self._evaluate(texts, signed=signed):
                far = abs(distance) if isinstance(distance, (int, float)) else 0.0
                visible = self._is_visible(group)
                rank = (float(not decides), float(not visible), 0.0 if equal else far, float(len(group)))
                met.update([group] if holds and decides else [])
                ranked["equal" if equal else "above" if holds else "below"].append((rank, group))
        chosen = [min(side, key=lambda pair: pair[0])[1] for side in ranked.values() if side]
        samples = [self._sample(group, group in met) for group in chosen]
        if comparison.per_row:
            return [(sample,) for sample in samples[:1]]
        # A second group at the boundary, of another size: where a key is counted the first may be too small or large.
        others = [pair for pair in ranked["equal"] if len(pair[1]) != len(chosen[0])] if ranked["equal"] else []
        further = [self._sample(min(others, key=lambda pair: pair[0])[1], False)] if others else []
        return [*((sample,) for sample in samples), tuple(samples), *((sample,) for sample in further)]

    def disagreeing(self, disagree: str) -> list[SampleDatabase]:
        """Databases of the smallest groups on which two comparisons do not agree, one for each way round.

        Args:
            disagree: That the comparisons do not agree, as SQL text over the columns of both.
        """
        if not self._known:
            return []
        best: dict[object, tuple[tuple[bool, int], Group]] = {}
        texts = [disagree, self._comparison.whole]
        for group, (differs, holds) in self._evaluate(texts, signed=self._comparison.signed):
            if differs:
                rank = (not self._is_visible(group), len(group))
                if holds not in best or rank < best[holds][0]:
                    best[holds] = rank, group
        return [(self._sample(group, bool(holds)),) for holds, (_, group) in best.items()]

    def _sample(self, group: Group, holds: bool) -> Sample:
        comparison = self._comparison
        return Sample(
            self._query,
            comparison.columns,
            group,
            comparison.constant_columns,
            no_other_rows=comparison.per_row,
            holds=holds,
        )

    def _evaluate(self, texts: Sequence[str], *, signed: bool) -> Iterator[tuple[Group, Row]]:
        """Candidate groups with what SQL texts come to on each of them."""
        comparison = self._comparison
        numbers = _reachable_numbers(comparison.numbers)
        values = {key: self._values(key, numbers) for key in comparison.columns}
        if signed:
            values = {key: self._allowed(key, [*_signed_values(numbers), *own]) for key, own in values.items()}
        groups = list(_until_rows(_groups(comparison, values, numbers), MAX_ROWS_IN_ALL))
        results = self._domains.evaluate_groups(texts, comparison.columns, groups, per_row=comparison.per_row)
        yield from zip(groups, results or [], strict=False)

    def _is_visible(self, group: Group) -> bool:
        """Whether the query's comparisons of columns with literals leave every row of a group in."""
        conditions = [node for node in atoms(self._plan.queries[self._query]) if node.kind == "compare"]
        return all(
            self._domains.satisfies(node, True, value)
            for row in group
            for key, value in zip(self._comparison.columns, row, strict=True)
            for node in conditions
            if self._plan.column_of(node.slots[0]) == key
        )

    def _allowed(self, key: ColumnKey, values: Iterable[Value]) -> list[Value]:
        """Those of some values that a column may hold, NULL included, each once."""
        allowed = self._domains.constraints.allowed(key, dict.fromkeys(values))
        return [value for value in allowed if value is not None or key in self._domains.nullable]

    def _values(self, key: ColumnKey, numbers: Sequence[int | float]) -> list[Value]:
        """Values for one column, those near the comparison's numbers first.

        Args:
            key: The column.
            numbers: What arithmetic on the comparison's numbers leads to.
        """
        comparison = self._comparison
        near: list[Value] = []
        for number in numbers[:_MAX_MIXED_ROWS]:
            whole = int(number // 1)
            near += [number, whole, whole + 1, whole - 1]
        near += numbers[_MAX_MIXED_ROWS:]
        parts = [number / size for size in _group_sizes(comparison) for number in comparison.numbers[:2] if size > 1]
        near += [int(value) if value.is_integer() else value for value in parts]
        literals = (literal for literal in comparison.literals if isinstance(literal, str))
        texts = [value for literal in literals for value in argument_values(literal, "text")[:6]]
        # A row that is as far from the average of two as the number says is twice as far from the other one.
        near = [*(2 * number for number in comparison.numbers[:1] if comparison.per_row), *near]
        # NULL is among the first: COUNT(*) counts what other aggregates leave out.
        first = [*texts, *comparison.numbers[:5], *near[:4], 0, 1, None]
        return self._allowed(key, [*first, *near[4:], 2, 3, *self._pool(key)[:10]])

    def _pool(self, key: ColumnKey) -> list[Value]:
        return [*self._near_values(key)[:9], *self._domains.pool(key, 0, 6)]

    def _near_values(self, key: ColumnKey) -> list[Value]:
        """Values of a column near the literals; of dates and moments such as are as far apart as the numbers say."""
        kind, numbers = self._domains.constraints.kinds[key], self._comparison.numbers
        if kind not in ("date", "datetime") or not numbers:
            return self._domains.literals(key)
        base = "2010-03-30"
        dates = dates_at_distance(base, list(numbers), "date")
        half = len(dates) // 2
        # Days and years alternate.
        alternating = itertools.chain.from_iterable(zip(dates[1:half], dates[half + 1 :], strict=False))
        clock = " 00:00:00" if kind == "datetime" else ""
        chosen = [base, *itertools.islice(alternating, 8)]
        return [*(day + clock for day in chosen), *self._domains.literals(key)[:3]]


def _reachable_numbers(numbers: Sequence[int | float]) -> list[int | float]:
    """The numbers of a comparison, and what arithmetic with the others makes of the first in two steps."""
    if not numbers:
        return []
    first, *others = numbers[:4]
    reachable: list[int | float] = list(numbers)
    for other in others:
        for once in _combinations(first, other):
            reachable.append(once)
            reachable += [twice for third in others if third is not other for twice in _combinations(once, third)]
    whole = [int(value) if float(value).is_integer() else value for value in reachable if abs(value) < 2**53]
    return list(dict.fromkeys(whole))[:_MAX_NUMBERS]


def _combinations(one: int | float, other: int | float) -> list[int | float]:
    return [one + other, one - other, one * other, *([one / other] if other else [])]


def _signed_values(numbers: Sequence[int | float]) -> list[Value]:
    """Values on either side of zero, those near the numbers first."""
    near = [sign * (number + step) for number in numbers[:1] for step in (0, 1) for sign in (-1, 1)]
    return [*near, 0, -1, 1, -2, 2, None, -5, 5]


def _group_sizes(comparison: AggregateComparison) -> list[int]:
    """How many rows groups have: a few, or as many as the comparison's numbers say."""
    numbered = (int(number) + step for number in comparison.numbers for step in (0, 1, -1, 2))
    sizes = [*range(1, 4), *numbered, *range(4, 9)]
    return [size for size in dict.fromkeys(sizes) if 1 <= size <= _MAX_GROUP_ROWS]


def _groups(
    comparison: AggregateComparison, values: dict[ColumnKey, list[Value]], numbers: Sequence[int | float]
) -> Iterator[Group]:
    """Small groups, the simplest first.

    Args:
        comparison: What the groups are for.
        values: Of each column the values to try.
        numbers: What arithmetic on the comparison's numbers leads to.
    """
    columns = comparison.columns
    if not columns:
        yield from _groups_without_columns(comparison, numbers)
        return
    if len(columns) == 1:
        rows: list[Row] = [(value,) for value in values[columns[0]][:_MAX_UNIFORM_ROWS]]
    else:
        rows = list(itertools.product(*(values[key][:_VALUES_PER_COLUMN] for key in columns)))
        rows = rows[: _MAX_UNIFORM_ROWS * 2]
    without_null = [row for row in rows if None not in row]
    constant = [index for index, key in enumerate(columns) if key in comparison.constant_columns]
    for size in _group_sizes(comparison):
        yield from ((row,) * size for row in rows[: _MAX_UNIFORM_ROWS if size <= 3 else _MAX_MIXED_ROWS])
        if size > 3 and len(columns) == 1:
            # Of N rows with this value, the sum is a number of the comparison.
            shares = {number / size for number in comparison.numbers[:2]}
            yield from (((value,),) * size for value in values[columns[0]] if value in shares)
        # Different rows: a comparison may count distinct values.
        first = without_null[:1]
        different = [row for row in without_null if all(row[index] == first[0][index] for index in constant)][:size]
        if len(different) == size > 1:
            yield tuple(different)
    yield from _mixed_groups(rows, without_null, constant, numbers, len(columns))


def _groups_without_columns(comparison: AggregateComparison, numbers: Sequence[int | float]) -> Iterator[Group]:
    """Groups of which only the number of rows matters."""
    counted = [int(number) + step for number in numbers for step in (0, 1, -1)]
    for size in dict.fromkeys([*_group_sizes(comparison), *range(1, 40), *counted]):
        if 1 <= size <= _MAX_GROUP_ROWS * 5:
            yield ((),) * size


def _mixed_groups(
    rows: Sequence[Row],
    without_null: Sequence[Row],
    constant: Sequence[int],
    numbers: Sequence[int | float],
    width: int,
) -> Iterator[Group]:
    """Groups of two different rows, repeated as the shares among the numbers say.

    Args:
        rows: Different rows.
        without_null: Those of them without NULL.
        constant: The columns that have one value for the whole group, by index.
        numbers: What arithmetic on the comparison's numbers leads to.
        width: The number of columns.
    """
    fractions = [
        Fraction(number).limit_denominator(_MAX_DENOMINATOR)
        for number in numbers
        if not float(number).is_integer() and abs(number) < 2**31
    ]
    shares = dict.fromkeys((share.numerator % share.denominator, share.denominator) for share in fractions)
    parts = list(shares)[:4]
    mixes = dict.fromkeys([*(mix for a, b in parts if a for mix in ((a, b - a), (b - a, a))), *_MIXES])
    for distinct, size in parts:
        # A share of different values among all.
        if 1 <= distinct <= min(size, len(without_null)) and not constant:
            yield (*without_null[:distinct], *(without_null[0],) * (size - distinct))
    few = rows[:_MAX_MIXED_ROWS] if width == 1 else rows[: _MAX_MIXED_ROWS + 4]
    for first, second in itertools.permutations(few, 2):
        if all(first[index] == second[index] for index in constant):
            yield from ((first,) * a + (second,) * b for a, b in mixes if a <= b or (a, b) not in _MIXES)


def _until_rows(groups: Iterable[Group], max_rows: int) -> Iterator[Group]:
    """The first groups that have a number of rows in all at most."""
    rows = 0
    for group in groups:
        rows += len(group)
        if rows > max_rows:
            return
        yield group
