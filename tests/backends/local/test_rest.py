"""Housekeeping: listing, expiry, copying, deleting; and what a kill or a full disk leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tinker import types

from backends import BackendError
from backends.local.checkpoints import store
from backends.local.checkpoints.store import CheckpointStore
from tests.support.datums import random_datums


@pytest.fixture
def service(open_local: Any) -> Any:
    return open_local()


@pytest.fixture
def client(service: Any, tiny_model: str) -> Any:
    return service.create_lora_training_client(tiny_model, rank=4, seed=0, user_metadata={"purpose": "test"}).result()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Moves the store's time forward by a number of seconds."""

    def forward(seconds: float) -> None:
        moment = datetime.now(UTC) + timedelta(seconds=seconds)
        monkeypatch.setattr(store, "_now", lambda: moment)

    return forward


def test_listing(service: Any, client: Any, tiny_model: str) -> None:
    rest = service.create_rest_client()
    assert rest.list_user_checkpoints().result().checkpoints == []
    state = client.save_state("a", user_metadata={"step": "1"}).result().path
    weights = client.save_weights_for_sampler("a").result().path
    found = {c.tinker_path: c for c in rest.list_checkpoints(client.model_id).result().checkpoints}
    assert set(found) == {state, weights}
    assert found[state].user_metadata == {"step": "1"}
    assert (found[state].checkpoint_id, found[weights].checkpoint_type) == ("weights/a", "sampler")
    assert found[state].size_bytes == sum(f.stat().st_size for f in service.store.locate(state).iterdir())
    page = rest.list_user_checkpoints(limit=1, offset=1).result()
    assert (len(page.checkpoints), page.cursor.total_count) == (1, 2)
    run = rest.get_training_run_by_tinker_path(state).result()
    assert (run.base_model, run.lora_rank, run.user_metadata) == (tiny_model, 4, {"purpose": "test"})
    assert (run.last_checkpoint.tinker_path, run.last_sampler_checkpoint.tinker_path) == (state, weights)
    assert [r.training_run_id for r in rest.list_training_runs().result().training_runs] == [client.model_id]
    assert rest.get_session(service.session_id).result().training_run_ids == [client.model_id]
    assert rest.list_sessions().result().sessions == [service.session_id]
    assert rest.get_weights_info_by_tinker_path(weights).result().train_unembed is True
    usage = rest.get_current_checkpoint_storage_usage().result().data[0]
    assert (usage.checkpoint_count, usage.size_bytes) == (2, sum(c.size_bytes for c in found.values()))
    rest.delete_checkpoint(client.model_id, "weights/a").result()
    assert [c.tinker_path for c in rest.list_user_checkpoints().result().checkpoints] == [weights]


def test_what_is_not_there_and_what_makes_no_sense(service: Any) -> None:
    rest = service.create_rest_client()
    for call in (
        rest.get_training_run("x:train:0"),
        rest.get_session("x"),
        rest.publish_checkpoint_from_tinker_path("tinker://x:train:0/weights/a"),
        rest.get_billing_usage("2026-01-01", "2026-02-01"),
        rest.whoami(),
    ):
        with pytest.raises(BackendError, match=r"There is no|not available on the local backend"):
            call.result()


def test_expiry(service: Any, client: Any, clock: Any) -> None:
    short = client.save_state("short", ttl_seconds=3600).result().path
    long = client.save_state("long", ttl_seconds=7200).result().path
    ever = client.save_state("ever").result().path
    rest = service.create_rest_client()
    clock(3700)
    with pytest.raises(BackendError, match="expired at"):
        service.create_training_client_from_state(short).result()
    assert not service.store.locate(short).exists()
    assert {c.tinker_path for c in rest.list_user_checkpoints().result().checkpoints} == {long, ever}
    rest.set_checkpoint_ttl_from_tinker_path(ever, 3600).result()
    rest.set_checkpoint_ttl_from_tinker_path(long, None).result()
    # Its checksums still hold.
    assert service.create_training_client_from_state_with_optimizer(long).result()
    clock(3 * 3600)
    # Opening cleans.
    CheckpointStore(service.store.root)
    assert service.store.locate(long).exists()
    assert not service.store.locate(ever).exists()


@pytest.mark.parametrize("seconds", [0, 3599, 10**9])
def test_expiry_out_of_range(client: Any, seconds: int) -> None:
    with pytest.raises(ValueError, match="ttl_seconds"):
        client.save_state("a", ttl_seconds=seconds).result()


def test_copies_are_of_their_own(service: Any, client: Any) -> None:
    path = client.save_state("a", ttl_seconds=3600).result().path
    copy = service.copy_weights(path).result()
    service.create_rest_client().delete_checkpoint_from_tinker_path(path).result()
    assert service.store.get(copy).expires_at is None
    assert service.create_training_client_from_state_with_optimizer(copy).result()


def test_checkpoints_of_older_versions_are_listed(service: Any, client: Any) -> None:
    path = client.save_state("a").result().path
    about = service.store.locate(path) / "checkpoint.json"
    kept = {k: v for k, v in json.loads(about.read_text()).items() if k not in ("tinker_path", "expires_at")}
    about.write_text(json.dumps(kept))
    assert [stored.path for stored in service.store.entries()] == [path]


HOLD = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("held", flush=True)
input()
"""


def test_leftovers_of_dead_processes_are_cleared(service: Any, client: Any) -> None:
    """Those of a process with this one's number too, as all have it in a container."""
    path = client.save_state("a").result().path
    kept = service.store.locate(path)
    mine = f"{store._host()}~{os.getpid()}"
    half, alive = kept.with_name(f".b~{mine}~xyz"), kept.with_name(f".c~{mine}~xyz")
    half.mkdir()
    alive.mkdir()
    # A kill between the two renames of an overwrite.
    caught = kept.with_name(f".a~{mine}~replaced")
    kept.rename(caught)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(alive)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline()
    CheckpointStore(service.store.root)
    assert not half.exists()
    assert not caught.exists()
    assert alive.exists()
    holder.kill()
    holder.wait()
    CheckpointStore(service.store.root)
    assert not alive.exists()
    assert service.create_training_client_from_state_with_optimizer(path).result()


CAUGHT = """
import os, sys
from pathlib import Path
from backends.local.checkpoints.store import CheckpointStore
assert os.getpid() == 1
store, target = CheckpointStore(Path(sys.argv[1])), Path(sys.argv[2])
if "overwrite" in sys.argv:
    rename = Path.rename
    Path.rename = lambda self, to: os._exit(9) if to == target else rename(self, to)
    store._write_directory(target, lambda aside: (aside / "new").write_text("x"))
print(*sorted(entry.name for entry in target.parent.iterdir()))
"""
NAMESPACE = ["unshare", "--user", "--pid", "--fork", "--mount-proc"]


def test_in_a_container_every_process_has_the_same_number(service: Any, client: Any) -> None:
    """Process 1 is killed between the two renames of an overwrite; the next process 1 puts the checkpoint back."""
    if shutil.which("unshare") is None or subprocess.run([*NAMESPACE, "true"], check=False).returncode:
        pytest.skip("no PID namespaces here")
    path = client.save_state("a").result().path
    command = [*NAMESPACE, sys.executable, "-c", CAUGHT, str(service.store.root), str(service.store.locate(path))]
    assert subprocess.run([*command, "overwrite"], check=False).returncode == 9
    assert not service.store.locate(path).exists()
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["a"]
    assert service.create_training_client_from_state_with_optimizer(path).result()


FILL = """
import sys
from pathlib import Path
from tests.support.datums import random_datums
from tinker import types
from backends import BackendError, open_backend
from backends.options import LocalOptions
service = open_backend("local", LocalOptions(device="cpu"), checkpoints=Path(sys.argv[1]))
client = service.create_lora_training_client(sys.argv[2], rank=4, seed=0).result()
client.forward_backward(random_datums(4, 600), "cross_entropy")
client.optim_step(types.AdamParams()).result()
path = client.save_state("a").result().path
for name, overwrite in (("a", True), ("b", False)):
    try:
        client.save_state(name, overwrite=overwrite).result()
    except BackendError as error:
        assert "earlier checkpoints are untouched" in str(error), error
        print("refused:", error)
service.create_training_client_from_state_with_optimizer(path).result()
assert [entry.name for entry in service.store.locate(path).parent.iterdir()] == ["a"]
service.close()
"""


def test_a_disk_that_is_really_full(tiny_model: str, tmp_path: Path, service: Any, client: Any) -> None:
    """A separate file system that holds one checkpoint and a half."""
    client.forward_backward(random_datums(4, 600), "cross_entropy")
    client.optim_step(types.AdamParams()).result()
    stored = service.store.get(client.save_state("size").result().path).describe()
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size={int(1.5 * stored.size_bytes)} none {disk}"
    if (
        not shutil.which("unshare")
        or subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode
    ):
        pytest.skip("this system does not let us mount a file system")
    program = [sys.executable, "-c", FILL, str(disk), tiny_model]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh", *program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("refused: Writing the checkpoint") == 2
    assert "No space left" in done.stdout
