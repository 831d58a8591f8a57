"""Numbers that a query reads out of a part of a text: ``CAST(SUBSTR(code, 3) AS INTEGER)`` of A-2 and A-10.

What stands in ordinary texts there is no number, so that such a query would see zeros or errors alone. As a number 10
is more than 9, as a text it is less. Texts are put together from numbers of unlike length and the fixed texts that the
queries name; SQLite says in which of them the very expression reads one of the numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from sqlglot import exp

from text2sql.equivalence.databases.boundaries import ColumnKey
from text2sql.equivalence.databases.declared import Declared
from text2sql.equivalence.databases.differences.collisions import Evaluate
from text2sql.equivalence.databases.plan import Plan
from text2sql.equivalence.databases.samples import Sample
from text2sql.sql.schema import Column
from text2sql.sql.trees import to_sqlite
from text2sql.sql.values import Value, as_number

# Of one, two and three digits, and the same with zeros in front.
_NUMERALS = ("2", "10", "9", "100", "09", "010")
# What is no whole number; an engine that takes none in its place refuses to read these.
_FRACTIONS = ("2.5", "02.75", "3")
# Fixed texts of a query, expressions over a column, texts that are put together, and columns that have them.
_MOST_FIXED, _MOST_READINGS, _MOST_TEXTS, _MOST_COLUMNS = 6, 3, 260, 2
# Whose texts `split_texts` makes, because SQLite has no such functions.
_SPLIT = (exp.SplitPart, exp.SubstringIndex, exp.Split, exp.StringToArray)


def number_samples(
    plan: Plan,
    declared: Declared,
    columns: Mapping[ColumnKey, Column],
    seen: Callable[[int, ColumnKey, Sequence[Value]], list[Value]],
    ask: Evaluate,
) -> Iterator[tuple[Sample, ...]]:
    """Databases whose texts hold such numbers: all in one group, and each in a group of its own.

    Args:
        plan: The compiled pair.
        declared: Which values suit the columns.
        columns: The columns of the tables that rows are made for.
        seen: Those of some values of a column that a query does not leave out.
        ask: Puts values of a column through expressions.
    """
    keys = [key for key in columns if key[1] in plan.readings and declared.kinds[key] in ("text", "any")]
    for key in [key for key in keys if not columns[key].generated][:_MOST_COLUMNS]:
        reading, query = plan.readings[key[1]], plan.reader(key[0])
        texts = seen(query, key, list(_around(reading.fixed, _NUMERALS)))
        finer = seen(query, key, list(_around(reading.fixed, _FRACTIONS)))
        for part in reading.parts[:_MOST_READINGS]:
            results = ask([to_sqlite(part)], columns[key], texts)
            if results is None and part.find(*_SPLIT) is not None:
                continue
            # Where SQLite does not have the function, what is asked for in front of a number is what is read past.
            good = texts if results is None else _numbers(texts, [row[0] for row in results])
            rows = tuple((text,) for text in good[: 2 * len(_NUMERALS)])
            if len(rows) > 1:
                yield (Sample(query, (key,), rows),)
                yield (Sample(query, (key,), rows, apart=True),)
                results = ask([to_sqlite(part)], columns[key], finer) or []
                some = _numbers(finer, [row[0] for row in results])[: 2 * len(_FRACTIONS)] if results else []
                if some:
                    yield (Sample(query, (key,), tuple((text,) for text in some), apart=True),)
                break


def _numbers(texts: Sequence[Value], results: Sequence[Value]) -> list[Value]:
    """The texts in which a number is read, those of each numeral first."""
    found: dict[str, list[Value]] = {}
    for text, result in zip(texts, results, strict=True):
        if as_number(result) is not None:
            found.setdefault(str(result), []).append(text)
    return [text for own in itertools.zip_longest(*found.values()) for text in own if text is not None]


def _around(fixed: Sequence[str], numerals: Sequence[str]) -> Iterator[str]:
    """Texts that are a number between two of the fixed texts, or nothing."""
    ends = ["", *fixed[:_MOST_FIXED]]
    mixed = sorted(itertools.product(ends, ends), key=lambda pair: bool(pair[0]) + bool(pair[1]) * 1.5)
    made = (f"{before}{number}{behind}" for before, behind in mixed for number in numerals)
    yield from itertools.islice(dict.fromkeys(made), _MOST_TEXTS)
