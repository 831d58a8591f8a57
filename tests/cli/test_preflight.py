"""A refusal comes before the libraries that take seconds to load, and before data: imports are counted, not seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch

from tests.support.tiny_runs import tiny_values
from text2sql.config.yaml import dump_yaml

# What none of these mistakes needs.
HEAVY = ("torch", "transformers", "tinker", "datasets", "peft", "accelerate", "scipy", "matplotlib")
# One process for all commands: what one of them loads is counted for it alone.
PROGRAM = f"""
import contextlib, io, json, os, sys
from text2sql.cli import main
for arguments, variables in json.load(sys.stdin):
    before = {{name for name in {HEAVY} if name in sys.modules}}
    os.environ.update(variables)
    sys.argv = ["text2sql", *arguments]
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
            status = 0
        except SystemExit as stop:
            status = stop.code
    loaded = [name for name in {HEAVY} if name in sys.modules and name not in before]
    print(json.dumps([status, loaded, said.getvalue()]))
    for name in variables:
        del os.environ[name]
"""
MISTAKES = {
    "run nosuch": "There is no configuration file nosuch",
    "run quickstart training.lr=3": 'unknown key "training.lr"',
    "run quickstart training.epochs=x": "training.epochs",
    "run quickstart data.source=nosuch.jsonl": "there is no file nosuch.jsonl",
    "run tiny.yaml --processes 2": "with backend=fake it is done elsewhere",
    "train quickstart data.source=sql-create-context data.path=nosuch.json": "there is no file nosuch.json",
    "run quickstart output_dir=file/run": "is a file",
    "run tiny.yaml output_dir=others": "has files in it, but no run",
    "run tiny.yaml output_dir=finished on_existing=fail": "Say what to do with on_existing=",
    "run quickstart base_model=/no/such/model": 'there is no directory "/no/such/model"',
    "run tiny.yaml backend=local base_model=others": 'base_model: "others" is a directory, but not of a model',
    "run tiny.yaml backend=local base_model=others local.device=gpu": 'local.device: "gpu" is not a device',
    "run tiny.yaml backend=local base_model=others local.device=cuda": "there is no such GPU (PyTorch",
    "run tiny.yaml training.start_from=nosuch": "training.start_from",
    "run tiny.yaml rl.reward.function=nosuch.py:f": "nosuch.py",
    "evaluate quickstart base_model=a/b/c": 'there is no directory "a/b/c"',
    "sweep quickstart seed=0,1 base_model=a/b/c": 'there is no directory "a/b/c"',
    "estimate quickstart data.source=nosuch.jsonl": "there is no file nosuch.jsonl",
    "estimate quickstart --device B200": '--device: "B200" is none of here, cpu, T4',
    "data stats quickstart data.source=nosuch.csv": "there is no file nosuch.csv",
    "data export nosuch": "There is no configuration file nosuch",
    "ask x --run nosuch --schema nosuch.sql": "--schema: nosuch.sql is neither CREATE TABLE statements nor a file",
    "ask x --run nosuch --schema schema.sql": "There is no run in nosuch",
    "ask x --run finished --schema schema.sql": "has no checkpoint yet",
    "demo nosuch": "There is no run in nosuch",
    "export nosuch": "There is no run in nosuch",
    "export finished --format gguf": "has no checkpoint yet; let it finish.",
    "download tinker://a/sampler_weights/b --output new": "needs an API key",
    "download nosuch": "There is no run in nosuch",
    "download finished": "has no checkpoint yet; let it finish.",
    "compare finished": "Name at least two runs",
    "report nosuch": "Nothing to report in nosuch",
    "report others": "Nothing to report in others",
    "evaluate runs/nosuch": "There is no run in runs/nosuch",
    "evaluate sheet.xlsx": "Save the sheet as CSV",
    "evaluate finished --output file": "has no predictions yet",
    "run finished": "is the directory of a run; its configuration is finished/config.yaml",
    "run tiny.yaml data.source=sheet.xlsx": "Save the sheet as CSV",
    "run tiny.yaml data.source=empty.csv": "empty.csv has no rows",
    "serve --base-model others --data file": "--data: file is a file",
    "serve --base-model others limits.resident_model=3": 'Did you mean "limits.resident_models"?',
    "serve --base-model others server.allowed_host=a": 'unknown key "server.allowed_host". Did you mean',
    "example shop --output file": "A file stands where one is to be made, or a directory (file).",
    "example shop --output file/deep": "A part of the path is a file (file/deep).",
    "evaluate nosuch.yaml": "There is no configuration file nosuch.yaml",
    "serve --base-model a/b/c": 'there is no directory "a/b/c"',
    "serve --base-model name=others": 'base_model: "others" is a directory, but not of a model',
    "serve --base-model others local.device=cuda": "there is no such GPU (PyTorch",
}
# With `backend=tinker`: what is set, and what is said.
REMOTE = {
    "no key": ({}, [], "needs an API key"),
    "a key that is none": ({"TINKER_API_KEY": "sk-1"}, [], "does not look like a Tinker key"),
    "a wrong key": ({"TINKER_API_KEY": "tml-wrong"}, [], "refuses this TINKER_API_KEY (401)"),
    "nobody there": ({}, ["tinker.base_url=http://127.0.0.1:9"], "cannot be reached"),
    "a model that is not offered": ({}, ["tinker.base_model=tinny"], 'does not offer "tinny". Nearest: tiny.'),
    "a directory that is taken": ({}, ["output_dir=finished", "on_existing=fail"], "Say what to do with on_existing="),
    "no tokenizer": ({}, ["tinker.tokenizer=others"], 'tinker.tokenizer: no tokenizer of "tiny" was found at others'),
    "no tokenizer anywhere": ({}, ["tinker.tokenizer=a/b"], "tinker.tokenizer: no tokenizer of"),
}


class _Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        allowed = self.headers["X-API-Key"] == "tml-right" or self.path.endswith("healthz")
        body = json.dumps({"supported_models": [{"model_name": "tiny"}]}).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a configuration whose data nobody can read, and what else the mistakes need."""
    directory = tmp_path_factory.mktemp("place")
    values: dict[str, Any] = tiny_values(directory)
    (directory / "malformed.jsonl").write_text("{\n")
    values["data"]["source"] = "malformed.jsonl"
    (directory / "tiny.yaml").write_text(dump_yaml(values))
    (directory / "file").touch()
    (directory / "empty.csv").touch()
    (directory / "sheet.xlsx").write_bytes(b"PK")
    (directory / "schema.sql").write_text("CREATE TABLE t (a INT)")
    for name in ("others", "finished"):
        (directory / name).mkdir()
        (directory / name / "note.txt").touch()
    (directory / "finished" / "config.yaml").write_text(dump_yaml(values))
    return directory


@pytest.fixture(scope="module")
def refusals(place: Path) -> Iterator[dict[str, tuple[int, list[str], str]]]:
    """Status, loaded libraries and message of every mistake."""
    with HTTPServer(("127.0.0.1", 0), _Server) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"tinker.base_url=http://127.0.0.1:{server.server_address[1]}"
        calls: dict[str, Any] = {command: (command.split(), {}) for command in MISTAKES}
        for name, (variables, overrides, _) in REMOTE.items():
            key = {} if name == "no key" else {"TINKER_API_KEY": "tml-right", **variables}
            calls[name] = (["run", "tiny.yaml", "backend=tinker", "tinker.base_model=tiny", url, *overrides], key)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("TINKER_")} | {"HOME": str(place)}
        result = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            input=json.dumps(list(calls.values())),
            capture_output=True,
            text=True,
            cwd=place,
            env=clean | {"HF_HUB_OFFLINE": "1"},
        )
        assert result.returncode == 0, result.stderr
        yield dict(zip(calls, map(json.loads, result.stdout.splitlines()), strict=True))
        server.shutdown()


@pytest.mark.parametrize(("command", "said"), MISTAKES.items())
def test_a_refusal_loads_nothing_heavy(refusals: dict[str, Any], command: str, said: str) -> None:
    if "device=cuda" in command and (torch.version.cuda or torch.version.hip):
        pytest.skip("this PyTorch may have a GPU")
    status, loaded, message = refusals[command]
    assert said in " ".join(message.split())
    assert (status, loaded) == (2, [])


@pytest.mark.parametrize("mistake", REMOTE)
def test_a_hosted_run_is_refused_before_data_and_sdk(refusals: dict[str, Any], mistake: str) -> None:
    """The data cannot be read, which nobody gets to hear."""
    status, loaded, message = refusals[mistake]
    assert REMOTE[mistake][2] in " ".join(message.split())
    assert (status, loaded) == (2, [])


def test_nothing_is_left_by_a_refusal(refusals: dict[str, Any], place: Path) -> None:
    assert {path.name for path in (place / "others").iterdir()} == {"note.txt"}
    assert {path.name for path in (place / "finished").iterdir()} <= {"note.txt", "config.yaml", ".lock"}
    assert not (place / "run").exists()
