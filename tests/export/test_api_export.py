"""The adapter of a remote run, exported by the API."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backends import BackendError
from backends.exporting import download_adapter


class FakeTinker:
    """The calls by which the Tinker API exports a checkpoint; its files are served from a directory."""

    def __init__(self, urls: dict[str, str]) -> None:
        from datetime import UTC, datetime, timedelta

        self.calls: list[tuple[Any, ...]] = []
        self._signed = SimpleNamespace(urls=urls, expires=datetime.now(UTC) + timedelta(hours=1))

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append((name, *arguments))
            answers = {"save_weights_external": SimpleNamespace(path="tinker://r/external_weights/export")}
            answer = {"get_external_weights_urls": self._signed, **answers}.get(name, self)
            return self if name == "create_rest_client" else SimpleNamespace(result=lambda: answer)

        return call


@pytest.fixture
def file_server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A directory, and the address that its files are served at."""
    directory = tmp_path / "source"
    directory.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(directory)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield directory, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_api_exports_and_forgets_its_export(tmp_path: Path, file_server: tuple[Path, str]) -> None:
    source, address = file_server
    target = tmp_path / "target"
    target.mkdir()
    (source / "adapter_config.json").write_text("{}")
    service = FakeTinker({"adapter_config.json": f"{address}/adapter_config.json"})
    download_adapter(service, "tinker://r/weights/step-1", target)
    assert (target / "adapter_config.json").read_text() == "{}"
    assert service.calls[0] == ("create_training_client_from_state", "tinker://r/weights/step-1")
    assert service.calls[-1] == ("delete_checkpoint_from_tinker_path", "tinker://r/external_weights/export")
    for name, what in (("../evil", "outside itself"), ("gone", "failed")):
        service = FakeTinker({name: f"{address}/gone"})
        with pytest.raises(BackendError, match=what):
            download_adapter(service, "tinker://r/weights/step-1", target)
        assert service.calls[-1][0] == "delete_checkpoint_from_tinker_path"
