"""Concatenated texts: rows whose parts differ while the concatenation is the same, as ``x|y`` of ``x`` and ``|y``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.plan import Plan
from text2sql.equivalence.databases.samples import Group, Sample, SampleDatabase
from text2sql.sql.values import Row

# Ways to split one text, each of which is a row.
_MAX_SPLITS = 6


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
