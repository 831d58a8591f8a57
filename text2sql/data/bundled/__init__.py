"""The bundled teaching data set: made-up domains, generated questions, real SQL.

A deterministic generator over hand-written domains. It exists to teach, to smoke-test and to run the quickstart
without a network; results on it say nothing about sql-create-context or any other benchmark. Each domain belongs to
one split for good, so the schemas of the test split are never seen in training.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import lru_cache
from pathlib import Path

from text2sql.data.bundled.catalog import DOMAINS
from text2sql.data.bundled.generate import draw_items, interleave
from text2sql.data.bundled.rows import fill, make_rows
from text2sql.data.bundled.schema import Domain
from text2sql.data.example import Example
from text2sql.errors import UserError

#: Changes whenever the same seed gives other examples; results are comparable within one version only.
VERSION = "1"

_SPLITS = ("train", "test")


def domains(split: str | None = None) -> list[str]:
    """Return the names of the domains, of one split or of all."""
    _check_split(split)
    return [domain.name for domain in DOMAINS.values() if split in (None, domain.split)]


def load_bundled(split: str = "train", seed: int = 0) -> list[Example]:
    """Return the examples of one split.

    Args:
        split: ``"train"`` or ``"test"``; they share no domain, hence no schema.
        seed: Another seed gives other rows, questions and order over the same domains.

    Returns:
        The examples, with shapes and domains interleaved: any prefix is a fair sample.
    """
    _check_split(split)
    return list(_load(split, seed))


def build_database(domain: str, path: str, seed: int = 0) -> None:
    """Write the SQLite database of a domain, the one on which its gold queries were checked.

    Args:
        domain: Name of the domain.
        path: Where to write; an existing file is never overwritten.
        seed: The seed given to ``load_bundled``.
    """
    found = _domain(domain)
    if Path(path).exists():
        raise UserError(f"{path}: the file exists already; choose another path or delete it first")
    with closing(sqlite3.connect(path)) as connection:
        fill(connection, found, make_rows(found, seed))


@lru_cache(maxsize=4)
def _load(split: str, seed: int) -> tuple[Example, ...]:
    items = [item for name in domains(split) for item in draw_items(DOMAINS[name], seed)]
    numbers: dict[str, int] = {}
    examples = []
    for index in interleave(items, seed):
        item = items[index]
        number = numbers[item.domain] = numbers.get(item.domain, 0) + 1
        examples.append(
            Example(
                id=f"bundled-v{VERSION}/{item.domain}/{number:04d}",
                question=item.question,
                context=item.context,
                answer=item.sql,
                db_id=item.domain,
            )
        )
    return tuple(examples)


def _domain(name: str) -> Domain:
    if name not in DOMAINS:
        raise UserError(f"no bundled domain {name!r}; there are: {', '.join(DOMAINS)}")
    return DOMAINS[name]


def _check_split(split: str | None) -> None:
    if split is not None and split not in _SPLITS:
        raise UserError(f"no split {split!r} in the bundled data set; choose one of: {', '.join(_SPLITS)}")
