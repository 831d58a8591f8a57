"""What the texts of examples say, whatever the configuration: read once, in several processes, and kept on disk."""

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

# Raise it when the same texts give other facts.
FORMAT = 2
# Examples from which worker processes pay, and from which a file does.
PARALLEL_FROM = 4_000
CACHE_FROM = 5_000
CHUNK = 500
PLACEHOLDER = re.compile(r"table_name_\d+")
# The schema, the gold query, and their dialect.
Texts = tuple[str, str, Dialect]


class Facts(NamedTuple):
    """What is known of an example from its schema and its gold query.

    Attributes:
        is_query: Whether the gold query is one query that parses.
        tables: Of the schema, see `tables_of`; none where it has no CREATE TABLE.
        features: The clauses of the gold query (`text2sql.sql.features`).
        level: Its hardness.
    """

    is_query: bool
    tables: tuple[str, ...]
    features: tuple[str, ...]
    level: Hardness


class KnownTexts:
    """The facts of examples; those that were not learnt together are read when they are asked for."""

    def __init__(self) -> None:
        self._facts: dict[Texts, Facts] = {}

    def of(self, example: Example) -> Facts:
        """The facts of one example."""
        texts = (example.context, example.answer, example.dialect)
        if texts not in self._facts:
            self._facts[texts] = read_facts(*texts)
        return self._facts[texts]

    def learn(self, examples: Iterable[Example]) -> None:
        """Read the facts of many examples, in several processes where there are many, with their progress shown.

        They are kept in ``$TEXT2SQL_CACHE`` (else ``~/.cache/text2sql``) for large sets; a file that cannot be read or
        written is done without.
        """
        new = [
            *dict.fromkeys(texts for e in examples if (texts := (e.context, e.answer, e.dialect)) not in self._facts)
        ]
        if len(new) < CACHE_FROM:
            self._facts |= zip(new, _read_all(new), strict=True)
            return
        file = cache_directory("facts") / f"{_key(new)}.json.gz"
        try:
            found = _load(file)
            self._facts |= zip(new, found, strict=True)
        except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError):
            found = _read_all(new)
            self._facts |= zip(new, found, strict=True)
            with suppress(OSError):
                _save(file, found)


def read_facts(context: str, answer: str, dialect: Dialect = "sqlite") -> Facts:
    """The facts of one schema and gold query."""
    # The shape of a query is by SQLite's grammar.
    shape = shape_of(answer) if dialect == "sqlite" else None
    is_query, found, level = _read_syntax(shape or answer, dialect)
    return Facts(is_query, tuple(sorted(tables_of(context))), found, level)


# Parsing is most of the work, and queries of one shape have the same syntax.
@lru_cache(maxsize=16_384)
def _read_syntax(query: str, dialect: Dialect) -> tuple[bool, tuple[str, ...], Hardness]:
    tree = _parse(query, dialect)
    found = features_of(tree) if tree is not None else ()
    return tree is not None, tuple(sorted(found)), hardness_of(tree)


def _parse(query: str, dialect: Dialect) -> exp.Query | None:
    try:
        tree = parse_sqlite(query) if dialect == "sqlite" else parse_in(query, dialect)
    # Of text that is no SQL at all the parser may raise what it likes.
    except (SqlglotError, RecursionError, ValueError, AttributeError, TypeError, IndexError, KeyError):
        return None
    return tree if isinstance(tree, exp.Query) else None


def tables_of(context: str) -> set[str]:
    """The tables of a schema, by name, case aside.

    Data sets that show only the columns that a question needs write one table in many ways, so its columns do not
    count. They do for sql-create-context's ``table_name_11``: those names were drawn anew for each question, and recur
    by chance.
    """
    tables = set()
    for name, table in read_tables(context).items():
        text = " ".join(table.text.lower().rstrip("; \n").split())
        tables.add(text if PLACEHOLDER.fullmatch(name) else name)
    return tables


def _read_all(texts: Sequence[Texts]) -> list[Facts]:
    if len(texts) < PARALLEL_FROM:
        return list(starmap(read_facts, texts))
    found: list[Facts] = []
    chunks = [texts[start : start + CHUNK] for start in range(0, len(texts), CHUNK)]
    with progress_bar("Reading the rows", len(texts)) as bar, ProcessPoolExecutor() as pool:
        for chunk in pool.map(_read_chunk, chunks):
            found += chunk
            bar.advance(len(chunk), 0)
    return found


def _read_chunk(texts: Sequence[Texts]) -> list[Facts]:
    return list(starmap(read_facts, texts))


def _key(texts: Sequence[Texts]) -> str:
    digest = hashlib.sha256(f"{FORMAT} {evaluator_version()}".encode())
    for context, answer, dialect in texts:
        digest.update(f"{len(context)} {len(answer)} {context}{answer}{dialect}".encode())
    return digest.hexdigest()[:32]


def _save(file: Path, facts: Sequence[Facts]) -> None:
    # What follows from the syntax is the same for many: it is written once.
    syntax: dict[tuple[object, ...], int] = {}
    rows = [
        (syntax.setdefault((is_query, found, level), len(syntax)), tables) for is_query, tables, found, level in facts
    ]
    # The lowest level: most of what there is to save, in a tenth of the time.
    with written_aside(file) as aside, gzip.open(aside, "wt", compresslevel=1, encoding="utf-8") as out:
        json.dump({"syntax": list(syntax), "rows": rows}, out)


def _load(file: Path) -> list[Facts]:
    with gzip.open(file, "rt", encoding="utf-8") as stored:
        content = json.load(stored)
    syntax = [(bool(is_query), tuple(found), level) for is_query, found, level in content["syntax"]]
    found = []
    for number, tables in content["rows"]:
        is_query, features, level = syntax[number]
        found.append(Facts(is_query, tuple(tables), features, level))
    return found
