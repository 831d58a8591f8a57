"""The cache's directory, and files and directories that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.paths import cache_directory, directory_written_aside, written_aside


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXT2SQL_CACHE", str(tmp_path))
    assert cache_directory("tokens") == tmp_path / "tokens"
    monkeypatch.setenv("TEXT2SQL_CACHE", "")
    assert cache_directory() == Path.home() / ".cache" / "text2sql"


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path, durable: bool) -> None:
    target = tmp_path / "folder" / "file.txt"
    for text in ("old", "new"):
        with written_aside(target, durable=durable) as aside:
            aside.write_text(text)
            assert not target.exists() or target.read_text() == "old"
        assert target.read_text() == text
    assert list(target.parent.iterdir()) == [target]


def test_a_file_stays_as_it_was_if_the_block_fails(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), written_aside(target) as aside:
        aside.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    with written_aside(target) as first, written_aside(target) as second:
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first" and list(tmp_path.iterdir()) == [target]


def test_a_directory_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "folder" / "made"
    with directory_written_aside(target) as aside:
        (aside / "file.txt").write_text("whole")
        assert not target.exists()
    assert (target / "file.txt").read_text() == "whole"
    assert target.stat().st_mode & 0o777 == 0o755
    assert list(target.parent.iterdir()) == [target]


def test_a_directory_that_fails_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with pytest.raises(ZeroDivisionError), directory_written_aside(target):
        raise ZeroDivisionError
    target.mkdir()
    (target / "kept.txt").touch()
    with pytest.raises(OSError), directory_written_aside(target) as aside:
        (aside / "file.txt").touch()
    assert list(tmp_path.iterdir()) == [target] and list(target.iterdir()) == [target / "kept.txt"]
