"""Verdicts kept across runs: a pair that this very version of the evaluator has decided is not compared again."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import sqlglot

from text2sql.equivalence.verdict import Verdict
from text2sql.sql.files import JOURNALS

# The others depend on the clock or on the machine.
_CACHED_STATUSES = ("equivalent", "different", "error", "refused")


@cache
def evaluator_version() -> str:
    """A digest of all that a verdict depends on but the pair: the source of the evaluator, SQLite and sqlglot."""
    digest = hashlib.sha256(f"{sqlite3.sqlite_version} {sqlglot.__version__}".encode())
    equivalence = Path(__file__).parent
    for package in (equivalence, equivalence.parent / "sql", equivalence.parent / "engines"):
        for path in sorted(package.rglob("*.py")):
            digest.update(path.relative_to(equivalence.parent).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


class VerdictCache:
    """A table of verdicts in one SQLite file per version of the evaluator.

    It only ever saves time: where it cannot be read or written, pairs are compared anew.

    Args:
        directory: Created if it does not exist.
    """

    def __init__(self, directory: Path) -> None:
        self._db: sqlite3.Connection | None = None
        self._file_digests: dict[str, str] = {}
        path = directory / f"{evaluator_version()}.sqlite"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._db = self._open(path)
        # No database, or a broken one.
        except sqlite3.DatabaseError:
            try:
                path.unlink(missing_ok=True)
                self._db = self._open(path)
            except (sqlite3.Error, OSError):
                self._db = None
        except OSError:
            self._db = None

    @staticmethod
    def _open(path: Path) -> sqlite3.Connection:
        db = sqlite3.connect(path, isolation_level=None, timeout=5)
        db.execute("PRAGMA synchronous = OFF")
        db.execute("CREATE TABLE IF NOT EXISTS verdict (key TEXT PRIMARY KEY, value TEXT, digest TEXT) WITHOUT ROWID")
        return db

    def key(self, task: Mapping[str, Any]) -> str:
        """The digest of a pair, its settings and the contents of its real database."""
        database = task.get("database")
        content = {**task, "database": self._digest_file(database) if database else None}
        return _digest(json.dumps(content, sort_keys=True))

    def _digest_file(self, path: str) -> str:
        if path not in self._file_digests:
            # What is in a database is in its journals as well.
            parts = [path, *(path + suffix for suffix in JOURNALS if os.path.exists(path + suffix))]
            try:
                self._file_digests[path] = " ".join(map(_digest_contents, parts))
            except OSError as error:
                self._file_digests[path] = str(error)
        return self._file_digests[path]

    def get(self, key: str) -> Verdict | None:
        """The verdict kept under a key; None if there is none, or if it is damaged."""
        try:
            value = self.get_json(key)
            return None if value is None else Verdict.from_dict(value)
        except (AttributeError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, verdict: Verdict) -> None:
        """Keeps a verdict, unless it depends on more than the pair."""
        if verdict.status in _CACHED_STATUSES:
            self.put_json(key, verdict.to_dict())

    def get_json(self, key: str) -> Any:
        """JSON other than a verdict kept under a key; None if there is none, or if it is damaged."""
        try:
            row = self._db.execute("SELECT value, digest FROM verdict WHERE key = ?", (key,)).fetchone()  # type: ignore[union-attr]
            return None if row is None or _digest(row[0]) != row[1] else json.loads(row[0])
        except (AttributeError, sqlite3.Error, ValueError, TypeError):
            return None

    def put_json(self, key: str, content: Any) -> None:
        """Keeps JSON other than a verdict: what follows from a task alone."""
        if self._db is None:
            return
        value = json.dumps(content)
        try:
            self._db.execute("INSERT OR REPLACE INTO verdict VALUES (?, ?, ?)", (key, value, _digest(value)))
        except sqlite3.Error:
            self._db = None

    def close(self) -> None:
        """Closes the file."""
        if self._db is not None:
            self._db.close()


def _digest_contents(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
