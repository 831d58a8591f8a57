"""A database of the user's: read, never changed, within limits, and with one sentence for what goes wrong."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import (
    PASSWORD,
    duckdb_shop,
    execute,
    mysql_admin,
    postgres_admin,
    server_shop,
    sqlite_shop,
)
from text2sql.engines.url import Location, locate
from text2sql.engines.user_databases.connection import Database, Limits
from text2sql.engines.user_databases.opening import open_database
from text2sql.errors import UserError
from text2sql.sql.sandbox import QueryFailed

ENDLESS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n",
    "duckdb": "SELECT COUNT(*) FROM range(100000000) a, range(100000000) b WHERE a.range + b.range = 7",
    "postgres": "SELECT COUNT(*) FROM generate_series(1, 100000000) a, generate_series(1, 100000000) b",
    "mysql": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT COUNT(*) FROM n a, n b, n c",
}
CROSSED = "SELECT a.id, b.id FROM orders a CROSS JOIN orders b"


@pytest.fixture(scope="module")
def database(shop: str) -> Iterator[Database]:
    """The shop, opened."""
    with open_database(locate(shop)) as opened:
        yield opened


def test_rows_come_back_with_names_and_plain_values(database: Database) -> None:
    result = database.run("SELECT name, price, day FROM customers JOIN orders ON customer_id = customers.id ORDER BY 2")
    assert result.columns == ("name", "price", "day")
    assert {("Ines", 39.5, "2026-01-12"), ("Ines", 89, "2026-02-03"), ("Marta", None, None)} == {*result.rows}
    empty = database.run("SELECT id, id AS again FROM orders WHERE id > 100")
    assert (empty.columns, empty.rows, empty.overflow) == (("id", "again"), [], False)
    assert database.engine.split()[0] in ("SQLite", "DuckDB", "PostgreSQL", "MySQL", "MariaDB")


def test_durations_are_written_as_the_engine_writes_them(database: Database) -> None:
    queries = {
        "SQLite": ("SELECT '1 day'", ("1 day",)),
        "DuckDB": (
            "SELECT INTERVAL '5 days 3 hours', INTERVAL '-90 minutes', INTERVAL 0 HOUR, [INTERVAL 1 DAY]",
            ("5 days 03:00:00", "-01:30:00", "00:00:00", "[1 day]"),
        ),
        "PostgreSQL": (
            "SELECT INTERVAL '5 days 3 hours', INTERVAL '-90 minutes', INTERVAL '14 months', ARRAY[INTERVAL '1 day']",
            ("5 days 03:00:00", "-01:30:00", "1 year 2 mons", '{"1 day"}'),
        ),
    }
    times = ("SELECT TIMEDIFF('2026-01-06 03:00:00', '2026-01-01 00:00:00'), CAST('-01:30:00' AS TIME)",)
    sql, expected = queries.get(database.engine.split()[0], (*times, ("123:00:00", "-01:30:00")))
    assert database.run(sql).rows == [expected]


def test_rows_and_bytes_are_limited(database: Database) -> None:
    few = database.run(CROSSED, Limits(rows=4))
    assert len(few.rows) == 4 and few.overflow
    exact = database.run(CROSSED, Limits(rows=9))
    assert len(exact.rows) == 9 and not exact.overflow
    wide = database.run("SELECT name FROM customers ORDER BY name", Limits(size=2))
    assert wide.overflow and len(wide.rows) < 3
    # The connection serves on after a result that was not read to its end.
    assert database.run("SELECT COUNT(*) FROM orders").rows == [(3,)]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM orders",
        "DROP TABLE orders",
        "CREATE TABLE more (x INTEGER)",
        "SELECT 1; DELETE FROM orders",
        "UPDATE orders SET price = 1",
        "INSERT INTO customers VALUES (9, 'x', 'y', 1)",
    ],
)
def test_nothing_is_changed(database: Database, sql: str) -> None:
    with pytest.raises(QueryFailed) as told:
        database.run(sql)
    assert told.value.kind == "refused" or "one statement" in str(told.value)
    assert database.run("SELECT COUNT(*), COUNT(price) FROM orders").rows == [(3, 2)]


def test_the_engine_itself_refuses_what_the_guard_would_let_pass(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("server", "duckdb_file"):
        monkeypatch.setattr(f"text2sql.engines.user_databases.{module}.guard_user_query", lambda sql, dialect: sql)
    for sql in ("DELETE FROM orders", "CREATE TABLE more (x INTEGER)", "SELECT 1; DELETE FROM orders"):
        with pytest.raises(QueryFailed):
            database.run(sql)
    assert database.run("SELECT COUNT(*) FROM orders").rows == [(3,)]


def test_time_is_limited(database: Database) -> None:
    started = time.monotonic()
    with pytest.raises(QueryFailed, match=r"too long|too many steps|too much memory") as told:
        database.run(ENDLESS[database.location.dialect], Limits(seconds=0.3))
    assert told.value.kind == "timeout"
    # Far below the minute that a query of nobody's patience would take: the limit is what ended it.
    assert time.monotonic() - started < 30
    assert database.run("SELECT COUNT(*) FROM orders").rows == [(3,)]


def test_errors_are_the_engines_in_one_line(database: Database) -> None:
    for sql in ("SELECT nme FROM customers", "SELECT * FROM nowhere"):
        with pytest.raises(QueryFailed, match=r"nme|nowhere") as told:
            database.run(sql)
        assert told.value.kind == "error" and "\n" not in str(told.value)


# Servers


@pytest.fixture(scope="module", params=["postgres", "mysql"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """URLs of the shop on a server: of a role that only reads, and of one that may do everything."""
    with server_shop(postgres_admin() if request.param == "postgres" else mysql_admin()) as urls:
        yield urls


def test_a_role_that_may_write_is_refused_unless_it_is_allowed(server: tuple[str, str]) -> None:
    location = locate(server[1])
    with (
        pytest.raises(UserError, match=r"may write: .*(superuser|ALL PRIVILEGES).*--allow-writable-role"),
        open_database(location),
    ):
        pass
    with open_database(location, allow_writable_role=True) as database:
        assert database.run("SELECT COUNT(*) FROM orders").rows == [(3,)]


def test_its_transactions_are_read_only_all_the_same(server: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("text2sql.engines.user_databases.server.guard_user_query", lambda sql, dialect: sql)
    with open_database(locate(server[1]), allow_writable_role=True) as database:
        for sql in ("DELETE FROM orders", "UPDATE orders SET price = 1"):
            with pytest.raises(QueryFailed, match="writes") as told:
                database.run(sql)
            assert told.value.kind == "refused"
        assert database.run("SELECT COUNT(price) FROM orders").rows == [(2,)]


@pytest.mark.parametrize("right", ["INSERT", "UPDATE", "DELETE"])
def test_a_role_with_one_right_to_write(server: tuple[str, str], right: str) -> None:
    reader, owner = server
    role = reader.split("://")[1].split(":")[0]
    name = reader.rsplit("/", 1)[1].split("?")[0]
    grants = [f"{right} ON customers TO {role}"] if owner.startswith("postgres") else [
        f"{right} ON {name}.customers TO '{role}'@'{host}'" for host in ("localhost", "127.0.0.1", "%")
    ]  # fmt: skip
    execute(owner, *(f"GRANT {grant}" for grant in grants))
    try:
        with (
            pytest.raises(UserError, match=rf"may write: .*customers|may write: .*{right}"),
            open_database(locate(reader)),
        ):
            pass
    finally:
        execute(owner, *(f"REVOKE {grant.replace(' TO ', ' FROM ')}" for grant in grants))
    with open_database(locate(reader)) as database:
        assert database.run("SELECT COUNT(*) FROM orders").rows == [(3,)]


def test_a_lost_connection_is_said_and_the_next_query_opens_another(server: tuple[str, str]) -> None:
    reader, owner = server
    with open_database(locate(reader)) as database:
        if owner.startswith("postgres"):
            role = reader.split("://")[1].split(":")[0]
            execute(owner, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'")
        else:
            session = database.fetch("SELECT CONNECTION_ID()").rows[0][0]
            execute(owner, f"KILL {session}")
        with pytest.raises(UserError, match=r"connection to \S+ is lost .*Run the same command again") as told:
            database.run("SELECT 1")
        assert PASSWORD not in str(told.value)
        assert database.run("SELECT COUNT(*) FROM orders").rows == [(3,)]


def test_a_server_that_does_not_answer(server: tuple[str, str]) -> None:
    reader, _ = server
    scheme, rest = reader.split("://")
    silent = f"{scheme}://{rest.split('@')[0]}@127.0.0.1:1/shop"
    with (
        pytest.raises(
            UserError, match=r"^--database: .* at \S+@127.0.0.1:1/shop: the server cannot be reached"
        ) as told,
        open_database(locate(silent)),
    ):
        pass
    assert PASSWORD not in str(told.value)


def test_a_wrong_password(server: tuple[str, str]) -> None:
    scheme, rest = server[0].split("://")
    user, place = rest.split(":", 1)[0], rest.split("@", 1)[1]
    wrong = locate(f"{scheme}://{user}:not-the-password@{place}")
    try:
        with open_database(wrong):
            pytest.skip("this server takes any password")
    except UserError as error:
        assert "the password is wrong, or the user is unknown" in str(error) and "not-the-password" not in str(error)


def test_an_unknown_database(server: tuple[str, str]) -> None:
    assert "the server has no such database" in _opening_error(server[1].replace("/t2s_", "/none_"))


def _opening_error(url: str) -> str:
    with pytest.raises(UserError) as told, open_database(locate(url), allow_writable_role=True):
        pass
    return str(told.value)


def test_an_engine_that_is_too_old(server: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "text2sql.engines.user_databases.server._OLDEST", dict.fromkeys(("PostgreSQL", "MySQL", "MariaDB"), (99, 0))
    )
    with pytest.raises(UserError, match=r"at least \w+ 99.0 is needed"), open_database(locate(server[0])):
        pass


# Files


def test_files_that_are_no_databases(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    for name, place in (("a.db", "{}"), ("a.duckdb", "{}"), ("b.db", "duckdb:///{}")):
        (tmp_path / name).write_bytes(b"no database at all, but a line of text" * 200)
        location = locate(place.format(tmp_path / name))
        with pytest.raises(UserError, match=r"is not a (SQLite|DuckDB) database that can be read") as told:
            _read(location)
        assert "\n" not in str(told.value)


def test_a_duckdb_file_that_a_program_holds(tmp_path: Path) -> None:
    import subprocess

    file = duckdb_shop(tmp_path / "shop.duckdb")
    script = f"import duckdb, sys; c = duckdb.connect({str(file)!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "open\n"
        try:
            with (
                pytest.raises(UserError, match=r"is held by a program that writes to it"),
                open_database(locate(str(file))),
            ):
                pass
        finally:
            holder.communicate("")


def test_duckdb_reaches_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("text2sql.engines.user_databases.duckdb_file.guard_user_query", lambda sql, dialect: sql)
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    with open_database(locate(str(duckdb_shop(tmp_path / "shop.duckdb")))) as database:
        for sql in (
            f"SELECT * FROM read_csv('{tmp_path}/secret.csv')",
            f"SELECT * FROM '{tmp_path}/secret.csv'",
            f"COPY customers TO '{tmp_path}/out.csv'",
            f"ATTACH '{tmp_path}/other.db'",
            "SET enable_external_access = true",
            "INSTALL httpfs",
        ):
            with pytest.raises(QueryFailed):
                database.run(sql)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.csv", "shop.duckdb"]


def test_duckdb_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location = locate(str(duckdb_shop(tmp_path / "shop.duckdb")))
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(UserError, match=r'the extra "duckdb"'), open_database(location):
        pass


def test_a_file_that_is_damaged_meanwhile(tmp_path: Path) -> None:
    file = sqlite_shop(tmp_path / "shop.db")
    location = locate(str(file))
    file.write_bytes(file.read_bytes()[:100] + b"\xff" * 5000)
    with pytest.raises(UserError, match=r"not a SQLite database|damaged"):
        _read(location)


def _read(location: Location) -> None:
    with open_database(location) as database:
        database.run("SELECT * FROM orders")


# What Python has no value for, as a column of each engine and as the engine writes it.
ODD_VALUES = {
    "postgres": [
        ("DATE 'infinity'", "infinity"),
        ("DATE '0044-03-15 BC'", "0044-03-15 BC"),
        ("TIMESTAMP '12000-01-01'", "12000-01-01 00:00:00"),
        ("INTERVAL '178000000 years'", "178000000 years"),
        ("TIME '24:00:00'", "24:00:00"),
        ("NUMERIC 'NaN'", "NaN"),
        ("NUMERIC '1e5000'", "1" + 5000 * "0"),
        ("ARRAY[DATE '-infinity', NULL]", "{-infinity,NULL}"),
        ("'{\"a\": [1]}'::jsonb", '{"a": [1]}'),
        ("'[1,9)'::int4range", "[1,9)"),
    ],
    "mysql": [
        ("CAST('0000-00-00' AS DATE)", "0000-00-00"),
        ("TIME('838:59:59')", "838:59:59"),
        ("TIME('-25:00:00')", "-25:00:00"),
        ("TIMESTAMP('2020-01-01 00:00:00')", "2020-01-01 00:00:00"),
    ],
    "duckdb": [
        ("DATE 'infinity'", "infinity"),
        ("DATE '0044-03-15 (BC)'", "0044-03-15 (BC)"),
        ("TIMESTAMP_NS '2020-01-01 00:00:00.123456789'", "2020-01-01 00:00:00.123456789"),
        ("INTERVAL 1 MONTH", "1 month"),
        ("170141183460469231731687303715884105727::HUGEINT", 2**127 - 1),
        ("340282366920938463463374607431768211455::UHUGEINT", 2**128 - 1),
        ("[{'a': INTERVAL 1 MONTH}]", "[{'a': 1 month}]"),
        ("TIME '24:00:00'", "24:00:00"),
    ],
}


def test_a_value_that_python_lacks_is_shown_as_the_engine_writes_it(database: Database) -> None:
    pairs = ODD_VALUES.get(database.location.dialect, [])
    for expression, shown in pairs:
        assert database.run(f"SELECT {expression} AS x, 1").rows == [(shown, 1)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT list_aggregate(range(2000000000), 'sum')",
        "SELECT list(i) FROM range(500000000) t(i)",
        "SELECT repeat('x', 4000000000)",
        "SELECT string_agg(repeat('x', 1000000), '') FROM range(100000)",
    ],
)
def test_a_query_that_takes_all_memory_of_its_process_is_one_sentence(sql: str, tmp_path: Path) -> None:
    with open_database(locate(str(duckdb_shop(tmp_path / "shop.duckdb")))) as database:
        with pytest.raises(QueryFailed, match=r"too much memory|takes too long") as told:
            database.run(sql, Limits(seconds=5))
        assert told.value.kind == "timeout"
        # The next query has a process again.
        assert database.run("SELECT COUNT(*) FROM orders").rows == [(3,)]


def test_a_function_that_is_not_interrupted_is_ended(tmp_path: Path) -> None:
    with open_database(locate(str(duckdb_shop(tmp_path / "shop.duckdb")))) as database:
        started = time.monotonic()
        with pytest.raises(QueryFailed, match="takes too long"):
            database.run("SELECT length(repeat('yz', 900000000))", Limits(seconds=0.05))
        assert time.monotonic() - started < 30
        assert database.run("SELECT * FROM range(1000000000000)", Limits(rows=2)).rows == [(0,), (1,)]


def test_a_table_of_bits_and_of_days_that_are_none() -> None:
    table = (
        "CREATE TABLE odd (b BIT(8), d DATE, t TIMESTAMP(3) NULL)",
        "SET sql_mode = ''",
        "INSERT INTO odd VALUES (b'101', '0000-00-00', '2020-01-01 01:02:03.5')",
    )
    with server_shop(mysql_admin(), *table) as (reader, _), open_database(locate(reader)) as database:
        assert database.run("SELECT b, d, t FROM odd").rows == [(5, "0000-00-00", "2020-01-01 01:02:03.500")]


@pytest.mark.parametrize("option", ["charset=fooo", "foo=bar", "connect_timeout=x1", "cursorclass=x1"])
def test_an_option_of_a_url_that_cannot_be_used_is_one_sentence(option: str) -> None:
    with server_shop(mysql_admin()) as (reader, _):
        mark = "&" if "?" in reader else "?"
        with (
            pytest.raises(UserError, match=r"an option behind the \? of the URL") as told,
            open_database(locate(f"{reader}{mark}{option}")),
        ):
            pass
    # Options may be secrets, however short.
    assert not re.search(rf"\b{option.partition('=')[2]}\b", str(told.value))
