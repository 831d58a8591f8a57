"""What of a schema's text is not taken as it stands is said."""

from __future__ import annotations

import subprocess
import sys

import pytest

from text2sql.sql.declaration_faults import declaration_faults


@pytest.mark.parametrize(
    ("ddl", "said"),
    [
        ("CREATE TABLE t (a INT", "CREATE TABLE t has no closing parenthesis"),
        ("CREATE TABLE t (a INT, b VARCHAR(20); CREATE TABLE u (c INT);", "CREATE TABLE t has no closing parenthesis"),
        ("CREATE TABLE t (a INT); CREATE TABLE u AS SELECT a FROM t", "CREATE TABLE u AS a query is not read"),
        (
            "CREATE TABLE t (a INT);\n-- again\nCREATE TABLE T (b INT)",
            "Created more than once, with the columns of all",
        ),
    ],
)
def test_what_is_not_taken_as_it_stands(ddl: str, said: str) -> None:
    assert any(fault.startswith(said) for fault in declaration_faults(ddl))


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE TABLE t (a INT DEFAULT (1 + 2), CHECK (a > 0)); CREATE TABLE v (x VARCHAR(3));",
        "CREATE TABLE public.t (a INT); CREATE TABLE hr.t (b INT)",
        "-- CREATE TABLE t (\nCREATE TABLE t (a TEXT DEFAULT '(');\nINSERT INTO t VALUES ('CREATE TABLE t (');",
        'CREATE TABLE "a b" (x INT); CREATE VIEW w AS SELECT x FROM "a b"; DROP TABLE IF EXISTS z;',
        "",
    ],
)
def test_what_is_taken_as_it_stands(ddl: str) -> None:
    assert declaration_faults(ddl) == []


def test_match_says_so_and_decides_all_the_same() -> None:
    queries = ["--gold", "SELECT a FROM t", "--predicted", "SELECT a AS x FROM t"]
    done = subprocess.run(
        [sys.executable, "-m", "text2sql", "match", "--schema", "CREATE TABLE t (a INT", *queries],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "equivalent" in done.stdout and "CREATE TABLE t has no closing parenthesis" in done.stderr
