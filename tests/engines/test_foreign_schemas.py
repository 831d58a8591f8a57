"""A schema may be anyone's: nothing in it runs in an engine but the tables, views and columns that it declares."""

from __future__ import annotations

import pytest

from tests.support.engines import ENGINES, require_engine
from text2sql.engines.dialect import Dialect
from text2sql.evaluation import execution_match

PLACES: dict[Dialect, str] = {"postgres": "public.hacked", "mysql": "test.hacked", "duckdb": "hacked"}
# Each ends a statement that is made from it, if it is taken as it stands.
INJECTED: dict[Dialect, list[str]] = {
    "postgres": [
        "CREATE TABLE t (a INT); CREATE VIEW v AS SELECT $q$'$q$ AS x, 1 AS a; COMMIT; {HACK}; --'",
        "CREATE TABLE t (a INT); CREATE VIEW v AS SELECT E'\\'; COMMIT; {HACK}; --' AS x, 1 AS a",
        "CREATE TABLE t (a INT, x TEXT GENERATED ALWAYS AS (E'\\')) STORED); COMMIT; {HACK}; --' "
        "|| a) STORED); CREATE VIEW v AS SELECT x, a FROM t",
        "CREATE TYPE \"e AS ENUM ('a'); COMMIT; {HACK}; --\" AS ENUM ('b'); CREATE TABLE t "
        "(a INT, x \"e AS ENUM ('a'); COMMIT; {HACK}; --\"); CREATE VIEW v AS SELECT x, a FROM t",
    ],
    "mysql": [
        "CREATE TABLE t (a INT, x ENUM('\\\\'')); {HACK}; -- ')); CREATE VIEW v AS SELECT x, a FROM t",
        "CREATE TABLE t (a INT); CREATE VIEW v AS SELECT '\\'; {HACK}; -- ' AS x, 1 AS a",
    ],
    "duckdb": [
        "CREATE TABLE t (a INT); CREATE VIEW v AS SELECT $q$'$q$ AS x, 1 AS a; {HACK}; --'",
        'CREATE TABLE t (a INT, x VARCHAR COLLATE "NOCASE); {HACK}; --"); '
        "CREATE VIEW v AS SELECT x, a FROM t",
    ],
}  # fmt: skip
REACHING: dict[Dialect, list[str]] = {
    "postgres": [
        "CREATE TABLE t (a INT); CREATE VIEW v AS SELECT pg_read_file('/etc/passwd') AS x, a FROM t",
        "CREATE TABLE t (a INT); CREATE VIEW v AS SELECT usename::text AS x, 1 AS a FROM pg_catalog.pg_user",
    ],
    "mysql": [
        "CREATE TABLE t (a INT); CREATE VIEW v AS SELECT LOAD_FILE('/etc/passwd') AS x, a FROM t",
        "CREATE TABLE t (a INT); CREATE VIEW v AS SELECT User AS x, 1 AS a FROM mysql.user",
        "CREATE TABLE t (a INT, x INT AS (SLEEP(3))); CREATE VIEW v AS SELECT x, a FROM t",
    ],
    "duckdb": [
        "CREATE TABLE t (a INT); CREATE VIEW v AS SELECT content AS x, 1 AS a FROM read_text('/etc/passwd')",
        "CREATE TABLE t (a INT, x VARCHAR AS (getenv('HOME'))); CREATE VIEW v AS SELECT x, a FROM t",
    ],
}


def _verdict(schema: str, dialect: Dialect):
    return execution_match(schema, "SELECT x, a FROM v", "SELECT x, a FROM v WHERE a = 1", dialect=dialect)


@pytest.mark.parametrize("dialect", ENGINES)
def test_what_reaches_beyond_its_tables_is_refused(dialect: Dialect) -> None:
    require_engine(dialect)
    for schema in REACHING[dialect]:
        verdict = _verdict(schema, dialect)
        assert verdict.status == "undecided" and "does not accept the schema" in verdict.reason, verdict


@pytest.mark.parametrize("dialect", ENGINES)
def test_no_further_statement_is_run(dialect: Dialect) -> None:
    require_engine(dialect)
    for template in INJECTED[dialect]:
        schema = template.replace("{HACK}", f"CREATE TABLE {PLACES[dialect]} (x int)")
        _verdict(schema, dialect)
        # Had it been run, the engine would know the table now.
        after = f"CREATE VIEW w AS SELECT x FROM {PLACES[dialect]}"
        found = execution_match(after, "SELECT x FROM w", "SELECT x FROM w WHERE x = 1", dialect=dialect)
        assert "hacked" in found.reason, (schema, found)
