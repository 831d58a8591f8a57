"""Downloads of official archives: unpacked, resumed, refused with what to do; exports and statistics of data."""

from __future__ import annotations

import errno
import io
import json
import random
import shutil
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support import archives
from text2sql.config import Config, SourceConfig
from text2sql.data import fetch
from text2sql.data.export import export
from text2sql.data.facts import read_facts
from text2sql.data.inspect import stats
from text2sql.data.sources import NAMED, load_examples
from text2sql.data.sources.named import Archive
from text2sql.errors import UserError


class _Files:
    """What the server has, and what was asked of it; `cut` ends an answer after N bytes, `tag` names its version."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges: list[str | None] = []
        self.cut: int | None = None
        self.tag = ""
        self.url = ""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Files]:
    monkeypatch.setenv("TEXT2SQL_CACHE", str(tmp_path / "cache"))
    state = _Files()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.ranges.append(wanted)
            data = state.files.get(self.path.lstrip("/"))
            if data is None:
                self.send_error(404)
                return
            if self.headers.get("If-Range", state.tag) != state.tag:
                wanted = None
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            if wanted and start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(data) - start))
            if state.tag:
                self.send_header("ETag", state.tag)
            self.end_headers()
            self.wfile.write(data[start : state.cut] if state.cut else data[start:])

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    state.url = f"http://127.0.0.1:{http.server_port}"
    yield state
    http.shutdown()
    http.server_close()


def _zip(directory: Path, prefix: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        packed.writestr("__MACOSX/rubbish", "")
        for file in sorted(directory.rglob("*")):
            if file.is_file():
                packed.write(file, prefix + str(file.relative_to(directory)))
    return buffer.getvalue()


def _offer(server: _Files, monkeypatch: pytest.MonkeyPatch, name: str, **files: bytes) -> None:
    server.files = {file.replace("_zip", ".zip"): data for file, data in files.items()}
    urls = {file: f"{server.url}/{file}" for file in server.files}
    monkeypatch.setitem(NAMED, name, replace(NAMED[name], archive=Archive("https://the.page", urls)))


def test_an_archive_is_fetched_unpacked_and_found_by_name(server: _Files, tmp_path: Path, monkeypatch: Any) -> None:
    _offer(server, monkeypatch, "spider", data_zip=_zip(archives.spider(tmp_path / "made"), "spider_data/"))
    directory = fetch.fetch("spider")
    assert directory and not list(directory.rglob("*.zip")) and not (directory / "__MACOSX").exists()
    assert len(load_examples(SourceConfig(source="spider"))) == 6
    fetch.fetch("spider")
    assert len(server.ranges) == 1  # nothing is fetched twice


def test_databases_packed_inside_are_unpacked_too(server: _Files, tmp_path: Path, monkeypatch: Any) -> None:
    made = archives.bird(tmp_path / "made")
    for split, folder in (("train", "train"), ("dev", "dev_20240627")):
        home = made / folder / f"{split}_databases"
        packed = _zip(home, f"{split}_databases/")
        for file in sorted(home.rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        home.rmdir()
        (made / folder / f"{split}_databases.zip").write_bytes(packed)
    train, dev = (_zip(made / folder, f"{folder}/") for folder in ("train", "dev_20240627"))
    _offer(server, monkeypatch, "bird", train_zip=train, dev_zip=dev)
    fetch.fetch("bird")
    for split, count in (("train", 6), ("dev", 2)):
        examples = load_examples(SourceConfig(source="bird", hub_split=split))
        assert len(examples) == count and Path(str(examples[0].db)).is_file()


def test_a_download_that_breaks_off_goes_on(server: _Files, tmp_path: Path, monkeypatch: Any) -> None:
    data = _zip(archives.spider(tmp_path / "made"), "spider_data/")
    _offer(server, monkeypatch, "spider", data_zip=data)
    server.cut = 1000
    with pytest.raises(UserError, match=r"What came is kept.*https://the\.page"):
        fetch.fetch("spider")
    server.cut = None
    fetch.fetch("spider")
    assert server.ranges == [None, "bytes=1000-"]
    assert len(load_examples(SourceConfig(source="spider", hub_split="dev"))) == 2


@pytest.mark.parametrize("tags", [('"one"', '"two"'), ("", "")], ids=["named versions", "shorter"])
def test_what_came_of_another_version_is_not_gone_on_with(
    server: _Files, tmp_path: Path, monkeypatch: Any, tags: tuple[str, str]
) -> None:
    data = _zip(archives.spider(tmp_path / "made"), "spider_data/")
    before = bytes(255 - byte for byte in data) + b"more" * 50
    server.tag, server.cut = tags[0], 1000 if tags[0] else len(data) + 100
    _offer(server, monkeypatch, "spider", data_zip=before)
    with pytest.raises(UserError, match="What came is kept"):
        fetch.fetch("spider")
    server.tag, server.cut = tags[1], None
    _offer(server, monkeypatch, "spider", data_zip=data)
    directory = fetch.fetch("spider")
    assert directory and len(load_examples(SourceConfig(source="spider"))) == 6
    assert not list(directory.glob("*.etag"))


def test_a_file_that_was_whole_when_the_program_died_is_not_fetched_again(
    server: _Files, tmp_path: Path, monkeypatch: Any
) -> None:
    data = _zip(archives.spider(tmp_path / "made"), "spider_data/")
    _offer(server, monkeypatch, "spider", data_zip=data)
    directory = fetch.fetch_directory("spider")
    directory.mkdir(parents=True)
    (directory / f"data.zip{fetch.PARTIAL}").write_bytes(data)
    fetch.fetch("spider")
    assert server.ranges == [f"bytes={len(data)}-"] and len(load_examples(SourceConfig(source="spider"))) == 6


FORMATS = {"zip": "zip", "tar.bz2": "bztar", "tar.gz": "gztar", "tar.xz": "xztar"}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("harm", ["a byte in the middle", "the end"])
def test_an_archive_that_is_damaged_is_refused_and_fetched_anew(
    kind: str, harm: str, server: _Files, tmp_path: Path, monkeypatch: Any
) -> None:
    made = archives.spider(tmp_path / "made")
    # What packs badly, so that there is a middle.
    (made / "noise").write_bytes(random.Random(0).randbytes(60_000))
    base = shutil.make_archive(str(tmp_path / "packed"), FORMATS[kind], made)
    data = Path(base).read_bytes()
    half = len(data) // 2
    spoilt = data[:half] if harm == "the end" else data[:half] + bytes([data[half] ^ 255]) + data[half + 1 :]
    server.files = {f"data.{kind}": spoilt}
    monkeypatch.setitem(
        NAMED,
        "spider",
        replace(NAMED["spider"], archive=Archive("https://the.page", {f"data.{kind}": f"{server.url}/data.{kind}"})),
    )
    with pytest.raises(UserError, match=r"is not the archive that it should be.*https://the\.page"):
        fetch.fetch("spider")
    server.files = {f"data.{kind}": data}
    directory = fetch.fetch("spider")
    assert directory and (directory / "noise").stat().st_size == 60_000


def test_a_full_disk_is_no_damage(server: _Files, tmp_path: Path, monkeypatch: Any) -> None:
    _offer(server, monkeypatch, "spider", data_zip=_zip(archives.spider(tmp_path / "made"), "spider_data/"))

    def full(*arguments: Any, **named: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(zipfile.ZipFile, "extractall", full)
        fetch.fetch("spider")
    fetch.fetch("spider")
    assert len(server.ranges) == 1, "what was fetched is kept"


def test_a_page_in_place_of_an_archive(server: _Files, monkeypatch: Any) -> None:
    _offer(server, monkeypatch, "spider", data_zip=b"<html>Are you sure?</html>")
    with pytest.raises(UserError, match=r"is not the archive that it should be.*a page that asks to confirm"):
        fetch.fetch("spider")


def test_what_cannot_be_fetched_says_what_to_do(server: _Files, monkeypatch: Any) -> None:
    _offer(server, monkeypatch, "spider", x_zip=b"")
    server.files.clear()
    with pytest.raises(UserError, match=r"HTTP 404.*download x\.zip from https://the\.page on another machine"):
        fetch.fetch("spider")
    with pytest.raises(UserError, match='no data set "spidr" to fetch; there are sql-create-context, spider'):
        fetch.fetch("spidr")


# Exports and statistics


def _config(tmp_path: Path, **sections: Any) -> Config:
    directory = tmp_path / "bird"
    source = {"source": "bird", "path": str(directory if directory.exists() else archives.bird(directory))}
    data = {**source, "test": {**source, "hub_split": "dev"}, "test_size": 2}
    return Config.model_validate({"data": data, "base_model": str(tmp_path / "no-model"), **sections})


def test_messages_for_other_trainers(tmp_path: Path) -> None:
    export(_config(tmp_path, prompt={"template": "chat-bird"}), tmp_path / "out", "messages")
    rows = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    assert [turn["role"] for turn in rows[0]["messages"]] == ["system", "user", "assistant"]
    assert rows[0]["messages"][-1]["content"] == rows[0]["answer"]
    assert len((tmp_path / "out" / "test.jsonl").read_text().splitlines()) == 2


def test_a_chat_is_not_exported_as_one_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="say --format messages"):
        export(_config(tmp_path, prompt={"template": "chat"}), tmp_path / "out", "prompt-completion")
    export(_config(tmp_path), tmp_path / "out", "messages")  # a plain template has a user's turn and an answer
    (row, *_) = [json.loads(line) for line in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    assert [turn["role"] for turn in row["messages"]] == ["user", "assistant"]


def test_what_trl_reads_are_these_columns(tmp_path: Path) -> None:
    import datasets

    export(_config(tmp_path), tmp_path / "out", "prompt-completion")
    rows = datasets.load_dataset("json", data_files=str(tmp_path / "out" / "train.jsonl"), split="train")
    assert {"prompt", "completion"} <= set(rows.column_names) and rows[0]["completion"].endswith("\n\n")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT a FROM t", set()),
        ("SELECT COUNT(DISTINCT a) FROM t JOIN u ON t.i = u.i", {"aggregate", "DISTINCT", "JOIN"}),
        ("SELECT a FROM t WHERE b IN (SELECT b FROM u)", {"WHERE", "nested query"}),
        ("SELECT a FROM t UNION SELECT a FROM u", {"set operation"}),
        ("SELECT a FROM t GROUP BY a HAVING COUNT(*) > 1", {"aggregate", "GROUP BY", "HAVING"}),
        ("SELECT a FROM t ORDER BY a LIMIT 1", {"ORDER BY", "LIMIT"}),
        ("SELECT SUM(a) OVER (ORDER BY b) FROM t", {"aggregate", "window", "ORDER BY"}),
        ("no query (", set()),
    ],
)
def test_features_of_queries(query: str, expected: set[str]) -> None:
    assert set(read_facts("", query).features) == expected


@pytest.mark.parametrize("style", ["ddl", "compact"])
def test_statistics_count_what_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str], style: str) -> None:
    stats(_config(tmp_path, prompt={"schema_text": {"tables": "linked", "style": style}}))
    said = " ".join(capsys.readouterr().out.split())
    assert "No lengths: the tokenizer" in said and "6 rows. Dropped: none." in said
    assert "JOIN │ 16.7% │ 0.0%" in said and "level easy" in said
    assert "train: the tables shown hold those of the gold query for 6 of 6 questions." in said
