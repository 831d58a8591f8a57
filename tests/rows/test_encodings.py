"""The text of files as people have them: byte-order marks, UTF-16, stray bytes, a Windows code page."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from text2sql.rows.encodings import decode, read_text

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"))


@given(TEXT, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
def test_every_text_comes_back_from_every_unicode_encoding_without_a_word(text: str, encoding: str) -> None:
    decoded = decode(text.encode(encoding))
    assert (decoded.text, decoded.note) == (text, "")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_read_and_said(encoding: str) -> None:
    decoded = decode("name\tcity\r\nJosé\tMünchen\r\n".encode(encoding))
    assert decoded.text == "name\tcity\r\nJosé\tMünchen\r\n" and "UTF-16" in decoded.note


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"name,city\r\nJos\xe9,\x93M\xfcnchen\x94\r\n", "name,city\r\nJosé,“München”\r\n"),
        (b"Grand Prix \x92 a race", "Grand Prix ’ a race"),
    ],
)
def test_what_is_not_utf8_at_all_is_windows_1252_and_that_is_said(raw: bytes, text: str) -> None:
    decoded = decode(raw)
    assert decoded.text == text and "Windows-1252" in decoded.note


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_stray_byte_costs_itself_alone(mark: bytes) -> None:
    decoded = decode(mark + "Race,São Paulo\nCode,Grand Prix ".encode() + b"\x92 a race\n")
    assert decoded.text == "Race,São Paulo\nCode,Grand Prix \ufffd a race\n"
    assert "not UTF-8: 1, the first in line 2" in decoded.note


def test_a_byte_that_the_code_page_does_not_have_is_counted() -> None:
    decoded = decode(b"a\xe9\x81b")
    assert decoded.text == "aé\ufffdb" and "cp1252 does not have: 1" in decoded.note


@pytest.mark.parametrize("raw", [b"a,b\n\x00\x01,2\n", b"PK\x03\x04\x14\x00\x06\x00\x08\x00" * 20])
def test_what_is_not_text_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not a text file"):
        decode(raw)


def test_a_file_that_is_no_plain_utf8_is_named_in_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "schema.sql"
    path.write_bytes(b"-- caf\xe9")
    with caplog.at_level(logging.WARNING):
        assert read_text(path) == "-- café"
    assert str(path) in caplog.text and "Windows-1252" in caplog.text
