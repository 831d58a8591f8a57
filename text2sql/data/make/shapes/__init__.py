"""The query shapes: each draws one question with its query from a domain, or returns None.

- `single`: one table; `grouped`: groups, orders, several conditions; `joined`: joins; `nested`: subqueries and sets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from text2sql.data.make.query import Draft, View
from text2sql.data.make.shapes import grouped, joined, nested, single

Tier = Literal["easy", "medium", "hard"]


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape.

    Attributes:
        tier: Its difficulty.
        weight: Its share within the tier.
        make: Draws a question with its query; None if the domain has nothing for it.
    """

    tier: Tier
    weight: int
    make: Callable[[Random, View], Draft | None]

    @property
    def name(self) -> str:
        """The name of the function that makes it."""
        return self.make.__name__


SHAPES: tuple[Shape, ...] = (
    Shape("easy", 9, single.list_where),
    Shape("easy", 3, single.list_all),
    Shape("easy", 7, single.lookup),
    Shape("easy", 5, single.count_where),
    Shape("easy", 1, single.count_all),
    Shape("easy", 4, single.distinct),
    Shape("easy", 4, single.total_aggregate),
    Shape("easy", 3, single.matching_text),
    Shape("easy", 4, single.within_range),
    Shape("easy", 3, single.in_list),
    Shape("easy", 2, single.not_equal),
    Shape("easy", 5, single.null_test),
    Shape("easy", 6, single.dated),
    Shape("medium", 7, grouped.both),
    Shape("medium", 2, grouped.one_or_other),
    Shape("medium", 5, grouped.aggregate_where),
    Shape("medium", 2, grouped.two_aggregates),
    Shape("medium", 5, grouped.group_count),
    Shape("medium", 4, grouped.group_by_year),
    Shape("medium", 5, grouped.group_aggregate),
    Shape("medium", 3, grouped.having_count),
    Shape("medium", 2, grouped.having_average),
    Shape("medium", 4, grouped.most_common),
    Shape("medium", 8, grouped.superlative),
    Shape("medium", 4, grouped.ordered),
    Shape("hard", 6, joined.children_of),
    Shape("hard", 5, joined.count_children),
    Shape("hard", 4, joined.with_parent),
    Shape("hard", 3, joined.parent_of_row),
    Shape("hard", 2, joined.parent_of_top),
    Shape("hard", 3, joined.per_parent),
    Shape("hard", 2, joined.per_parent_category),
    Shape("hard", 3, joined.parent_with_most),
    Shape("hard", 2, joined.parents_having),
    Shape("hard", 6, joined.bridged),
    Shape("hard", 5, nested.versus_average),
    Shape("hard", 2, nested.versus_row),
    Shape("hard", 1, nested.same_as),
    Shape("hard", 3, nested.never),
    Shape("hard", 3, nested.some),
    Shape("hard", 2, nested.in_both),
    Shape("hard", 2, nested.in_one_only),
    Shape("hard", 4, nested.shared_values),
    Shape("hard", 2, nested.one_list_of_names),
)
