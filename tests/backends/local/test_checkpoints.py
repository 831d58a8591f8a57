"""Checkpoints on disk: refused when wrong, and nothing lost when writing fails."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tinker import types

from backends import BackendError
from backends.local.checkpoints.files import check_weights
from backends.local.checkpoints.store import CheckpointStore
from tests.support.datums import random_datums


@pytest.fixture
def service(open_local: Any) -> Any:
    return open_local()


@pytest.fixture
def client(service: Any, tiny_model: str) -> Any:
    client = service.create_lora_training_client(tiny_model, rank=4, seed=0).result()
    client.forward_backward(random_datums(4, 600), "cross_entropy")
    client.optim_step(types.AdamParams()).result()
    return client


def restore(service: Any, path: str, **arguments: Any) -> Any:
    return service.create_training_client_from_state_with_optimizer(path, **arguments).result()


def test_paths_have_tinkers_form(client: Any) -> None:
    for path, kind in (
        (client.save_state("a").result().path, "training"),
        (client.save_weights_for_sampler("a").result().path, "sampler"),
    ):
        parsed = types.ParsedCheckpointTinkerPath.from_tinker_path(path)
        assert (parsed.training_run_id, parsed.checkpoint_type) == (client.model_id, kind)


def test_weights_that_are_no_model_s_are_not_saved(client: Any) -> None:
    client.save_state("before").result()
    client.forward_backward(random_datums(4, 600), "cross_entropy")
    client.optim_step(types.AdamParams(learning_rate=1e9)).result()
    for save in (client.save_state, client.save_weights_for_sampler):
        with pytest.raises(ValueError, match=r"not finite since optimiser step 2, or beyond 6.5e\+06.*learning rate"):
            save("after").result()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e7])
def test_one_absurd_weight_is_enough(value: float) -> None:
    weights = {
        "fine": torch.ones(3, dtype=torch.bfloat16),
        "none": torch.ones(0),
        "ids": torch.ones(2, dtype=torch.int),
    }
    check_weights(weights)
    weights["broken"] = torch.tensor([[1.0, 2.0], [value, 3.0]])
    with pytest.raises(BackendError, match="broken goes from"):
        check_weights(weights)


def test_what_a_kill_leaves_of_a_new_time_to_live_is_cleared_away(service: Any, client: Any) -> None:
    path = client.save_state("a").result().path
    store = service.store
    left = store.locate(path) / ".checkpoint.json.0123abcd.partial"
    left.write_text("{")
    CheckpointStore(store.root)
    assert left.exists(), "another process may be writing it"
    os.utime(left, (0, 0))
    CheckpointStore(store.root)
    # The files of the checkpoint were made today.
    assert not left.exists() and restore(service, path)


def test_a_kill_while_a_checkpoint_is_deleted_leaves_nothing(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, root = client.save_state("a").result().path, tmp_path / "checkpoints"
    store = CheckpointStore(root)
    (stored,) = store.entries()
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *arguments, **more: None)
        store.delete(path)
    assert store.entries() == [] and list(root.rglob("optimizer.safetensors"))
    CheckpointStore(root)
    assert not list(root.rglob("*.safetensors"))
    # What an older version left: a part under the checkpoint's own name.
    stored.directory.mkdir()
    (stored.directory / "optimizer.safetensors").touch()
    CheckpointStore(root)
    assert not stored.directory.exists()


def test_a_name_is_not_overwritten_unasked(service: Any, client: Any) -> None:
    path = client.save_state("a").result().path
    with pytest.raises(ValueError, match="exists already"):
        client.save_state("a").result()
    assert client.save_state("a", overwrite=True).result().path == path
    assert restore(service, path)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b"])
def test_names_that_are_paths_are_refused(client: Any, name: str) -> None:
    with pytest.raises(ValueError, match="Checkpoint name"):
        client.save_state(name).result()


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "optimizer.safetensors", "adapter_config.json"])
def test_a_flipped_byte_is_noticed(service: Any, client: Any, file: str) -> None:
    path = client.save_state("a").result().path
    target = service.store.locate(path) / file
    content = bytearray(target.read_bytes())
    content[len(content) // 2] ^= 1
    target.write_bytes(content)
    with pytest.raises(BackendError, match="damaged: " + re.escape(file)):
        restore(service, path)


def test_a_missing_file_is_noticed(service: Any, client: Any) -> None:
    path = client.save_state("a").result().path
    (service.store.locate(path) / "optimizer.safetensors").unlink()
    with pytest.raises(BackendError, match=r"cannot be read.*optimizer\.safetensors"):
        restore(service, path)


def test_foreign_json_is_noticed(service: Any, client: Any) -> None:
    path = client.save_state("a").result().path
    about = service.store.locate(path) / "checkpoint.json"
    for content in ("{", "[]", json.dumps({"format": 99}), json.dumps({"format": 1})):
        about.write_text(content)
        with pytest.raises(BackendError, match=r"damaged|format"):
            restore(service, path)


def test_sampler_weights_cannot_be_continued(service: Any, client: Any) -> None:
    path = client.save_weights_for_sampler("a").result().path
    with pytest.raises(BackendError, match="no optimiser state"):
        restore(service, path)
    assert service.create_sampling_client(model_path=path).result()


def test_another_base_model_is_refused(service: Any, client: Any) -> None:
    path = client.save_state("a").result().path
    with pytest.raises(BackendError, match="was trained on"):
        restore(service, path, base_model="another/model")


def test_absent_and_malformed_paths(service: Any) -> None:
    with pytest.raises(BackendError, match="no checkpoint"):
        restore(service, "tinker://x:train:0/weights/a")
    for path in ("tinker://x", "tinker://../weights/a", "tinker://x/weights/.."):
        with pytest.raises(ValueError, match="Invalid"):
            restore(service, path)
    with pytest.raises(ValueError, match="must start with"):
        service.create_sampling_client(model_path="/etc/passwd")
    with pytest.raises(ValueError, match="must be given"):
        service.create_sampling_client()


def test_a_full_disk_leaves_the_old_checkpoint(
    service: Any, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = client.save_state("a").result().path

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BackendError, match="No space left"):
        client.save_state("a", overwrite=True).result()
    with pytest.raises(BackendError, match="No space left"):
        client.save_state("b").result()
    monkeypatch.undo()
    assert restore(service, path)
    assert [entry.name for entry in service.store.locate(path).parent.iterdir()] == ["a"]


def test_deleting(service: Any, client: Any) -> None:
    path = client.save_state("a").result().path
    rest = service.create_rest_client()
    rest.delete_checkpoint_from_tinker_path(path).result()
    with pytest.raises(BackendError, match="no checkpoint"):
        rest.delete_checkpoint_from_tinker_path(path).result()
