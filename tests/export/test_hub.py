"""Pushing to the Hub, against an HTTP server that records what it is asked."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_runs import tiny_config
from text2sql.errors import UserError
from text2sql.export import ExportOptions, export_run, hub
from text2sql.pipeline.run import run_pipeline


class Hub(HTTPServer):
    """Answers as the Hub does to a token of `ada`, who belongs to `team`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.calls: list[tuple[str, str, Any]] = []
        self.authorization: set[str | None] = set()
        self.refuse: dict[str, int] = {}

    def files(self) -> dict[str, bytes]:
        """What was committed."""
        found = {}
        for _, path, body in self.calls:
            if "/commit/" in path:
                for line in body.decode().splitlines():
                    entry = json.loads(line)
                    if entry["key"] == "file":
                        found[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        return found


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.calls.append((self.command, self.path, body))
        # The requests that write.
        if (self.command == "POST" and "repos" in self.path) or "commit" in self.path:
            self.server.authorization.add(self.headers.get("Authorization"))
        where = f"http://127.0.0.1:{self.server.server_port}/ada/sql"
        status = next((code for part, code in self.server.refuse.items() if part in self.path), 200)
        payload: dict[str, Any] = {"error": "you may not"} if status != 200 else {}
        if status == 200 and "whoami" in self.path:
            payload = {"name": "ada", "orgs": [{"name": "team"}]}
        elif status == 200 and "repos/create" in self.path:
            payload = {"url": where}
        elif status == 200 and "preupload" in self.path:
            files = json.loads(body)["files"]
            payload = {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        elif status == 200 and "/commit/" in self.path:
            payload = {"commitUrl": f"{where}/commit/{'0' * 40}", "commitOid": "0" * 40, "pullRequestUrl": None}
        text = json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = _answer

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub on this machine, which the library takes for the real one; the token is in the environment."""
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield server
        server.shutdown()
        thread.join()


def test_an_adapter_is_pushed_with_its_card(
    run: Path, served: Hub, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    target = export_run(run, ExportOptions(push_to="ada/sql"))
    files = served.files()
    assert files.keys() == {path.name for path in target.iterdir()}
    assert files["README.md"].startswith(b"---\n") and b"# ada/sql" in files["README.md"]
    assert files["adapter_model.safetensors"] == (target / "adapter_model.safetensors").read_bytes()
    created = next(json.loads(body) for _, path, body in served.calls if "repos/create" in path)
    assert (created["name"], created["organization"]) == ("sql", "ada")
    assert created.get("private") or created.get("visibility") == "private"
    assert served.authorization == {"Bearer hf_secret"}
    assert not any(b"hf_secret" in content for content in files.values())
    assert "hf_secret" not in "".join([*capfd.readouterr(), caplog.text])
    assert not any("hf_secret" in file.read_text(errors="replace") for file in run.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("sql", "needs an owner"),
        ("ada/s q l", "is not a name of a repository"),
        ("ada/../sql", "is not a name of a repository"),
        ("bob/sql", r'cannot write to "bob". Push to one of ada, team'),
    ],
)
def test_a_wrong_name_is_told_before_anything_is_done(run: Path, served: Hub, name: str, what: str) -> None:
    with pytest.raises(UserError, match=what):
        export_run(run, ExportOptions(push_to=name))
    assert not (run / "export").exists()
    assert all("whoami" in path for _, path, _ in served.calls)


def test_without_a_token(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match=r"there is no token\. Set HF_TOKEN"):
        export_run(run, ExportOptions(push_to="ada/sql"))


def test_a_hub_that_refuses_or_is_not_there(
    run: Path, served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.refuse = {"whoami": 401}
    with pytest.raises(UserError, match=r"answered 401 .*HF_TOKEN"):
        hub.check("ada/sql")
    served.refuse = {"repos/create": 403, "api/models": 404}
    with pytest.raises(UserError, match=r"answered 403 .*the export is kept in"):
        export_run(run, ExportOptions(push_to="ada/sql"))
    assert (run / "export" / "adapter" / "README.md").is_file()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="cannot be reached"):
        hub.check("ada/sql")


def test_a_run_pushes_at_its_end(tmp_path: Path, tiny_model: str, served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(
        tmp_path,
        backend="local",
        base_model=tiny_model,
        lora={"rank": 4},
        local={"device": "cpu"},
        training={"max_steps": 1},
        hub={"push_to": "team/sql", "format": "merged", "private": False},
    )
    # Nothing is evaluated.
    monkeypatch.setattr("text2sql.evaluation.score.work_on_pairs", None)
    monkeypatch.setattr("text2sql.inference.strategies.score_pairs", None)
    run_pipeline(config, stages=("train",))
    assert {"README.md", "model.safetensors", "generation_config.json"} <= served.files().keys()
    assert "whoami" in served.calls[0][1]
    with pytest.raises(UserError, match="cannot write to"):
        run_pipeline(config.model_copy(update={"hub": config.hub.model_copy(update={"push_to": "bob/sql"})}))
