"""Facts about examples that no configuration changes: computed once, in several processes, and cached on disk."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import lru_cache
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

from sqlglot import exp
from sqlglot.errors import SqlglotError

from backends.paths import cache_directory, written_aside
from text2sql.console import progress_bar
from text2sql.data.example import Example
from text2sql.data.schema_text import read_tables
from text2sql.engines.dialect import Dialect
from text2sql.equivalence.verdict_cache import evaluator_version
from text2sql.sql.features import features_of
from text2sql.sql.hardness import Hardness, hardness_of
from text2sql.sql.shape import shape_of
from text2sql.sql.trees import parse_in, parse_sqlite

# Increase it when the same texts give other facts.
FORMAT = 2
# Examples from which worker processes pay off.
PARALLEL_FROM = 4_000
# Examples from which a cache file pays off.
CACHE_FROM = 5_000
CHUNK = 500
PLACEHOLDER = re.compile(r"table_name_\d+")
# (schema, gold query, dialect)
Texts = tuple[str, str, Dialect]


class Facts(NamedTuple):
    """The facts of an example's schema and gold query.

    Attributes:
        is_query: Whether the gold answer parses as one query.
        tables: The schema's tables, see `tables_of`; empty if it has no CREATE TABLE.
        features: The clauses of the gold query (`text2sql.sql.features`).
        level: The hardness of the gold query.
    """

    is_query: bool
    tables: tuple[str, ...]
    features: tuple[str, ...]
    level: Hardness


class ExampleFacts:
    """The facts of examples; those that `learn` has not computed in bulk are computed on demand."""

    def __init__(self) -> None:
        self._facts: dict[Texts, Facts] = {}

    def of(self, example: Example) -> Facts:
        """The facts of one example."""
        texts = (example.context, example.answer, example.dialect)
        if texts not in self._facts:
            self._facts[texts] = read_facts(*texts)
        return self._facts[texts]

    def learn(self, examples: Iterable[Example]) -> None:
        """Compute the facts of many examples, in several processes and with a progress bar if they are many.

        For large sets they are cached in ``$TEXT2SQL_CACHE`` (else ``~/.cache/text2sql``); a cache file that cannot be
        read or written is ignored.
        """
        new = [
            *dict.fromkeys(texts for e in examples if (texts := (e.context, e.answer, e.dialect)) not in self._facts)
        ]
        if len(new) < CACHE_FROM:
            self._facts |= zip(new, _read_all(new), strict=True)
            return
        file = cache_directory("facts") / f"{_key(new)}.json.gz"
        try:
            facts = _load(file)
            self._facts |= zip(new, facts, strict=True)
        except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError):
            facts = _read_all(new)
            self._facts |= zip(new, facts, strict=True)
            with suppress(OSError):
                _save(file, facts)


def read_facts(context: str, answer: str, dialect: Dialect = "sqlite") -> Facts:
    """The facts of one schema and gold query."""
    # Shapes are defined for SQLite's grammar.
    shape = shape_of(answer) if dialect == "sqlite" else None
    is_query, features, level = _read_syntax(shape or answer, dialect)
    return Facts(is_query, tuple(sorted(tables_of(context))), features, level)


# Cached because parsing is most of the work, and queries of one shape have the same syntax.
@lru_cache(maxsize=16_384)
def _read_syntax(query: str, dialect: Dialect) -> tuple[bool, tuple[str, ...], Hardness]:
    tree = _parse(query, dialect)
    features = features_of(tree) if tree is not None else ()
    return tree is not None, tuple(sorted(features)), hardness_of(tree)


def _parse(query: str, dialect: Dialect) -> exp.Query | None:
    try:
        tree = parse_sqlite(query) if dialect == "sqlite" else parse_in(query, dialect)
    # On text that is no SQL the parser may raise any of these.
    except (SqlglotError, RecursionError, ValueError, AttributeError, TypeError, IndexError, KeyError):
        return None
    return tree if isinstance(tree, exp.Query) else None


def tables_of(context: str) -> set[str]:
    """The tables of a schema, by lower-case name.

    Data sets that show only the columns that a question needs have many versions of one table, so its columns do not
    count. They count for names such as sql-create-context's ``table_name_11``, which were drawn anew for each question
    and recur by chance.
    """
    tables = set()
    for name, table in read_tables(context).items():
        text = " ".join(table.text.lower().rstrip("; \n").split())
        tables.add(text if PLACEHOLDER.fullmatch(name) else name)
    return tables


def _read_all(texts: Sequence[Texts]) -> list[Facts]:
    if len(texts) < PARALLEL_FROM:
        return list(starmap(read_facts, texts))
    facts: list[Facts] = []
    chunks = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
    with progress_bar("Reading the rows", len(texts)) as bar, ProcessPoolExecutor() as pool:
        for chunk in pool.map(_read_chunk, chunks):
            facts += chunk
            bar.advance(len(chunk), 0)
    return facts


def _read_chunk(texts: Sequence[Texts]) -> list[Facts]:
    return list(starmap(read_facts, texts))


def _key(texts: Sequence[Texts]) -> str:
    digest = hashlib.sha256(f"{FORMAT} {evaluator_version()}".encode())
    for context, answer, dialect in texts:
        digest.update(f"{len(context)} {len(answer)} {context}{answer}{dialect}".encode())
    return digest.hexdigest()[:32]


def _save(file: Path, facts: Sequence[Facts]) -> None:
    # Many examples share the facts of their syntax, which are written once.
    syntax: dict[tuple[object, ...], int] = {}
    rows = [
        (syntax.setdefault((is_query, features, level), len(syntax)), tables)
        for is_query, tables, features, level in facts
    ]
    # The lowest compression level saves most of the space in a tenth of the time.
    with written_aside(file) as aside, gzip.open(aside, "wt", compresslevel=1, encoding="utf-8") as out:
        json.dump({"syntax": list(syntax), "rows": rows}, out)


def _load(file: Path) -> list[Facts]:
    with gzip.open(file, "rt", encoding="utf-8") as stored:
        content = json.load(stored)
    syntax = [(bool(is_query), tuple(features), level) for is_query, features, level in content["syntax"]]
    facts = []
    for index, tables in content["rows"]:
        is_query, features, level = syntax[index]
        facts.append(Facts(is_query, tuple(tables), features, level))
    return facts
