"""Texts put together: rows of which the parts differ and the whole is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sqlglot import exp

from text2sql.equivalence.databases.boundaries import ColumnKey
from text2sql.equivalence.databases.samples import Fitting, Group, Sample
from text2sql.sql.tokens import fold
from text2sql.sql.trees import literal_value
from text2sql.sql.values import Row

# Of one query, and rows of one text.
_MOST, _MOST_SPLITS = 3, 6


@dataclass(frozen=True)
class Concatenation:
    """Two columns that follow each other in a concatenation, by lower-case name.

    Attributes:
        between: The text between them.
        wholes: The texts that the whole is compared with, if it is these two and nothing else.
    """

    left: str
    between: str
    right: str
    wholes: tuple[str, ...] = ()


def concatenations(tree: exp.Expr) -> list[Concatenation]:
    """The neighbours in the concatenations of a query."""
    found = dict.fromkeys(pair for node in tree.find_all(exp.DPipe, exp.Concat) for pair in _neighbours(node))
    return list(found)[:_MOST]


def _neighbours(node: exp.Expr) -> Iterator[Concatenation]:
    if isinstance(node.parent, exp.DPipe):
        return
    parts = list(node.flatten() if isinstance(node, exp.DPipe) else node.expressions)
    wholes = _wholes(node) if len(parts) <= 3 and not isinstance(parts[-1], exp.Literal) else ()
    left, between = "", ""
    for part in parts:
        literal = literal_value(part.unnest())
        if literal is not None:
            between += str(literal)
            continue
        columns = list(part.find_all(exp.Column))
        name = fold(columns[0].name) if len(columns) == 1 else ""
        if left and name and left != name:
            yield Concatenation(left, between, name, wholes)
        left, between = name, ""


def _wholes(node: exp.Expr) -> tuple[str, ...]:
    """The literals that a text is compared with."""
    while isinstance(node.parent, exp.Paren):
        node = node.parent
    if not isinstance(node.parent, (exp.Predicate, exp.In)):
        return ()
    own = {id(literal) for literal in node.find_all(exp.Literal)}
    values = [literal_value(literal) for literal in node.parent.find_all(exp.Literal) if id(literal) not in own]
    return tuple(value for value in values if isinstance(value, str))


def concatenated_samples(
    found: Iterable[Concatenation],
    columns: Iterable[ColumnKey],
    fitting: Fitting,
    reader: Callable[[str], int],
) -> list[tuple[Sample, ...]]:
    """Databases in which rows have the same text put together of other parts.

    Args:
        found: What the queries put together.
        columns: The columns that rows are made for.
        fitting: Says which values a column may hold.
        reader: The number of the query that reads a table.
    """
    known = list(columns)
    samples: list[tuple[Sample, ...]] = []
    for pair in found:
        for table in [table for table, name in known if name == pair.left and (table, pair.right) in known]:
            keys = (table, pair.left), (table, pair.right)

            def fits(row: Row, keys: Iterable[ColumnKey] = keys) -> bool:
                return all(fitting(key, [value]) for key, value in zip(keys, row, strict=True))

            met = [rows for rows in _rows(pair.between) if all(map(fits, rows))][:1]
            met += [tuple(filter(fits, _splits(whole, pair.between)))[:_MOST_SPLITS] for whole in pair.wholes]
            samples += [(Sample(reader(table), keys, rows, alike=True),) for rows in met if rows]
    return list(dict.fromkeys(samples))


def _rows(between: str) -> Iterator[Group]:
    """Two rows that come out the same: of texts, and of numbers where a column holds no others."""
    yield (f"x{between}y", "z"), ("x", f"y{between}z")
    if not between:
        yield (11, 1), (1, 11)
        yield ("x1", 1), ("x", 11)
        yield (11, "z"), (1, "1z")


def _splits(whole: str, between: str) -> Iterator[Row]:
    """The two parts that a text can have been put together of."""
    for at in range(len(whole) + 1):
        if whole.startswith(between, at):
            yield whole[:at], whole[at + len(between) :]
