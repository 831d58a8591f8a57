"""SQLite's printf: what is asked of it is refused where it is really long, and nowhere else."""

from __future__ import annotations

import sqlite3
import time

import pytest

from text2sql.sql.printf import MAX_CHARACTERS, TooLong, limited_printf
from text2sql.sql.sandbox import QueryFailed, SqliteSandbox
from text2sql.sql.values import Value

ORDINARY: list[tuple[Value, ...]] = [
    ("2024-%02d", 3),
    ("%04d-%02d-%02d %s", 2024, 1, 2, "10000"),
    ("no number of 12345 characters, 100 %%", 1),
    ("%*d|%-*d|%.*f", 6, 1, 6, 2, 3, 2.34567),
    ("%,d %+.3e %!.15g %q %Q %w", 1234567, 0.1, 0.1, "it's", "it's", 'a"b'),
    ("%n%s", "a"),
    ("%.1000f", 1.5),
    ("%5000s", "a"),
    ("%*s", "12", "a"),
    ("%", 1),
    (None, 1),
    (12345, 1),
    (b"%03d", 7),
    (),
]
LONG: list[tuple[Value, ...]] = [
    ("%.1000000000c", "x"),
    ("%2147483647d", 1),
    ("%99999999999999999999d", 1),
    ("%d %0*d", 1, 1_000_000_000, 1),
    ("%*d", "1000000000", 1),
    ("%*d", b"1000000000", 1),
    ("%*d", -1_000_000_000, 1),
    ("%.*f", 1e9, 1.5),
    ("%%%n%.*c", 1_000_000_000, "x"),
    (f"%{MAX_CHARACTERS + 1}s", "a"),
    ("%20000s" * 600,),
]


@pytest.mark.parametrize("arguments", ORDINARY, ids=repr)
def test_ordinary_formats_give_what_sqlite_gives(arguments: tuple[Value, ...]) -> None:
    query = f"SELECT printf({','.join('?' * len(arguments))})"
    assert limited_printf(*arguments) == sqlite3.connect(":memory:").execute(query, arguments).fetchone()[0]


@pytest.mark.parametrize("arguments", LONG, ids=lambda arguments: repr(arguments)[:40])
def test_what_is_really_long_is_refused_at_once(arguments: tuple[Value, ...]) -> None:
    start = time.monotonic()
    with pytest.raises(TooLong):
        limited_printf(*arguments)
    assert time.monotonic() - start < 2


def test_a_query_says_why_it_is_refused() -> None:
    box = SqliteSandbox.in_memory([])
    try:
        assert box.run("SELECT printf('2024-%02d', 3), format('%*d', 4, 7)", 10_000, 5).rows == [("2024-03", "   7")]
        with pytest.raises(QueryFailed, match="printf for a text that is too long") as failure:
            box.run("SELECT printf('%.*c', 1000000000, 'x')", 10_000, 5)
        assert failure.value.kind == "refused"
    finally:
        box.close()
