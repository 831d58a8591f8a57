"""The data directory: of an earlier version, copied in use, on a slow disk, after a kill, with another clock."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import sqlite3
import stat
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tinker
from tinker import types

from backends.checkpoint_paths import CheckpointPath
from backends.interface import BackendError
from backends.server import checkpoint_registry, database
from backends.server.database import VERSION, Database
from backends.server.tables import Checkpoint
from tests.support.datums import random_datums
from tests.support.running import KEY, Running
from tests.support.wire import Wire

# Made by a server of version 1 of the tables, which was killed: a model of two steps, saved in every way.
VERSION_1 = Path(__file__).with_name("data") / "version-1.tar.xz"
LOSS = 152.71414184570312
DATA = random_datums(4, 600)
CREATE_SESSION = {"tags": [], "sdk_version": "0.38.0", "user_metadata": {}}


@pytest.fixture
def old(tmp_path: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The old data directory; its model was served from a relative path."""
    with tarfile.open(VERSION_1) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "tiny-model").symlink_to(tiny_model)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def version_of(file: Path) -> int:
    with closing(sqlite3.connect(file)) as opened:
        return int(opened.execute("PRAGMA user_version").fetchone()[0])


def test_a_data_directory_of_an_earlier_version(start_server: Callable[..., Running], old: Path) -> None:
    server = start_server(old, base_models={"tiny": "tiny-model"})
    with server.http() as http:
        listed = http.get("/api/v1/checkpoints").json()["checkpoints"]
        assert sorted(c["checkpoint_id"] for c in listed) == [
            "external_weights/files", "sampler_weights/sampler", "weights/state"]  # fmt: skip
        (state,) = (c for c in listed if c["checkpoint_type"] == "training")
        assert state["public"] and state["user_metadata"] == {"step": "2"} and not any(c["missing"] for c in listed)
    service = server.client()
    resumed = service.create_training_client_from_state_with_optimizer(state["tinker_path"]).result()
    assert resumed.forward(DATA, "cross_entropy").result().metrics["loss:sum"] == pytest.approx(LOSS, rel=1e-4)
    resumed.forward_backward(DATA, "cross_entropy")
    resumed.optim_step(types.AdamParams(learning_rate=1e-2)).result()
    path = resumed.save_state("on").result().path
    tinker.RestClient(base_url=server.url, api_key=KEY).delete_checkpoint_from_tinker_path(path).result()
    service.close("success").result()
    server.stop()
    assert version_of(old / "server.sqlite") == VERSION
    kept = old / "server.version-1.sqlite"
    assert version_of(kept) == 1 and stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_every_version_is_reached_from_every_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shape(file: Path) -> list[Any]:
        with closing(sqlite3.connect(file)) as opened:
            tables = [name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return [(name, opened.execute(f"PRAGMA table_info({name})").fetchall()) for name in sorted(tables)]

    Database(tmp_path / "new.sqlite").close()
    for earlier in range(1, VERSION):
        file = tmp_path / f"from-{earlier}.sqlite"
        with monkeypatch.context() as patch:
            patch.setattr(database, "MIGRATIONS", database.MIGRATIONS[:earlier])
            patch.setattr(database, "VERSION", earlier)
            Database(file).close()
        Database(file).close()
        assert version_of(file) == VERSION and shape(file) == shape(tmp_path / "new.sqlite")


def test_a_newer_version_is_refused_with_the_way_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "server.sqlite"
    Database(file).close()
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, "ALTER TABLE runs ADD COLUMN more TEXT;"))
        patch.setattr(database, "VERSION", VERSION + 1)
        Database(file).close()
    before = file.read_bytes()
    with pytest.raises(
        BackendError, match=rf"is of version {VERSION + 1}.*server\.version-{VERSION}\.sqlite is a copy"
    ):
        Database(file)
    assert file.read_bytes() == before


def test_it_can_be_copied_while_it_is_in_use(
    start_server: Callable[..., Running], tmp_path: Path, tiny_model: str
) -> None:
    """As docs/server.md says: the database first, then the files, by programs that know nothing of the server."""
    server = start_server(tmp_path / "data")
    stop = threading.Event()
    acknowledged: list[str] = []

    def work() -> None:
        with server.http() as http:
            wire = Wire(http)
            wire.result(wire.create())
            for number in range(1, 10_000):
                if stop.is_set():
                    return
                saved = wire.post("save_weights", {"model_id": wire.model, "seq_id": number, "path": f"w{number}"})
                acknowledged.append(wire.result(saved)["path"])

    worker = threading.Thread(target=work)
    worker.start()
    while len(acknowledged) < 3:
        time.sleep(0.01)
    before, copy = list(acknowledged), tmp_path / "copy"
    copy.mkdir()
    original = sqlite3.connect(server.settings.data / "server.sqlite")
    with closing(original), closing(sqlite3.connect(copy / "server.sqlite")) as target:
        original.backup(target)
    # Names that begin with a dot are being written, and are gone or renamed a moment later.
    shutil.copytree(server.settings.data / "checkpoints", copy / "checkpoints", ignore=shutil.ignore_patterns(".*"))
    stop.set()
    worker.join()
    restored = start_server(copy)
    with restored.http() as http:
        listed = {c["tinker_path"]: c["missing"] for c in http.get("/api/v1/checkpoints").json()["checkpoints"]}
        assert set(before) <= set(listed) and not any(listed.values())
    service = restored.client()
    for path in before:
        service.create_training_client_from_state_with_optimizer(path).result()
    service.close("success").result()


@contextmanager
def slow_disk(server: Running) -> Iterator[None]:
    """A change of the database is on its way to the disk, and takes as long as the block."""
    begun, release = threading.Event(), threading.Event()

    def write() -> None:
        with server.state.database._writing():
            begun.set()
            assert release.wait(60)

    writer = threading.Thread(target=write)
    writer.start()
    assert begun.wait(10)
    yield
    release.set()
    writer.join()


def test_a_slow_disk_holds_up_nothing_but_what_is_written(server: Running) -> None:
    with server.http() as http:
        wire = Wire(http)
        wire.result(wire.create())
        sampler = {"session_id": wire.session, "sampling_session_seq_id": 0, "base_model": "tiny"}
        name = wire.post("create_sampling_session", sampler).json()["sampling_session_id"]
        prompt = {"chunks": [{"tokens": [5, 6, 7], "type": "encoded_text"}]}
        body = {"sampling_session_id": name, "seq_id": 1, "num_samples": 1, "prompt": prompt}
        opened: list[int] = []
        with slow_disk(server):
            opening = threading.Thread(
                target=lambda: opened.append(wire.post("create_session", CREATE_SESSION).status_code)
            )
            opening.start()
            for _ in range(3):
                assert http.get("/healthz").status_code == 200
                assert wire.post("session_heartbeat", {"session_id": wire.session}).status_code == 200
                assert http.get("/api/v1/checkpoints").status_code == 200
            sampled = wire.post("asample", {**body, "sampling_params": {"max_tokens": 3}}).json()["request_id"]
            while (answer := wire.poll(sampled)).status_code == 408:
                pass
            assert answer.headers["content-type"] == "application/x-protobuf"
            assert opening.is_alive() and not opened
        opening.join()
    assert opened == [200]


def test_writes_are_carried_out_in_their_order_and_off_the_event_loop(server: Running) -> None:
    threads, order = set(), []

    def write(number: int) -> int:
        threads.add(threading.get_ident())
        order.append(number)
        return number

    async def ask() -> list[int]:
        threads.add(threading.get_ident())
        return await asyncio.gather(*(server.state.recorded(write, number) for number in range(20)))

    assert asyncio.run(ask()) == order == list(range(20)) and len(threads) == 2


def files_of(data: Path) -> set[str]:
    return {str(directory.relative_to(data / "checkpoints")) for directory in (data / "checkpoints").glob("*/*/*")}


def test_a_kill_leaves_no_files_without_a_record(start_server: Callable[..., Running], tmp_path: Path) -> None:
    """Of a save: between its files and its record. Of a deletion: between its record and its files."""
    first = start_server(tmp_path)
    with first.http() as http:
        wire = Wire(http)
        wire.result(wire.create())
        paths = [
            wire.result(wire.post("save_weights", {"model_id": wire.model, "seq_id": seq, "path": f"w{seq}"}))["path"]
            for seq in (1, 2, 3)
        ]
    first.stop()
    records = Database(tmp_path / "server.sqlite")
    records.execute("UPDATE checkpoints SET size = 0 WHERE path = ?", paths[0])
    records.execute("UPDATE checkpoints SET deleted = 1 WHERE path = ?", paths[1])
    records.close()
    second = start_server(tmp_path)
    with second.http() as http:
        assert [c["tinker_path"] for c in http.get("/api/v1/checkpoints").json()["checkpoints"]] == paths[2:]
    second.stop()
    assert {name.rpartition("/")[2] for name in files_of(tmp_path)} == {"w3"}


def test_a_deletion_is_finished_although_the_disk_was_full(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, records = server.state.checkpoints, server.state.database
    with server.http() as http:
        wire = Wire(http)
        wire.result(wire.create())
        saved = wire.post("save_weights", {"model_id": wire.model, "seq_id": 1, "path": "w"})
        path = wire.result(saved)["path"]
    execute = records.execute

    def full(statement: str, *values: Any) -> int:
        if statement.startswith("DELETE FROM checkpoints"):
            raise database.DiskFull(server.settings.data)
        return execute(statement, *values)

    with monkeypatch.context() as patch:
        patch.setattr(records, "execute", full)
        records.execute("UPDATE checkpoints SET deleted = 1 WHERE path = ?", path)
        registry._delete_files(path)
        assert registry.own(path, "local") is None
        assert records.find(Checkpoint, "path = ?", path) is not None
    server.state.tidy()
    deadline = time.monotonic() + 20
    while records.find(Checkpoint, "path = ?", path) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_newest_is_the_newest_though_the_clock_was_set_back(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, hours = time.time(), itertools.count()
    set_back = SimpleNamespace(time=lambda: now - 3600 * next(hours))
    monkeypatch.setattr(checkpoint_registry, "time", set_back)
    registry = server.state.checkpoints
    with server.http() as http:
        wire = Wire(http)
        wire.result(wire.create())
        for seq in (1, 2, 3):
            body = {"model_id": wire.model, "seq_id": seq, "sampling_session_seq_id": seq}
            wire.result(wire.post("save_weights_for_sampler", body))
        for seq in (4, 5):
            wire.result(wire.post("save_weights", {"model_id": wire.model, "seq_id": seq, "path": f"w{seq}"}))
    latest = registry.latest(wire.model, "training")
    assert latest is not None and latest.path == str(CheckpointPath(wire.model, "training", "w5"))
    registry.delete_snapshots(wire.session, keep=1)
    (kept,) = server.state.database.select(Checkpoint, "snapshot AND NOT deleted AND run = ?", wire.model)
    assert kept.path.endswith("snapshot-3")


def test_the_directory_is_held_by_a_lock_that_dies_with_its_process(tmp_path: Path) -> None:
    held = Database(tmp_path / "server.sqlite")
    with pytest.raises(BackendError, match="Another server is using this directory"):
        Database(tmp_path / "server.sqlite")
    held.close()
    Database(tmp_path / "server.sqlite").close()
    opened = [path for path in Path("/proc/self/fd").iterdir() if path.exists()]
    assert not [path for path in opened if str(path.readlink()).startswith(str(tmp_path))]
