"""The type of a smell, the words by which questions ask for comparisons and aggregates, and helpers of the smells."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sqlglot import exp

from text2sql.data.audit.reading import Reading

UP = re.compile(
    r"\b(?:highest|most|maximum|max|largest|greatest|biggest|longest|tallest|heaviest|best|top|latest|newest|"
    r"most recent|last(?! names?\b)|richest|strongest|fastest|higher)\b"
)


DOWN = re.compile(
    r"\b(?:lowest|least|minimum|min|smallest|fewest|shortest|lightest|worst|bottom|earliest|cheapest|"
    r"weakest|slowest|poorest|lower)\b"
)


MORE = re.compile(
    r"\b(?:more than|greater than|(?<!-)over|above|exceed\w*|after|later than|higher than|larger than|older than|"
    r"at least|since|or more|no less)\b"
)


LESS = re.compile(
    r"\b(?:less than|fewer than|under|below|before|earlier than|lower than|smaller than|younger than|at most|up to|"
    r"or less|no more|within)\b"
)


STRICT = re.compile(
    r"\b(?:more than|greater than|over|above|exceed\w*|less than|fewer than|under|below|after|before)\b"
)


LOOSE = re.compile(
    r"\b(?:at least|at most|or more|or less|no less|no more|since|up to|minimum of|maximum of|>=|<=|from)\b"
)


AVERAGE = re.compile(r"\b(?:average|avg|mean)\b")


TOTAL = re.compile(r"\b(?:total|sum|altogether|in all|combined|overall)\b")


COUNTED = re.compile(r"\b(?:how many|number of|count|amount of|how often|how much)\b")


PERCENT = re.compile(r"\b(?:percent\w*|ratio|proportion|rate|%|times|divide\w*|share)\b|%")


NEGATED = re.compile(r"\b(?:not|never|no|without|except|excluding|apart from|besides|neither|non|others?|else)\b|n't")


DISTINCT = re.compile(r"\b(?:distinct|different|unique|kinds?|types?|various|without repe\w*|duplicat\w*)\b")


class Smell(NamedTuple):
    """Something about a gold query that may be wrong.

    Attributes:
        kind: A key of `weights.WEIGHTS`.
        detail: What it is about.
    """

    kind: str
    detail: str


Finder = Callable[[Reading], Iterator[Smell]]


def same_number(value: str, text: str) -> bool:
    """Whether a number is in a text, possibly as a percentage or in thousands."""
    if not re.fullmatch(r"\d+(?:\.\d+)?", value):
        return False
    number = float(value)
    numbers = {float(match.replace(",", "")) for match in re.findall(r"\d[\d,]*(?:\.\d+)?", text) if match.strip(",")}
    return number in numbers or number / 100 in numbers or number * 100 in numbers or number / 1000 in numbers


def reads_column(node: exp.Expr, column: str) -> bool:
    """Whether a part of a query contains a column of this lower-case name."""
    return any(c.name.lower() == column for c in node.find_all(exp.Column))


def is_key(r: Reading, column: exp.Column) -> bool:
    """Whether a column identifies a row, by its declaration or its name."""
    name = column.name.lower()
    if re.search(r"(?:^|_)id$|id$|(?:^|_)(?:code|key|no)$", name) and name not in ("paid", "bid"):
        return True
    table = r.schema.tables.get(r.tables.get(column.table.lower(), "") or next(iter(r.tables.values()), ""))
    return table is not None and (name in table.primary_key or any(name in key.columns for key in table.foreign_keys))


def names_contain(r: Reading, *words: str) -> bool:
    """Whether the name of a column of the query contains one of the words."""
    return any(word in name for name in r.column_names for word in words)


def inside_join(column: exp.Column) -> bool:
    """Whether a column is in the condition of a join."""
    join = column.find_ancestor(exp.Join, exp.Select)
    return isinstance(join, exp.Join)
