"""Schemas of databases, read from their catalogues: as text that prompts show and that verdicts read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import (
    duckdb_shop,
    engine,
    execute,
    mysql_admin,
    postgres_admin,
    server_shop,
    sqlite_shop,
)
from text2sql.data.schema_text import read_tables
from text2sql.engines.url import locate
from text2sql.engines.user_databases.inspect import read_schema
from text2sql.engines.user_databases.opening import open_database
from text2sql.engines.user_databases.user_database import UserDatabase
from text2sql.errors import UserError
from text2sql.sql.ddl import parse_schema


def rows_of(database: UserDatabase, table: str, count: int) -> tuple[list[str], list[Any]]:
    with database.first_rows() as first_rows:
        return first_rows(table, count)


def test_the_text_says_tables_columns_and_keys(shop: str) -> None:
    database = UserDatabase.read(shop)
    schema = parse_schema(database.schema.text)
    customers, orders = schema.tables["customers"], schema.tables["orders"]
    assert [*customers.columns] == ["id", "name", "city", "since"]
    assert (customers.primary_key, orders.primary_key) == (("id",), ("id",))
    assert customers.columns["name"].not_null and not customers.columns["city"].not_null
    assert [(k.columns, k.parent, k.parent_columns) for k in orders.foreign_keys] == [
        (("customer_id",), "customers", ("id",))
    ]
    (check,) = orders.checks
    assert check.replace("`", "").replace("( ", "").replace(" )", "") == "price > 0"
    assert "lisbon" in schema.views
    # Each type is one that the engine would take again, without what only a catalogue says.
    assert "VARCHAR" in customers.columns["name"].type and "(11)" not in database.schema.text
    assert database.schema.text.count("CREATE TABLE") == 2


def test_rows_of_a_table_for_the_prompt(shop: str) -> None:
    database = UserDatabase.read(shop)
    columns, rows = rows_of(database, "customers", 2)
    assert columns == ["id", "name", "city", "since"]
    assert rows == [(1, "Ines", "Lisbon", 2019), (2, "Tomas", "Porto", 2021)]
    assert rows_of(database, "nowhere", 2) == ([], [])


@pytest.fixture
def postgres_text() -> Iterator[Callable[..., str]]:
    """Gives the text of the shop on PostgreSQL after some statements."""
    with server_shop(postgres_admin()) as (reader, owner):

        def text(*statements: str) -> str:
            execute(owner, *statements)
            return UserDatabase.read(reader).schema.text

        yield text


def test_postgres_comments_enumerations_and_names(postgres_text: Callable[..., str]) -> None:
    text = postgres_text(
        "CREATE TYPE state AS ENUM ('open', 'it''s paid')",
        'CREATE TABLE "Bills" (id bigint GENERATED ALWAYS AS IDENTITY, "Due Day" date, state state NOT NULL DEFAULT '
        "'open', kind varchar(9) DEFAULT 'x' CHECK (kind IN ('x', 'y')), note text DEFAULT upper('a'), "
        "twice bigint GENERATED ALWAYS AS (id * 2) STORED, "
        'PRIMARY KEY (id, state), UNIQUE (kind, "Due Day"))',
        "COMMENT ON TABLE \"Bills\" IS 'What is\nto be paid'",
        "COMMENT ON COLUMN \"Bills\".kind IS 'Of goods, or not'",
        'GRANT SELECT ON "Bills" TO PUBLIC',
    )
    start = text.index('CREATE TABLE "Bills"')
    assert text[start : text.index(";", start) + 1].splitlines() == [
        'CREATE TABLE "Bills" ( -- What is to be paid',
        "  id BIGINT NOT NULL,",
        '  "Due Day" DATE,',
        "  state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'it''s paid')),",
        "  kind VARCHAR(9) DEFAULT 'x', -- Of goods, or not",
        "  note TEXT,",
        "  twice BIGINT GENERATED ALWAYS AS (id * 2) STORED,",
        "  PRIMARY KEY (id, state),",
        '  UNIQUE (kind, "Due Day"),',
        "  CHECK (kind IN ('x', 'y'))",
        ");",
    ]
    # What shows schemas finds everything in it again.
    bills = read_tables(text)["bills"]
    assert [token.name for token in bills.columns] == ["id", "Due Day", "state", "kind", "note", "twice"]


def test_postgres_shows_what_the_role_may_read_and_nothing_else(postgres_text: Callable[..., str]) -> None:
    text = postgres_text(
        "CREATE TABLE salaries (x integer)",
        "CREATE SCHEMA hr",
        "CREATE TABLE hr.staff (id integer PRIMARY KEY, boss integer REFERENCES hr.staff)",
        "CREATE SCHEMA closed",
        "CREATE TABLE closed.plans (x integer)",
        "CREATE TABLE days (d date) PARTITION BY RANGE (d)",
        "CREATE TABLE days_2026 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
        "CREATE MATERIALIZED VIEW cities AS SELECT DISTINCT city FROM customers",
        "GRANT USAGE ON SCHEMA hr TO PUBLIC",
        "GRANT SELECT ON hr.staff, days, days_2026, cities, closed.plans TO PUBLIC",
    )
    assert "CREATE TABLE hr.staff" in text and "REFERENCES hr.staff (id)" in text and "CREATE VIEW cities" in text
    assert "TABLE days (" in text
    for hidden in ("salaries", "plans", "days_2026", "pg_", "information_schema"):
        assert hidden not in text


def test_postgres_shows_a_role_of_another_schema_nothing_of_public(postgres_text: Callable[..., str]) -> None:
    text = postgres_text(
        "DROP VIEW lisbon",
        "CREATE TABLE salaries (x integer)",
        "DO $$ BEGIN EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA public FROM %I', current_database()); END $$",
        "CREATE SCHEMA hr",
        "CREATE TABLE hr.staff (id integer PRIMARY KEY)",
        "GRANT USAGE ON SCHEMA hr TO PUBLIC",
        "GRANT SELECT ON hr.staff TO PUBLIC",
    )
    assert text.splitlines() == ["CREATE TABLE hr.staff (", "  id INTEGER PRIMARY KEY", ");"]


def test_postgres_shows_the_columns_that_the_role_may_read(postgres_text: Callable[..., str]) -> None:
    text = postgres_text(
        "CREATE TABLE pay (id integer PRIMARY KEY, secret integer UNIQUE CHECK (secret > 0), boss integer "
        "REFERENCES pay, mine integer GENERATED ALWAYS AS (secret * 2) STORED, hidden_id integer)",
        "CREATE TABLE hidden (id integer PRIMARY KEY)",
        "ALTER TABLE pay ADD FOREIGN KEY (hidden_id) REFERENCES hidden",
        "CREATE VIEW seen AS SELECT id FROM hidden",
        "GRANT SELECT (id, boss, mine, hidden_id) ON pay TO PUBLIC",
        "GRANT SELECT ON seen TO PUBLIC",
    )
    start = text.index("CREATE TABLE pay")
    assert text[start : text.index(";", start) + 1].splitlines() == [
        "CREATE TABLE pay (",
        "  id INTEGER PRIMARY KEY,",
        "  boss INTEGER,",
        "  mine INTEGER,",
        "  hidden_id INTEGER,",
        "  FOREIGN KEY (boss) REFERENCES pay (id)",
        ");",
    ]
    # A view may be read without the table that it reads.
    assert "CREATE TABLE seen ( -- a view" in text and "hidden (" not in text and "FROM hidden" not in text


def test_mysql_shows_the_tables_and_columns_that_the_role_may_read() -> None:
    tables = (
        "CREATE TABLE pay (id INT PRIMARY KEY COMMENT 'of it', secret INT UNIQUE, grade VARCHAR(9) NOT NULL)",
        "CREATE TABLE hidden (id INT)",
        "CREATE TABLE only_written (id INT)",
        "CREATE VIEW seen AS SELECT id FROM hidden",
        "CREATE TABLE gone (id INT)",
        "CREATE VIEW broken AS SELECT id FROM gone",
        "DROP TABLE gone",
    )
    with server_shop(mysql_admin(), *tables) as (reader, owner):
        name = reader.rpartition("/")[2]
        for host in ("localhost", "127.0.0.1", "%"):
            role = f"'{name[:30]}'@'{host}'"
            execute(
                owner,
                f"REVOKE ALL ON {name}.* FROM {role}",
                f"GRANT SELECT (id, grade) ON {name}.pay TO {role}",
                f"GRANT SELECT ON {name}.seen TO {role}",
                f"GRANT SELECT ON {name}.broken TO {role}",
                f"GRANT INSERT ON {name}.only_written TO {role}",
                f"GRANT SELECT, SHOW VIEW ON {name}.orders TO {role}",
            )
        database = UserDatabase.read(reader, allow_writable_role=True)
        assert rows_of(database, "pay", 3) == (["id", "grade"], [])
    lines = database.schema.text.splitlines()
    assert [line for line in lines if line.startswith("CREATE")] == [
        "CREATE TABLE orders (",
        "CREATE TABLE pay (",
        "CREATE TABLE seen (",
    ]
    start = lines.index("CREATE TABLE pay (")
    assert [line.lower() for line in lines[start + 1 : start + 3]] == [
        "  id int not null, -- of it",
        "  grade varchar(9) not null",
    ]
    assert not any("FOREIGN KEY" in line for line in lines)


def test_mysql_comments_enumerations_and_names() -> None:
    table = (
        "CREATE TABLE `order` (id INT AUTO_INCREMENT PRIMARY KEY COMMENT 'of the bill', state ENUM('open', 'paid'), "
        "paid TINYINT(1), many INT UNSIGNED, code VARCHAR(9) COLLATE utf8mb4_bin, twice INT AS (many * 2)) "
        "COMMENT 'Bills'"
    )
    with server_shop(mysql_admin(), table) as (reader, _):
        text = UserDatabase.read(reader).schema.text
    start = text.index("CREATE TABLE `order`")
    assert text[start : text.index(";", start) + 1].splitlines() == [
        "CREATE TABLE `order` ( -- Bills",
        "  id INTEGER PRIMARY KEY, -- of the bill",
        "  state ENUM('open','paid'),",
        "  paid TINYINT(1),",
        "  many INTEGER UNSIGNED,",
        "  code VARCHAR(9) COLLATE utf8mb4_bin,",
        "  twice INTEGER GENERATED ALWAYS AS (`many` * 2)",
        ");",
    ]


def test_duckdb_comments_enumerations_and_names(tmp_path: Path) -> None:
    file = duckdb_shop(
        tmp_path / "shop.duckdb",
        "CREATE TYPE state AS ENUM ('open', 'paid')",
        'CREATE TABLE "order" (id INTEGER, "Due Day" DATE DEFAULT current_date, state state NOT NULL, tags VARCHAR[], '
        "code VARCHAR COLLATE NOCASE, twice INTEGER AS (id * 2), PRIMARY KEY (id, state))",
        "COMMENT ON TABLE \"order\" IS 'Bills'",
        "COMMENT ON COLUMN \"order\".tags IS 'any words'",
        "CREATE SCHEMA hr",
        "CREATE TABLE hr.staff (id INTEGER)",
    )
    text = UserDatabase.read(str(file)).schema.text
    start = text.index('CREATE TABLE "order"')
    assert text[start : text.index(";", start) + 1].splitlines() == [
        'CREATE TABLE "order" ( -- Bills',
        "  id INTEGER NOT NULL,",
        '  "Due Day" DATE DEFAULT current_date,',
        "  state ENUM('open', 'paid') NOT NULL,",
        "  tags VARCHAR[], -- any words",
        "  code VARCHAR COLLATE NOCASE,",
        "  twice INTEGER GENERATED ALWAYS AS (id * 2),",
        "  PRIMARY KEY (id, state)",
        ");",
    ]
    assert "CREATE TABLE hr.staff" in text


def test_a_sqlite_file_is_shown_as_it_was_written(tmp_path: Path) -> None:
    made = 'CREATE TABLE "odd"( a  INT /* why */, B )'
    text = UserDatabase.read(sqlite_shop(tmp_path / "shop.db", made)).schema.text
    assert made in text


def test_hundreds_of_tables_are_read_in_bulk(postgres_text: Callable[..., str]) -> None:
    made = [f"CREATE TABLE t{i} (id integer PRIMARY KEY, a text)" for i in range(300)]
    text = postgres_text("; ".join([*made, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC"]))
    assert text.count("CREATE TABLE") == 302


@pytest.mark.parametrize("kind", ["postgres", "mysql"])
@pytest.mark.filterwarnings("error")
def test_names_and_types_that_the_inspector_does_not_know(kind: str) -> None:
    mark, data_type = ('"', "xml") if kind == "postgres" else ("`", "geometry")
    names = ["100%", "%s", "%%", "a/b", "new\nline"]
    tables = [
        f"CREATE TABLE {mark}is {name}{mark} (id INTEGER, {mark}{name}{mark} VARCHAR(9), odd {data_type})"
        for name in names
    ]
    with server_shop(postgres_admin() if kind == "postgres" else mysql_admin(), *tables) as (reader, _):
        database = UserDatabase.read(reader)
        for name in names:
            assert f"{mark}{name}{mark} VARCHAR(9)".lower() in database.schema.text.lower()
            assert rows_of(database, f"is {name}", 1) == (["id", name, "odd"], [])
            assert database.run(f"SELECT {mark}{name}{mark} FROM {mark}is {name}{mark}").columns == (name,)
    assert database.schema.text.lower().count(f"odd {data_type}") == len(names)


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgres", "mysql"])
def test_a_database_without_tables(kind: str, tmp_path: Path) -> None:
    if kind == "sqlite":
        (tmp_path / "empty.db").touch()
        _refused(str(tmp_path / "empty.db"))
    elif kind == "duckdb":
        duckdb = pytest.importorskip("duckdb")
        duckdb.connect(str(tmp_path / "empty.duckdb")).close()
        _refused(str(tmp_path / "empty.duckdb"))
    else:
        drops = ("DROP VIEW lisbon", "DROP TABLE orders", "DROP TABLE customers")
        with server_shop(postgres_admin() if kind == "postgres" else mysql_admin(), *drops) as (reader, _):
            _refused(reader)


def _refused(place: str) -> None:
    with pytest.raises(UserError, match=r"^--database: .* has no tables"):
        UserDatabase.read(place)


def test_a_connection_that_dies_while_the_schema_is_read() -> None:
    with server_shop(postgres_admin()) as (reader, owner), open_database(locate(reader)) as database:
        role = reader.split("://")[1].split(":")[0]
        execute(owner, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'")
        with pytest.raises(UserError, match=r"connection to \S+ is lost"):
            read_schema(database)


def test_nothing_is_left_open() -> None:
    """After a question no session of the role is on the server."""
    with server_shop(postgres_admin()) as (reader, owner):
        database = UserDatabase.read(reader)
        database.run("SELECT COUNT(*) FROM customers CROSS JOIN orders")
        rows_of(database, "customers", 1)
        role = reader.split("://")[1].split(":")[0]
        with engine(owner).connect() as connection:
            cursor = connection.connection.driver_connection.cursor()
            for _ in range(200):
                # A server ends a session a moment after its client has gone.
                cursor.execute("SELECT COUNT(*), pg_sleep(0.01) FROM pg_stat_activity WHERE usename = %s", (role,))
                if cursor.fetchone()[0] == 0:
                    return
    raise AssertionError(f"a session of {role} stays")
