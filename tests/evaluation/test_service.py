"""The evaluator as a route of the real server process."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.running import KEY, OTHER_KEY, start_process
from text2sql.engines.sandbox import engine as engines
from text2sql.evaluation import execution_match, verdicts
from text2sql.evaluation.service import VerdictService

SCHEMA = "CREATE TABLE t (a INTEGER, b TEXT)"
GOLD = "SELECT a FROM t WHERE a > 3"
PAIRS = [
    {"schema": SCHEMA, "gold": GOLD, "predicted": "SELECT a FROM t WHERE NOT a <= 3"},
    {"schema": SCHEMA, "gold": GOLD, "predicted": "SELECT a FROM t WHERE a >= 3"},
    {"schema": SCHEMA, "gold": GOLD, "predicted": "DROP TABLE t"},
    {"schema": SCHEMA, "gold": GOLD, "predicted": "SELECT nothing FROM t"},
]
# While it compiles this, SQLite looks at no clock: only the end of its process stops it.
EXPLODING = (
    "WITH "
    + ", ".join(
        f"c{n} AS (SELECT * FROM {'t' if not n else f'c{n - 1}'} UNION SELECT * FROM {'t' if not n else f'c{n - 1}'})"
        for n in range(30)
    )
    + " SELECT a FROM c29"
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (
        "--api-key",
        KEY,
        "limits.pairs_per_request=5",
        "limits.sample_request_bytes=300000",
        "limits.waiting_verdict_requests=1",
    )
    process = start_process(tiny_model, tmp_path_factory.mktemp("server"), port, *arguments, "local.device=cpu")
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    assert process.wait(20) is not None


def _post(url: str, content: Any, key: str | None = KEY) -> Any:
    import httpx

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return httpx.post(f"{url}/v1/verdicts", content=body, headers=headers, timeout=120)


def test_verdicts_are_those_of_the_function(url: str) -> None:
    reply = _post(url, {"pairs": PAIRS})
    assert reply.status_code == 200
    expected = verdicts([(pair["schema"], pair["gold"], pair["predicted"]) for pair in PAIRS])
    assert reply.json()["verdicts"] == json.loads(json.dumps([verdict.to_dict() for verdict in expected]))
    assert [row["status"] for row in reply.json()["verdicts"]] == ["equivalent", "different", "refused", "error"]
    assert reply.json()["verdicts"][1]["witness"]["tables"]["t"]["rows"]


def test_effort_and_seed_are_carried_out(url: str) -> None:
    pair = PAIRS[0]
    for effort in (10, 30):
        (row,) = _post(url, {"pairs": [pair], "effort": effort, "seed": 4}).json()["verdicts"]
        expected = execution_match(pair["schema"], pair["gold"], pair["predicted"], effort=effort, seed=4)
        # There are more, where some are made for a purpose.
        assert row["databases"] == expected.databases >= effort


def test_a_key_is_asked_for(url: str) -> None:
    assert _post(url, {"pairs": PAIRS}, key=None).status_code == 401
    assert _post(url, {"pairs": PAIRS}, key=OTHER_KEY).status_code == 401


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"no json", 400, "Invalid JSON"),
        ({"pairs": [{"schema": "", "gold": "SELECT 1"}]}, 400, "pairs.0.predicted"),
        ({"pairs": [{**PAIRS[0], "database": "/etc/passwd"}]}, 400, "pairs.0.database"),
        ({"pairs": PAIRS * 2}, 400, "The request has 8 pairs; this server takes 5."),
        ({"pairs": PAIRS, "effort": 100000}, 400, "effort"),
        ({"pairs": [{**PAIRS[0], "predicted": "x" * 400_000}]}, 413, "this server takes 300000"),
    ],
)
def test_what_is_refused_is_said(url: str, body: Any, status: int, sentence: str) -> None:
    reply = _post(url, body)
    assert reply.status_code == status
    assert sentence in reply.json()["error"]["message"]


def test_the_server_answers_others_while_a_hostile_pair_is_judged(url: str) -> None:
    import httpx

    replies: list[Any] = []
    pair = {"schema": SCHEMA, "gold": "SELECT a FROM t", "predicted": EXPLODING}
    judging = threading.Thread(target=lambda: replies.append(_post(url, {"pairs": [pair, PAIRS[0]]})))
    judging.start()
    answered = 0
    while judging.is_alive():
        httpx.get(f"{url}/healthz", timeout=30).raise_for_status()
        answered += 1
        time.sleep(0.05)
    judging.join()
    hostile, plain = replies[0].json()["verdicts"]
    assert hostile["status"] in ("timeout", "error", "undecided")
    assert plain["status"] == "equivalent"
    assert answered > 2


def test_of_many_requests_at_once_few_may_wait(url: str) -> None:
    slow = {"pairs": [{"schema": SCHEMA, "gold": "SELECT a FROM t", "predicted": EXPLODING}]}
    replies: list[Any] = []
    threads = [threading.Thread(target=lambda: replies.append(_post(url, slow))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reply.status_code for reply in replies) == [200, 200, 429, 429]
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert "are waiting already" in refused.json()["error"]["message"]


def test_when_nobody_waits_judging_ends() -> None:
    stopped = threading.Event()
    stopped.set()
    body = json.dumps({"pairs": [{**PAIRS[0], "predicted": f"SELECT a FROM t WHERE a > {n}"} for n in range(40)]})
    found = VerdictService(100, 1).answer(body.encode(), stopped)
    assert isinstance(found, dict) and isinstance(found["verdicts"], list)
    assert found["verdicts"].count(None) == 39


def test_pairs_are_judged_in_the_dialect_that_is_named() -> None:
    pair = {"schema": SCHEMA, "gold": "SELECT b ILIKE 'x%' FROM t", "predicted": "SELECT LOWER(b) LIKE 'x%' FROM t"}
    body = json.dumps({"pairs": [pair], "dialect": "duckdb"}).encode()
    (verdict,) = VerdictService(5, 1).answer(body, threading.Event())["verdicts"]  # type: ignore[index,call-overload]
    assert verdict["correct"] and verdict["judged_on"].startswith("DuckDB")
    with pytest.raises(ValueError, match="dialect: Input should be 'sqlite'"):
        VerdictService(5, 1).answer(json.dumps({"pairs": [pair], "dialect": "oracle"}).encode(), threading.Event())


def test_a_dialect_without_engine_is_said_and_nothing_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_OPEN_ENGINES", {})
    monkeypatch.setenv("TEXT2SQL_MYSQL", "mysql://somebody:secret@127.0.0.1:1/")
    body = json.dumps({"pairs": PAIRS[:1], "dialect": "mysql"}).encode()
    with pytest.raises(ValueError, match="this server has no MySQL to judge in") as told:
        VerdictService(5, 1).answer(body, threading.Event())
    assert "127.0.0.1" not in str(told.value) and "MYSQL" not in str(told.value)
