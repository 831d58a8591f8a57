"""Who may use the demo, how much may be sent, and what is left of visitors' files: nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.repository import REPOSITORY
from text2sql.demo import storage as storage_module
from text2sql.demo.storage import PREFIX, Storage, open_storage
from text2sql.errors import UserError

UPLOAD = "/gradio_api/upload"
FOREIGN: list[tuple[dict[str, str], int]] = [
    ({"Host": "evil.example"}, 421),
    ({"Host": "127.0.0.1.evil.example:80"}, 421),
    ({"Host": ""}, 421),
    ({"Origin": "http://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "http://127.0.0.1:1"}, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
]


def files(storage: Storage) -> list[Path]:
    return [file for place in (storage.uploads, storage.copies) for file in place.rglob("*") if file.is_file()]


@pytest.mark.parametrize(("headers", "status"), FOREIGN)
def test_pages_of_others_get_nothing(address: str, storage: Storage, headers: dict[str, str], status: int) -> None:
    with httpx.Client(base_url=address, headers=headers) as http:
        before = files(storage)
        assert http.post(UPLOAD, files={"files": ("a.csv", b"a\n1\n")}).status_code == status
        for route in ("/", "/config", "/gradio_api/file=/etc/hostname"):
            assert http.get(route).status_code == status, route
        assert http.post("/gradio_api/queue/join", json={}).status_code == status
    assert files(storage) == before


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost:1"},
        {"Host": "demo.example"},
        {"Host": "127.0.0.1", "Origin": "https://demo.example"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_the_own_page_is_let_in(address: str, storage: Storage, headers: dict[str, str]) -> None:
    with httpx.Client(base_url=address, headers=headers) as http:
        assert http.get("/").status_code == 200
        (path,) = http.post(UPLOAD, files={"files": ("a.csv", b"a\n1\n")}).raise_for_status().json()
    assert Path(path) in files(storage)
    assert storage.uploads.parent.stat().st_mode & 0o077 == 0


def head(address: str, *lines: str) -> str:
    """The answer to a POST whose body never comes."""
    host, port = address.removeprefix("http://").strip("/").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, f"Host: {host}:{port}", "", ""]).encode())
        return connection.recv(4096).decode()


@pytest.mark.parametrize(
    ("route", "length", "status"),
    [
        (UPLOAD, "Content-Length: 600000000", 413),
        (f"{UPLOAD}/", "Content-Length: 600000000", 413),
        (UPLOAD, "Transfer-Encoding: chunked", 411),
        ("/gradio_api/queue/join", "Content-Length: 5000000", 413),
        ("/gradio_api/queue/join", "Transfer-Encoding: chunked", 411),
    ],
)
def test_bodies_are_refused_before_they_are_read(address: str, route: str, length: str, status: int) -> None:
    assert head(address, f"POST {route} HTTP/1.1", length).startswith(f"HTTP/1.1 {status}")


def test_all_visitors_share_a_limit(address: str, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    with httpx.Client(base_url=address) as http:
        kept = sum(file.stat().st_size for file in files(storage))
        monkeypatch.setattr(storage_module, "MAX_STORED_BYTES", kept + 300_000)
        statuses = [http.post(UPLOAD, files={"files": (f"{i}.csv", b"x" * 90_000)}).status_code for i in range(6)]
        assert statuses == [200, 200, 200, 413, 413, 413]
        refused = http.post(UPLOAD, files={"files": ("last.csv", b"x" * 90_000)})
        assert "room for 0 MB" in refused.text and "try again later" in refused.text
    with pytest.raises(UserError, match="room for"):
        storage.check_room(10**6)


def test_what_a_killed_demo_left_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    script = (
        "import time; from text2sql.demo.storage import open_storage\n"
        "with open_storage() as s:\n"
        "    (s.copies / 'visitor.sqlite').write_text('secret'); print(s.copies, flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    killed, alive = (
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    )
    try:
        assert killed.stdout is not None and alive.stdout is not None
        left, kept = Path(killed.stdout.readline().strip()), Path(alive.stdout.readline().strip())
        killed.kill()
        killed.wait()
        assert left.is_dir() and kept.is_dir()
        with open_storage() as ours:
            assert ours.copies.is_dir() and kept.is_dir() and not left.exists()
    finally:
        for process in (killed, alive):
            process.kill()
            process.wait()


def begin(run: Path, directory: Path) -> tuple[subprocess.Popen[bytes], str]:
    """`text2sql demo` in a separate process, when it answers; its temporary directory is `directory`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "text2sql", "demo", str(run), "--port", str(port)]
    process = subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, "TMPDIR": str(directory)})
    wait_for(lambda: answers(f"http://127.0.0.1:{port}"), process)
    return process, f"http://127.0.0.1:{port}"


def answers(address: str) -> bool:
    try:
        return httpx.get(address).status_code == 200
    except httpx.HTTPError:
        return False


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)


def try_the_example(address: str) -> None:
    """Press the button, as the page does."""
    with httpx.Client(base_url=address) as http:
        config = http.get("/config").json()
        button = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == "example")
        event = next(d["id"] for d in config["dependencies"] if [button, "click"] in d["targets"])
        body = {"data": [None], "fn_index": event, "session_hash": "visitor"}
        http.post("/gradio_api/queue/join", json=body).raise_for_status()


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGTERM, 128 + signal.SIGTERM),
        pytest.param(signal.SIGHUP, 128 + signal.SIGHUP, marks=pytest.mark.slow),
        # The usual end.
        pytest.param(signal.SIGINT, 0, marks=pytest.mark.slow),
    ],
)
def test_nothing_is_left_when_it_is_asked_to_end(run: Path, tmp_path: Path, number: int, status: int) -> None:
    pytest.importorskip("gradio")
    process, address = begin(run, tmp_path)
    try:
        httpx.post(f"{address}{UPLOAD}", files={"files": ("a.csv", b"a\n1\n")}).raise_for_status()
        try_the_example(address)
        wait_for(lambda: len(list(tmp_path.glob(f"{PREFIX}*/copies/**/*.sqlite"))) == 1, process)
        assert len(list(tmp_path.glob(f"{PREFIX}*/uploads/**/a.csv"))) == 1
        process.send_signal(number)
        assert process.wait(30) == status
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.glob(f"{PREFIX}*")) == []


class Attacker(BaseHTTPRequestHandler):
    """A page that tries to use the demo which its visitor runs."""

    script = ""

    def do_GET(self) -> None:
        page = f"<!doctype html><title>…</title><script>{self.script}</script>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def attacker(address: str) -> Iterator[str]:
    """Address of the page: another site's, which sends files to the demo in every way that needs no leave."""
    Attacker.script = f"""
        const form = () => {{ const f = new FormData();
            f.append("files", new File(["x".repeat(1e6)], "evil.csv")); return f; }};
        const tries = [
            fetch("{address}gradio_api/upload", {{method: "POST", mode: "no-cors", body: form()}}),
            fetch("{address}gradio_api/upload", {{method: "POST", body: form()}}),
            fetch("http://localhost:" + new URL("{address}").port + "/gradio_api/upload",
                  {{method: "POST", mode: "no-cors", body: form()}}),
            fetch("{address}config")];
        Promise.allSettled(tries).then((all) => document.title =
            "done " + all.filter((one) => one.status === "fulfilled" && one.value.ok).length);
    """
    with ThreadingHTTPServer(("127.0.0.1", 0), Attacker) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://page.example:{web.server_port}"
        web.shutdown()


@pytest.mark.slow
def test_a_real_browser_is_no_way_in(browser: Any, attacker: str, address: str, storage: Storage) -> None:
    """From another site's page, and from one whose name comes to mean this machine after it was loaded."""
    before = files(storage)
    page = browser.new_page()
    page.goto(attacker)
    page.wait_for_function("document.title.startsWith('done')", timeout=20_000)
    assert page.title() == "done 0"
    # Same-origin with what the name means now: the browser itself holds nothing back.
    rebound = f"http://rebound.example:{httpx.URL(address).port}"
    assert page.goto(rebound).status == 421
    sent = page.evaluate(
        """async () => {
            const form = new FormData();
            form.append("files", new File(["x".repeat(1e6)], "evil.csv"));
            const all = [await fetch("/gradio_api/upload", {method: "POST", body: form}), await fetch("/config")];
            return all.map((answer) => answer.status);
        }"""
    )
    assert sent == [421, 421]
    page.close()
    assert files(storage) == before
