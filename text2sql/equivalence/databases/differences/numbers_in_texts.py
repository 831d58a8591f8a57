"""Texts that hold numbers where a query reads some: A-2 and A-10 for ``CAST(SUBSTR(code, 3) AS INTEGER)``.

In ordinary texts no number stands there, so that such a query would see zeros or errors alone. As a number 10 is more
than 9, as a text it is less. Texts are composed of numbers of different lengths and the fixed texts that the queries
name; SQLite says in which of them the very expression reads one of the numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from sqlglot import exp

from text2sql.equivalence.databases.column_key import ColumnKey
from text2sql.equivalence.databases.domains import Domains
from text2sql.equivalence.databases.phenomena.numbers_in_texts import NumberReading
from text2sql.equivalence.databases.plan import Plan
from text2sql.equivalence.databases.samples import Sample, SampleDatabase
from text2sql.sql.trees import to_sqlite
from text2sql.sql.values import Value, as_number

# Of these, functions that SQLite does not have: `text2sql.engines.values.split_texts` makes texts for them.
_SPLITS = (exp.SplitPart, exp.SubstringIndex, exp.Split, exp.StringToArray)
# Numbers of one, two and three digits, and the same with zeros in front.
_NUMERALS = ("2", "10", "9", "100", "09", "010")
# Numbers that are not whole; an engine that takes none in its place refuses to read these.
_FRACTIONS = ("2.5", "02.75", "3")
# Fixed texts of a query.
_MAX_FIXED = 6
# Expressions over a column that are tried.
_MAX_READINGS = 3
# Texts of a column that are tried.
_MAX_TEXTS = 260
# Columns that have databases.
_MAX_COLUMNS = 2


def number_in_text_samples(plan: Plan, domains: Domains) -> Iterator[SampleDatabase]:
    """Texts that hold such numbers: all in one group, and each in a group of its own."""
    readings, kinds = plan.columns.number_readings, domains.constraints.kinds
    keys = [key for key in domains.columns if key[1] in readings and kinds[key] in ("text", "any")]
    for key in [key for key in keys if not domains.columns[key].generated][:_MAX_COLUMNS]:
        yield from _samples_of(key, readings[key[1]], plan.first_reader(key[0]), domains)


def _samples_of(key: ColumnKey, reading: NumberReading, query: int, domains: Domains) -> Iterator[SampleDatabase]:
    """The samples for the first expression over a column that reads different numbers."""
    texts = domains.visible_values(query, key, list(_texts_around(reading.fixed, _NUMERALS)))
    fractions = domains.visible_values(query, key, list(_texts_around(reading.fixed, _FRACTIONS)))
    for part in reading.parts[:_MAX_READINGS]:
        results = domains.evaluate([to_sqlite(part)], key, texts)
        if results is None and part.find(*_SPLITS) is not None:
            continue
        # Where SQLite does not have the function, the fixed texts in front of a number are taken to be skipped.
        chosen = texts if results is None else _read_texts(texts, [row[0] for row in results])
        rows = tuple((text,) for text in chosen[: 2 * len(_NUMERALS)])
        if len(rows) > 1:
            yield (Sample(query, (key,), rows),)
            yield (Sample(query, (key,), rows, separate_groups=True),)
            results = domains.evaluate([to_sqlite(part)], key, fractions) or []
            read = _read_texts(fractions, [row[0] for row in results])[: 2 * len(_FRACTIONS)] if results else []
            if read:
                yield (Sample(query, (key,), tuple((text,) for text in read), separate_groups=True),)
            break


def _read_texts(texts: Sequence[Value], results: Sequence[Value]) -> list[Value]:
    """The texts in which a number is read: one for each number, then a second for each, and so on."""
    by_number: dict[str, list[Value]] = {}
    for text, result in zip(texts, results, strict=True):
        if as_number(result) is not None:
            by_number.setdefault(str(result), []).append(text)
    return [text for own in itertools.zip_longest(*by_number.values()) for text in own if text is not None]


def _texts_around(fixed: Sequence[str], numerals: Sequence[str]) -> Iterator[str]:
    """Texts that are a number between two of the fixed texts, or nothing."""
    ends = ["", *fixed[:_MAX_FIXED]]
    pairs = sorted(itertools.product(ends, ends), key=lambda pair: bool(pair[0]) + bool(pair[1]) * 1.5)
    texts = (f"{before}{number}{behind}" for before, behind in pairs for number in numerals)
    yield from itertools.islice(dict.fromkeys(texts), _MAX_TEXTS)
