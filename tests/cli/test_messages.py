"""What a person can fix is one message with status 2, and nothing is touched."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import Outcome
from tests.support.tiny_runs import rows, tiny_config, write_jsonl
from text2sql import cli
from text2sql.errors import UserError
from text2sql.pipeline.run import run_pipeline


def test_windows_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("sys.argv", ["text2sql", "--help"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert ended.value.code == 2 and not said.out
    assert said.err.startswith("Error text2sql runs on Linux and macOS. On Windows, install it inside the Windows")


# What a person can fix: one message, status 2, nothing touched


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (["sed=1"], 'unknown key "sed". Did you mean "seed"?'),
        (["lora.rank=0"], "lora.rank: "),
        (["data.source=none.jsonl"], "there is no file none.jsonl"),
        (["data.source=nowhere"], '"nowhere" is not a named source'),
        (["data.columns.answer=sql"], 'no column "sql" for answer'),
        (["data.source=empty.jsonl"], "empty.jsonl has no rows"),
        (["data.source=empty.CSV"], "empty.CSV has no rows"),
        (["data.source=sheet.xlsx"], "Save the sheet as CSV"),
        (["data.source=malformed.jsonl"], "malformed.jsonl is malformed: line 1"),
        (["data.source=unanswered.jsonl"], "20 empty answer"),
        (["data.test_size=99"], "test_size=99"),
        (["training.batch_size=27"], "training.batch_size=27 is larger than the 26 training examples"),
        (["output_dir=tiny.yaml"], "output_dir: tiny.yaml is a file"),
        (["output_dir=tiny.yaml/run"], "tiny.yaml is a file"),
        (["output_dir=others"], "has files in it, but no run"),
    ],
)
def test_bad_input_is_one_message(
    text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path, overrides: list[str], what: str
) -> None:
    write_jsonl(tmp_path / "empty.jsonl", [])
    (tmp_path / "empty.CSV").touch()
    (tmp_path / "sheet.xlsx").write_bytes(b"PK\x03\x04")
    (tmp_path / "malformed.jsonl").write_text("{\n")
    write_jsonl(tmp_path / "unanswered.jsonl", [{**row, "answer": ""} for row in rows(20)])
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "file").touch()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert what in text2sql("run", tiny_file, *overrides).line
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_key_with_dashes_is_told_how_it_is_written(text2sql: Callable[..., Outcome]) -> None:
    for words in (["--training.batch_size=8"], ["--training.batch_size", "8"]):
        assert "without dashes, key=value: training.batch_size" in text2sql("run", "quickstart", *words).line


def test_a_missing_or_malformed_file_is_one_message(text2sql: Callable[..., Outcome], tmp_path: Path) -> None:
    assert "There is no configuration file none.yaml" in text2sql("run", "none.yaml").line
    (tmp_path / "bad.yaml").write_text("training: [\n")
    assert "bad.yaml is not valid YAML" in text2sql("run", "bad.yaml").line


def test_a_directory_without_permission(text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    if os.access(tmp_path / "locked", os.W_OK):
        pytest.skip("root may write anywhere")
    assert "output_dir: locked may not be written" in text2sql("run", tiny_file, "output_dir=locked").line
    assert "locked/run cannot be made" in text2sql("run", tiny_file, "output_dir=locked/run").line


@pytest.fixture
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a Tinker key in the environment nor one in the home directory."""
    for name in ("TINKER_API_KEY", "TINKER_CREDENTIAL_CMD", "TINKER_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("key", "what"),
    [
        (None, "needs an API key"),
        ("", "does not look like a Tinker key"),
        ("sk-123", "does not look like a Tinker key"),
        ("tml-12 3", "copy it again"),
        ("tml-123\n", "copy it again"),
        ("tml-ключ", "copy it again"),
    ],
)
def test_tinker_without_a_usable_key(
    text2sql: Callable[..., Outcome],
    tiny_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_credentials: None,
    key: str | None,
    what: str,
) -> None:
    if key is not None:
        monkeypatch.setenv("TINKER_API_KEY", key)
    line = text2sql("run", tiny_file, "backend=tinker").line
    assert what in line and "backend=local" in line
    # There no backend is chosen.
    line = text2sql("models", "--remote").line
    assert what in line and "backend=" not in line


def test_a_key_may_stand_in_a_file(
    text2sql: Callable[..., Outcome],
    tiny_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_credentials: None,
) -> None:
    # So that the variable is gone again after the test.
    monkeypatch.setenv("TINKER_API_KEY", "")
    monkeypatch.delenv("TINKER_API_KEY")
    (tmp_path / ".env").write_text("TINKER_API_KEY=sk-of-the-file\n")
    assert "does not look like a Tinker key" in text2sql("run", tiny_file, "backend=tinker").line
    # What the environment has goes before.
    monkeypatch.setenv("TINKER_API_KEY", "tml-12 3")
    assert "copy it again" in text2sql("run", tiny_file, "backend=tinker").line


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "127.0.0.1:{port}", "http://[bad", "ftp://127.0.0.1"])
def test_a_tinker_server_that_does_not_answer(
    text2sql: Callable[..., Outcome],
    tiny_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_credentials: None,
    url: str,
) -> None:
    # Bound but not listening: connections are refused.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = url.format(port=closed.getsockname()[1])
        monkeypatch.setenv("TINKER_API_KEY", "tml-none")
        line = text2sql("run", tiny_file, "backend=tinker", f"tinker.base_url={address}").line
    assert address in line and "cannot be reached" in line and "tinker.base_url" in line


@pytest.mark.parametrize(("status", "what"), [(401, "refuses this TINKER_API_KEY (401)"), (503, "answers 503")])
def test_a_tinker_server_that_refuses(
    text2sql: Callable[..., Outcome],
    tiny_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_credentials: None,
    status: int,
    what: str,
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, *arguments: object) -> None:
            pass

    monkeypatch.setenv("TINKER_API_KEY", "tml-none")
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert what in text2sql("run", tiny_file, "backend=tinker", f"tinker.base_url={url}").line
        thread.join()


def test_a_gpu_that_is_not_there(text2sql: Callable[..., Outcome], tiny_file: Path, tiny_model: str) -> None:
    import torch

    device = f"cuda:{torch.cuda.device_count() + 7}"
    local = ("backend=local", f"base_model={tiny_model}")
    assert f'local.device: "{device}"' in text2sql("run", tiny_file, *local, f"local.device={device}").line
    assert 'local.device: "gpu" is not a device' in text2sql("run", tiny_file, *local, "local.device=gpu").line


def test_a_directory_that_is_no_model(text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    line = text2sql("run", tiny_file, "backend=local", "local.device=cpu", "base_model=model").line
    assert 'base_model: "model" is a directory, but not of a model' in line


def test_a_damaged_list_of_checkpoints(
    text2sql: Callable[..., Outcome], tiny_file: Path, tmp_path: Path, quick: None
) -> None:
    text2sql("run", tiny_file)
    (tmp_path / "run" / "checkpoints.jsonl").write_text('{"step"\n')
    line = text2sql("run", tiny_file, "on_existing=resume").line
    assert "run/checkpoints.jsonl is damaged (line 1" in line and "delete it" in line and "overwrite" not in line


@pytest.mark.parametrize("sync", range(1, 12, 3))
def test_a_full_disk(
    text2sql: Callable[..., Outcome],
    tiny_file: Path,
    tmp_path: Path,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
    sync: int,
) -> None:
    count = 0

    def full(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count >= sync:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        line = text2sql("run", tiny_file).line
    assert str(tmp_path / "run") in line and "No space left on device" in line and "Free some space" in line
    # There is space on the disk again.
    assert "100.0%" in text2sql("run", tiny_file).out


def test_a_full_disk_where_no_file_of_the_run_is_written(
    text2sql: Callable[..., Outcome], tiny_file: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    def full(self: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))

    # The fake backend's checkpoints.
    monkeypatch.setattr(Path, "write_text", full)
    line = text2sql("run", tiny_file).line
    assert "No space left on device" in line and "step-000002.json" in line


def test_ctrl_c(
    text2sql: Callable[..., Outcome], tiny_file: Path, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    def interrupt(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    left: list[int] = []
    monkeypatch.setattr("os._exit", left.append)
    before = signal.getsignal(signal.SIGINT)
    try:
        with monkeypatch.context() as patch:
            patch.setattr("text2sql.training.supervised.SupervisedSteps.collect", interrupt)
            outcome = text2sql("run", tiny_file)
        assert outcome.code == 130 and "the same command goes on from there" in outcome.err
        assert "Traceback" not in outcome.err
        # Again, while the interpreter waits for the device.
        signal.raise_signal(signal.SIGINT)
        assert left == [130]
    finally:
        signal.signal(signal.SIGINT, before)
    assert text2sql("run", tiny_file).code == 0


CYRILLIC = ("CREATE TABLE \u0442 (a TEXT, \u044f TEXT)", "SELECT a FROM \u0442", "SELECT \u044f FROM \u0442")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
@pytest.mark.parametrize(("same", "status"), [(True, 0), (False, 1)])
@pytest.mark.parametrize("as_json", [True, False])
def test_a_terminal_in_another_encoding_changes_no_exit_status(
    encoding: str, same: bool, status: int, as_json: bool
) -> None:
    schema, gold, other = CYRILLIC
    arguments = ["--schema", schema, "--gold", gold, "--predicted", gold if same else other]
    result = subprocess.run(
        [sys.executable, "-m", "text2sql", "match", *arguments, *(["--json"] if as_json else [])],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert (result.returncode, result.stderr) == (status, b"")
    text = result.stdout.decode(encoding)
    if as_json:
        assert json.loads(text)["correct"] is same
    else:
        assert text.startswith("equivalent" if same else "different")
        assert same or ("\u044f" if encoding == "utf-8" else "\\u044f") in text


def test_an_argument_in_another_encoding_is_refused_in_words() -> None:
    arguments = [b"--schema", b"CREATE TABLE t (a)", b"--gold", b"SELECT '\xe9' FROM t", b"--predicted", b"SELECT 1"]
    result = subprocess.run([sys.executable, "-m", "text2sql", "match", *arguments], capture_output=True, text=True)
    assert result.returncode == 2 and "An argument is not text in UTF-8" in result.stderr


FAULTY = (
    "import sys; from text2sql import cli; from text2sql.commands import match\n"
    "def fail(*a, **k): raise RuntimeError('unforeseen')\n"
    "match.print_match = fail; sys.argv[1:] = ['match', '--schema', 'S', '--gold', 'G', '--predicted', 'P']\n"
)


def test_a_fault_of_the_program_is_called_a_bug_and_is_not_a_verdict() -> None:
    result = subprocess.run([sys.executable, "-c", f"{FAULTY}cli.main()"], capture_output=True, text=True)
    assert result.returncode == 70
    assert "This is a bug of text2sql: RuntimeError: unforeseen" in result.stderr
    assert "Traceback (most recent call last)" not in result.stderr
    kept = re.search(r"Its traceback is in (\S+)\.\n", result.stderr)
    assert kept and "in fail" in Path(kept[1]).read_text()
    Path(kept[1]).unlink()


@pytest.mark.parametrize("how", ["sys.argv.append('--debug')", "import os; os.environ['TEXT2SQL_DEBUG'] = '1'"])
def test_tracebacks_are_shown_on_demand(how: str) -> None:
    result = subprocess.run([sys.executable, "-c", f"{FAULTY}{how}; cli.main()"], capture_output=True, text=True)
    assert result.returncode == 70 and "Traceback (most recent call last)" in result.stderr
    if kept := re.search(r"Its traceback is in (\S+)\.\n", result.stderr):
        Path(kept[1]).unlink()


def test_the_traceback_of_a_run_is_kept_in_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **more: Any) -> Any:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr("text2sql.pipeline.stages.train_model", fail)
    with pytest.raises(ZeroDivisionError) as raised:
        run_pipeline(tiny_config(tmp_path))
    kept = tmp_path / "run" / "traceback.txt"
    assert f"Its traceback is in {kept}." in " ".join(raised.value.__notes__)
    assert "in fail" in kept.read_text()
    # A mistake that a person can put right leaves none.
    kept.unlink()
    with pytest.raises(UserError):
        run_pipeline(tiny_config(tmp_path, on_existing="fail"))
    assert not kept.exists()
