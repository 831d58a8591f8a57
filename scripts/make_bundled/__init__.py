"""The generator of the bundled teaching data set: made-up domains, generated questions, real SQL.

``python -m scripts.make_bundled`` writes ``text2sql/data/sources/bundled.jsonl.gz``, which is what text2sql reads.
The generator is deterministic over hand-written domains. Each domain belongs to one split for good, so the schemas of
the test split are never seen in training. A change that gives other rows needs another `VERSION` in
`text2sql.data.sources.bundled`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from scripts.make_bundled.catalog import DOMAINS
from scripts.make_bundled.generate import draw_items, interleave
from scripts.make_bundled.rows import fill, make_rows
from text2sql.data.sources.bundled import VERSION

SPLITS = ("train", "test")


def make_jsonl(seed: int = 0) -> bytes:
    """The rows of both splits as JSON Lines.

    Args:
        seed: Another seed gives other rows, questions and order over the same domains.
    """
    rows = (row for split in SPLITS for row in _make_split(split, seed))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _make_split(split: str, seed: int) -> Iterator[dict[str, str]]:
    """The rows of a split, with shapes and domains interleaved: any prefix is a fair sample."""
    items = [item for d in DOMAINS.values() if d.split == split for item in draw_items(d, seed)]
    numbers: dict[str, int] = {}
    for index in interleave(items, seed):
        item = items[index]
        number = numbers[item.domain] = numbers.get(item.domain, 0) + 1
        yield {
            "id": f"bundled-v{VERSION}/{item.domain}/{number:04d}",
            "split": split,
            "db_id": item.domain,
            "question": item.question,
            "context": item.context,
            "answer": item.sql,
        }


def build_database(domain: str, path: Path, seed: int = 0) -> None:
    """Write the SQLite database of a domain, the one on which its gold queries were checked.

    Raises:
        FileExistsError: There is a file already; it stays as it is.
    """
    if path.exists():
        raise FileExistsError(path)
    with closing(sqlite3.connect(path)) as connection:
        fill(connection, DOMAINS[domain], make_rows(DOMAINS[domain], seed))


def write(path: Path) -> str:
    """Write the compressed file; returns the SHA-256 of what is in it, for `text2sql.data.sources.bundled`."""
    content = make_jsonl()
    # Without a time stamp, the same rows are the same file.
    path.write_bytes(gzip.compress(content, mtime=0))
    return hashlib.sha256(content).hexdigest()
