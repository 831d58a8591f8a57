"""Concatenated texts: rows whose parts differ while the concatenation is the same, as ``x|y`` of ``x`` and ``|y``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp

from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.plan import ColumnKey, Plan
from text2sql.equivalence.databases.samples import Group, Sample, SampleDatabase
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value
from text2sql.sql.values import Row

# Pairs of neighbouring columns of one query.
_MAX_CONCATENATIONS = 3
# Ways to split one text, each of which is a row.
_MAX_SPLITS = 6


@dataclass(frozen=True)
class Concatenation:
    """Two columns that follow each other in a concatenation, by lower-case name.

    Attributes:
        left: The first column.
        separator: The text between them.
        right: The second column.
        results: The texts that the concatenation is compared with, if it has these two columns and nothing else.
    """

    left: str
    separator: str
    right: str
    results: tuple[str, ...] = ()


def read_concatenations(tree: exp.Expr) -> list[Concatenation]:
    """The neighbouring columns in the concatenations of a query."""
    pairs = dict.fromkeys(pair for node in tree.find_all(exp.DPipe, exp.Concat) for pair in _neighbours(node))
    return list(pairs)[:_MAX_CONCATENATIONS]


def _neighbours(node: exp.Expr) -> Iterator[Concatenation]:
    if isinstance(node.parent, exp.DPipe):
        return
    parts = list(node.flatten() if isinstance(node, exp.DPipe) else node.expressions)
    results = _compared_texts(node) if len(parts) <= 3 and not isinstance(parts[-1], exp.Literal) else ()
    left, separator = "", ""
    for part in parts:
        literal = literal_value(part.unnest())
        if literal is not None:
            separator += str(literal)
            continue
        columns = list(part.find_all(exp.Column))
        name = fold(columns[0].name) if len(columns) == 1 else ""
        if left and name and left != name:
            yield Concatenation(left, separator, name, results)
        left, separator = name, ""


def _compared_texts(node: exp.Expr) -> tuple[str, ...]:
    """The literals that a concatenation is compared with."""
    while isinstance(node.parent, exp.Paren):
        node = node.parent
    if not isinstance(node.parent, (exp.Predicate, exp.In)):
        return ()
    inside = {id(literal) for literal in node.find_all(exp.Literal)}
    outside = (literal for literal in node.parent.find_all(exp.Literal) if id(literal) not in inside)
    return tuple(value for value in map(literal_value, outside) if isinstance(value, str))


def concatenation_samples(plan: Plan, domains: Domains) -> list[SampleDatabase]:
    """Rows of different parts and one concatenation, and rows whose concatenation is what the queries look for."""
    databases: list[SampleDatabase] = []
    for pair in plan.columns.concatenations:
        tables = [
            table for table, name in domains.columns if name == pair.left and (table, pair.right) in domains.columns
        ]
        for table in tables:
            keys = (table, pair.left), (table, pair.right)
            groups = [group for group in _equal_rows(pair.separator) if _all_allowed(keys, group, domains)][:1]
            for result in pair.results:
                splits = [row for row in _splits(result, pair.separator) if _all_allowed(keys, (row,), domains)]
                groups.append(tuple(splits[:_MAX_SPLITS]))
            query = plan.first_reader(table)
            databases += [(Sample(query, keys, group, copies_agree=True),) for group in groups if group]
    return list(dict.fromkeys(databases))


def _all_allowed(keys: Sequence[ColumnKey], rows: Sequence[Row], domains: Domains) -> bool:
    """Whether the columns may hold all values of some rows."""
    return all(domains.constraints.allows(key, value) for row in rows for key, value in zip(keys, row, strict=True))


def _equal_rows(separator: str) -> Iterator[Group]:
    """Two rows with the same concatenation: of texts, and of numbers for columns that hold no texts."""
    yield (f"x{separator}y", "z"), ("x", f"y{separator}z")
    if not separator:
        yield (11, 1), (1, 11)
        yield ("x1", 1), ("x", 11)
        yield (11, "z"), (1, "1z")


def _splits(text: str, separator: str) -> Iterator[Row]:
    """The pairs of parts of which a text can be the concatenation."""
    for index in range(len(text) + 1):
        if text.startswith(separator, index):
            yield text[:index], text[index + len(separator) :]
