"""An independent tester of the evaluator: large random databases in plain sqlite3, and nothing of the evaluator's.

It knows tables from SQLite's own pragmas and values from the texts of the queries. What it parts is different; what it
does not part may be different all the same.
"""

from __future__ import annotations

import random
import re
import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any

Rows = dict[str, list[tuple[Any, ...]]]

_LITERAL = re.compile(r"'((?:[^']|'')*)'|\"([^\"]*)\"|\b(\d+(?:\.\d+)?)\b")
_WORDS = ("ann", "Bob", "bob ", "cat dog", "a cat", "dog", "Eve", "eve", "open", "x")
_STEPS = 4_000_000


def parted(schema: str, gold: str, predicted: str, rng: random.Random, tries: int = 60, most: int = 120) -> Rows | None:
    """A database on which two queries give different results, None if none was found.

    Args:
        schema: Statements that SQLite accepts.
        gold: The gold query; where it sorts, the order counts.
        predicted: Another query that SQLite accepts.
        rng: Makes the databases.
        tries: How many.
        most: Rows of a table.
    """
    literals = _literals(f"{gold} {predicted}")
    is_sorted = re.search(r"\border\s+by\b(?!.*\))", gold, re.IGNORECASE | re.DOTALL) is not None and not _open(gold)
    for number in range(tries):
        size = rng.choice((0, 1, 2, 3, 8, 30, most)) if number else 3
        rows = _rows(schema, literals, size, rng)
        first = _answers(schema, rows, gold, predicted)
        if first is None or not _different(*first, is_sorted):
            continue
        # What hangs on the order in which rows are met is no difference.
        again = [_answers(schema, _shuffled(rows, rng), gold, predicted, reverse=bool(at)) for at in (0, 1, 1)]
        if all(other is not None and _different(*other, is_sorted) for other in again) and all(
            other is not None and Counter(other[0]) == Counter(first[0]) for other in again
        ):
            return rows
    return None


def _open(sql: str) -> bool:
    """Whether a query sorts distinct rows, or groups, by a plain column that these do not show: SQL leaves it open."""
    found = re.fullmatch(
        r"\s*SELECT\s+(DISTINCT\s+)?(.+?)\s+FROM\b(.*?)\bORDER\s+BY\s+([\w.]+)(?:\s+(?:ASC|DESC))?\s*",
        sql,
        re.IGNORECASE | re.DOTALL,
    )
    if found is None:
        return False
    distinct, shown, source, key = found.groups()
    grouped = re.search(r"\bGROUP\s+BY\b(.*)", source, re.IGNORECASE | re.DOTALL)
    # A number is the place of a result column.
    seen = shown + (grouped.group(1) if grouped else "")
    return bool(distinct or grouped) and not key.isdigit() and key.lower() not in re.split(r"[^\w.]+", seen.lower())


def _literals(text: str) -> list[Any]:
    found: list[Any] = []
    for single, double, number in _LITERAL.findall(text):
        word = single or double
        if number:
            value = float(number) if "." in number else int(number)
            found += [value, value + 1, value - 1]
            found += [f"{number}-05-06", f"{number}-12-31 23:59:59"] if len(number) == 4 else []
        elif word:
            core = word.strip("%")
            found += [word, core, core.lower(), core.upper(), core.title(), f"a{core}", f"{core} b", core[:-1]]
            if word.replace(".", "", 1).isdigit():
                found += [str(int(float(word)) + step) for step in (0, 1, -1, 10)]
    return found


def _rows(schema: str, literals: list[Any], size: int, rng: random.Random) -> Rows:
    db = sqlite3.connect(":memory:")
    db.executescript(schema)
    found: Rows = {}
    wide = rng.choice((3, 6, max(6, size)))
    nulls, near = rng.choice((0.0, 0.1, 0.3)), rng.choice((0.1, 0.4, 0.7))
    for table in _parents_first(db):
        columns = [row for row in db.execute(f"PRAGMA table_xinfo(`{table}`)") if row[6] in (0,)]
        references = _references(db, table)
        enums = dict(re.findall(r"(\w+)\s+\w+[^,]*?CHECK\s*\(\w+\s+IN\s*\(([^)]*)\)", schema, re.IGNORECASE))
        for at in range(size):
            row: list[Any] = []
            given = _given(db, references, rng)
            for _, name, kind, required, _, key, _ in columns:
                value = _value(kind.upper(), literals, near, wide, rng)
                if name in enums:
                    value = rng.choice([part.strip().strip("'") for part in enums[name].split(",")])
                if name.lower() in given:
                    value = given[name.lower()]
                elif key and kind.upper().startswith("INT"):
                    value = rng.choice((at + 1, rng.randint(1, 2 * size + 3)))
                row.append(None if rng.random() < nulls and not required and not key else value)
            # A primary key holds no NULL, though SQLite alone would let it in.
            if any(column[5] and value is None for column, value in zip(columns, row, strict=True)):
                continue
            marks = ",".join("?" * len(row))
            names = ",".join(f"`{column[1]}`" for column in columns)
            db.execute(f"INSERT OR IGNORE INTO `{table}` ({names}) VALUES ({marks})", row)
        names = ",".join(f"`{column[1]}`" for column in columns)
        found[table] = db.execute(f"SELECT {names} FROM `{table}`").fetchall()
    db.close()
    return found


def _references(db: sqlite3.Connection, table: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """The declared foreign keys of a table: the parent, and pairs of a column (in lower case) and its target."""
    found: dict[int, tuple[str, list[tuple[str, str]]]] = {}
    for number, _, parent, column, target, *_ in db.execute(f"PRAGMA foreign_key_list(`{table}`)"):
        key = [row[1] for row in db.execute(f"PRAGMA table_info(`{parent}`)") if row[5]]
        pairs = found.setdefault(number, (parent, []))[1]
        pairs.append((column.lower(), target or key[len(pairs)]))
    return list(found.values())


def _given(
    db: sqlite3.Connection, references: list[tuple[str, list[tuple[str, str]]]], rng: random.Random
) -> dict[str, Any]:
    """Values for the columns of foreign keys: those of one parent for each, NULL where there is none."""
    given: dict[str, Any] = {}
    for parent, pairs in references:
        targets = ", ".join(f"`{target}`" for _, target in pairs)
        known = db.execute(f"SELECT {targets} FROM `{parent}`").fetchall()
        row = rng.choice(known) if known else [None] * len(pairs)
        given.update(zip((column for column, _ in pairs), row, strict=True))
    return given


def _parents_first(db: sqlite3.Connection) -> list[str]:
    names = [row[0] for row in db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")]
    virtual = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'create virtual%'")]
    names = [name for name in names if not any(name.startswith(f"{table}_") for table in virtual)]
    ordered: list[str] = []
    while len(ordered) < len(names):
        for name in names:
            parents = {row[2] for row in db.execute(f"PRAGMA foreign_key_list(`{name}`)")} & set(names) - {name}
            if name not in ordered and (parents <= set(ordered) or len(ordered) + 1 >= len(names)):
                ordered.append(name)
                break
        else:
            ordered += [name for name in names if name not in ordered]
    return ordered


def _value(kind: str, literals: list[Any], near: float, wide: int, rng: random.Random) -> Any:
    date = f"{rng.choice((2010, 2011, 2014, 2015, 2020))}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
    suiting: list[Any]
    if "BOOL" in kind:
        return rng.randint(0, 1)
    if "DATETIME" in kind or "TIMESTAMP" in kind:
        days = [v[:10] for v in literals if isinstance(v, str) and re.match(r"\d{4}-\d\d-\d\d", v)]
        day = rng.choice(days) if days and rng.random() < near else date
        return f"{day} {rng.choice((0, 0, 9, 10, 23)):02d}:{rng.choice((0, 0, 30)):02d}:00"
    if "DATE" in kind:
        days = [v for v in literals if isinstance(v, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", v)]
        return rng.choice(days) if days and rng.random() < near else date
    if kind.startswith("TIME"):
        return f"{rng.randint(0, 23):02d}:{rng.choice((0, 30)):02d}:00"
    if "INT" in kind:
        suiting = [v for v in literals if isinstance(v, int)]
        return rng.choice(suiting) if suiting and rng.random() < near else rng.randint(-1, wide)
    if any(word in kind for word in ("REAL", "FLOA", "DOUB", "NUM", "DEC")):
        suiting = [v for v in literals if isinstance(v, (int, float))]
        return rng.choice(suiting) if suiting and rng.random() < near else rng.randint(-8, 4 * wide) / 4
    suiting = [str(v) for v in literals]
    if suiting and rng.random() < near:
        return rng.choice(suiting)
    return rng.choice((rng.choice(_WORDS), str(rng.randint(0, wide)), f"w{rng.randint(0, wide)}"))


def _shuffled(rows: Rows, rng: random.Random) -> Rows:
    return {name: rng.sample(data, len(data)) for name, data in rows.items()}


def _answers(
    schema: str, rows: Rows, gold: str, predicted: str, *, reverse: bool = False
) -> tuple[list[Any], list[Any]] | None:
    db = sqlite3.connect(":memory:")
    db.executescript(schema)
    steps = [0]

    def count() -> bool:
        steps[0] += 1000
        return steps[0] > _STEPS

    try:
        for table, data in rows.items():
            columns = [row[1] for row in db.execute(f"PRAGMA table_xinfo(`{table}`)") if row[6] in (0,)]
            names, marks = ",".join(f"`{name}`" for name in columns), ",".join("?" * len(columns))
            db.executemany(f"INSERT INTO `{table}` ({names}) VALUES ({marks})", data)
        db.set_progress_handler(count, 1000)
        db.execute(f"PRAGMA reverse_unordered_selects = {'ON' if reverse else 'OFF'}")
        return _rounded(db.execute(gold).fetchall()), _rounded(db.execute(predicted).fetchall())
    except sqlite3.Error:
        return None
    finally:
        db.close()


def _rounded(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [tuple(float(f"{v:.9g}") if isinstance(v, float) else v for v in row) for row in rows]


def _different(gold: list[Any], predicted: list[Any], is_sorted: bool) -> bool:
    return gold != predicted if is_sorted else Counter(gold) != Counter(predicted)
