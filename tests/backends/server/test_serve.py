"""The command: what it makes of its arguments, and what it refuses."""

from __future__ import annotations

import ast
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backends.interface import BackendError
from backends.options import LocalOptions
from backends.server import main
from backends.server.settings import Limits, ServerSettings
from tests.support.running import KEY, OTHER_KEY, REPOSITORY, Running
from text2sql.cli import app
from text2sql.errors import UserError


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The settings that the server was started with."""
    started: list[Any] = []
    monkeypatch.setattr(main, "serve", lambda settings, ready, services: started.append(settings))
    monkeypatch.setattr("backends.check_backend", lambda name, options, base_model: None)
    return started


def call(*arguments: str) -> None:
    result = CliRunner().invoke(app, ["serve", *arguments])
    if result.exception is not None:
        raise result.exception


def test_arguments_become_settings(served: list[Any], tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"# users\n{OTHER_KEY}\n\n")
    models = ["--base-model", "org/model=/models/m", "--base-model", "smollm2-135m-instruct"]
    call(*models, "--api-key", KEY, "--api-key-file", str(keys), "--quantization", "nf4", "--port", "0",
         "--data", str(tmp_path), "limits.resident_models=2", "local.device=cpu")  # fmt: skip
    settings = served[0]
    assert settings.base_models == {"org/model": "/models/m", "smollm2-135m-instruct": "smollm2-135m-instruct"}
    assert settings.keys == (KEY, OTHER_KEY)
    assert (settings.local.quantization, settings.local.device, settings.limits.resident_models) == ("nf4", "cpu", 2)


def test_it_is_ready_when_it_takes_connections(tiny_model: str, tmp_path: Path) -> None:
    """A client that reads the address, which is printed then, and connects at once is not refused."""
    settings = ServerSettings(base_models={"tiny": tiny_model}, data=tmp_path, local=LocalOptions(device="cpu"))
    outcomes: list[Any] = []

    def ready() -> None:
        try:
            socket.create_connection(bound.getsockname(), timeout=5).close()
            outcomes.append("connected")
        except OSError as error:
            outcomes.append(error)
        web.should_exit = True

    with main.listen("127.0.0.1", 0) as bound:
        web = main.make_server(settings, ready)
        thread = threading.Thread(target=web.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        thread.join(60)
    assert not thread.is_alive() and outcomes == ["connected"]


def test_answers_are_sent_at_once(server: Running) -> None:
    """Not held back until the client acknowledges what came before, which takes it 40 ms."""
    with server.http() as http:
        http.get("/healthz").raise_for_status()
        (connection, *_) = server._web.server_state.connections
        assert connection.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["limits.modles=2"], "modles"),
        (["training.epochs=2"], "write local.KEY=value, limits.KEY=value or server.KEY=value"),
        (["limits.resident_models=many"], "resident_models"),
        (["--quantization", "nf5"], "nf5"),
        (["--api-key-file", "nowhere"], "cannot be read"),
        (["--port", "99999"], "port"),
    ],
)
def test_what_is_wrong_is_told_by_name(served: list[Any], arguments: list[str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        call("--base-model", "m", *arguments)
    assert not served


def test_refusals_come_before_the_models_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    # It looks like a model, and cannot be loaded.
    (tmp_path / "model" / "config.json").write_text("{}")
    models = ["--base-model", str(tmp_path / "model"), "--data", str(tmp_path)]
    with pytest.raises(BackendError, match="needs an API key"):
        call("--base-model", "there-is-no-such-model", "--host", "0.0.0.0")
    taken = main.listen("127.0.0.1", 0)
    taken.listen()
    with taken, pytest.raises(BackendError, match="choose another --port"):
        call(*models, "--port", str(taken.getsockname()[1]))


def test_one_server_for_one_directory(tmp_path: Path) -> None:
    from backends.server.database import Database

    first = Database(tmp_path / "server.sqlite")
    secret = first.secret()
    with pytest.raises(BackendError, match="Another server is using this directory"):
        Database(tmp_path / "server.sqlite")
    first.close()
    again = Database(tmp_path / "server.sqlite")
    assert again.secret() == secret
    again.close()


def test_packaged_models_are_served_under_their_directory_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.base_models.locate", lambda name: f"/cache/{name}")
    models = main.with_directories({"a": "/models/a", "small": "smollm2-135m-instruct"})
    directory = "/cache/smollm2-135m-instruct"
    assert models == {"a": "/models/a", "small": directory, directory: directory}


def test_a_model_that_cannot_be_loaded_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    settings = ServerSettings(
        base_models={"m": str(tmp_path / "model")}, data=tmp_path, local=LocalOptions(device="cpu")
    )
    for _ in range(2):
        with pytest.raises(BackendError, match="base_model: "):
            main.serve(settings.model_copy(update={"port": 0}))
    command = [sys.executable, "-m", "text2sql", "serve", "--base-model", str(tmp_path / "model"), "--port", "0"]
    done = subprocess.run([*command, "--data", tmp_path], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("sql.example", "http://sql.example:80"),
    ],
)
def test_the_address_that_is_said_can_be_connected_to(host: str, url: str) -> None:
    assert main.url_of(host, 80) == url


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_lines_to_copy_work(server: Running, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Those for OpenAI's clients are typed into a shell as they are."""
    monkeypatch.setattr(main, "serve", lambda settings, ready, services: ready(server.url))
    monkeypatch.setattr("backends.check_backend", lambda name, options, base_model: None)
    done = CliRunner().invoke(app, ["serve", "--base-model", "tiny", "--host", host, "--api-key", KEY])
    said = done.stderr.replace("<a key>", KEY)
    exports = [line.strip() for line in said.splitlines() if line.strip().startswith("export")]
    assert len(exports) == 2 and "0.0.0.0" not in said
    assert (f"http://{socket.gethostname()}:" in said) == (host == "0.0.0.0")
    if shutil.which("curl"):
        (line,) = [line.strip() for line in said.splitlines() if line.strip().startswith("curl")]
        answer = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout
        assert json.loads(answer)["choices"][0]["finish_reason"] in ("stop", "length")
    client = "import openai; print(openai.OpenAI().completions.create(model='tiny', prompt='SELECT').object)"
    script = "\n".join([*exports, f'{sys.executable} -c "{client}"'])
    answer = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, check=True).stdout
    assert answer.strip() == "text_completion"


@pytest.mark.parametrize("name", Limits.model_fields)
def test_every_limit_stands_in_the_documentation(name: str) -> None:
    page = (REPOSITORY / "docs" / "server.md").read_text(encoding="utf-8")
    field = Limits.model_fields[name]
    default = f"{field.default:g}" if isinstance(field.default, float) else field.default
    assert f"| `{name}` | {default} | {field.description} |" in page


def test_every_sentence_of_the_table_is_the_code_s() -> None:
    """What the page quotes of a refusal, with N and M for numbers, is what the server writes."""
    written = []
    service = REPOSITORY / "text2sql" / "evaluation" / "service.py"
    for file in (*(REPOSITORY / "backends" / "server").rglob("*.py"), service):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
                written.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                written.append(node.value.replace("{}", "\0"))
    page = (REPOSITORY / "docs" / "server.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.splitlines() if re.match(r"\| `[a-z_]+` \| \d", line)]
    assert len(rows) == len(Limits.model_fields)
    quoted = [quote for row in rows for quote in re.findall(r"`([^`]+)`", row[4])]
    assert len(quoted) > len(rows) // 2
    for quote in quoted:
        pattern = ".*".join(re.escape(part.strip()) for part in re.split(r"\b[NM]\b|…", quote))
        assert any(re.search(pattern, sentence, re.DOTALL) for sentence in written), quote
