"""All samples of a pair: one database each for what the modules of `differences` find."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from text2sql.equivalence.databases.differences.aggregate_comparison_samples import aggregate_comparison_samples
from text2sql.equivalence.databases.differences.competing_aggregates import competing_aggregate_samples
from text2sql.equivalence.databases.differences.concatenations import concatenation_samples
from text2sql.equivalence.databases.differences.expression_pairs import expression_pair_samples
from text2sql.equivalence.databases.differences.gaps_and_islands import island_samples
from text2sql.equivalence.databases.differences.numbers_in_texts import number_in_text_samples
from text2sql.equivalence.databases.differences.row_conditions import row_condition_samples
from text2sql.equivalence.databases.differences.running_sums import running_sum_samples
from text2sql.equivalence.databases.differences.separate_rows import separate_row_samples
from text2sql.equivalence.databases.differences.sweeps import sweep_samples
from text2sql.equivalence.databases.differences.window_filters import window_filter_samples
from text2sql.equivalence.databases.differences.window_reach import window_reach_samples
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.plan import Plan
from text2sql.equivalence.databases.samples import SampleDatabase

# In the order in which their databases are tried.
_SOURCES: tuple[Callable[[Plan, Domains], Iterable[SampleDatabase]], ...] = (
    aggregate_comparison_samples,
    expression_pair_samples,
    number_in_text_samples,
    running_sum_samples,
    row_condition_samples,
    separate_row_samples,
    competing_aggregate_samples,
    window_reach_samples,
    concatenation_samples,
    sweep_samples,
    island_samples,
    window_filter_samples,
)


def difference_samples(plan: Plan, domains: Domains) -> list[SampleDatabase]:
    """The samples of a pair, those of one database together."""
    return [samples for source in _SOURCES for samples in source(plan, domains)]
