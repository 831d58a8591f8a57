"""Detects the encoding of text files, by one rule for every file of a user."""

from __future__ import annotations

import codecs
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from text2sql.rows.files import read_bytes

LOG = logging.getLogger(__name__)

# Longer marks first: the mark of UTF-32 starts with that of UTF-16.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# The characters that "surrogateescape" uses for bytes that are not UTF-8.
_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")
# Control characters that no text has, including U+0000.
_CONTROL_CHARACTERS = re.compile("[\0-\x08\x0e-\x1f]")
# Bytes in which zeros are counted if there is no byte-order mark.
_SAMPLE_BYTES = 4096


@dataclass(frozen=True)
class Decoded:
    """The text of a file.

    Attributes:
        text: The text without a byte-order mark; U+FFFD stands for each byte that is invalid in the encoding.
        note: A note for the user; empty for plain UTF-8 and for encodings that a byte-order mark names.
    """

    text: str
    note: str = ""


def decode(raw: bytes) -> Decoded:
    """Decodes the text of a file, whichever program wrote it.

    A byte-order mark names the encoding. Without one, zeros in every other byte mean UTF-16, and bytes that are valid
    UTF-8 are UTF-8. Otherwise, a file with a mark, or with at least as many valid UTF-8 characters as invalid bytes, is
    UTF-8 with stray bytes: each becomes U+FFFD, and they are counted. Any other file is in the code page of Western
    Windows, cp1252.

    Raises:
        ValueError: The bytes contain zeros and are not UTF-16, so they are not text.
    """
    mark, encoding = next(((mark, encoding) for mark, encoding in _BYTE_ORDER_MARKS if raw.startswith(mark)), (b"", ""))
    raw = raw[len(mark) :]
    if encoding not in ("", "utf-8"):
        return _decode_as(raw, encoding)
    if b"\0" in raw:
        return _decode_as(raw, _unmarked_utf16(raw), "it is read as UTF-16, which no byte-order mark says")
    try:
        return Decoded(raw.decode("utf-8"))
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "surrogateescape")
    stray = _ESCAPED_BYTE.findall(text)
    valid_count = sum(not character.isascii() for character in text) - len(stray)
    if mark or valid_count >= len(stray):
        first_line = 1 + text.count("\n", 0, text.index(stray[0]))
        return Decoded(
            _ESCAPED_BYTE.sub("\ufffd", text),
            f"bytes that are not UTF-8: {len(stray)}, the first in line {first_line}; each is read as \ufffd",
        )
    return _decode_as(raw, "cp1252", "it is not UTF-8 and is read as Windows-1252 (save it as UTF-8 to be sure)")


def read_text(path: Path) -> str:
    """The text of a file by the rule of `decode`; a note is logged as a warning.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not text.
    """
    decoded = decode(read_bytes(path))
    if decoded.note:
        LOG.warning("%s: %s.", path, decoded.note)
    return decoded.text


def _decode_as(raw: bytes, encoding: str, note: str = "") -> Decoded:
    try:
        return Decoded(raw.decode(encoding), note)
    except UnicodeDecodeError:
        text = raw.decode(encoding, "replace")
    damaged = f"signs that {encoding} does not have: {text.count(chr(0xFFFD))}; each is read as \ufffd"
    return Decoded(text, f"{note}; {damaged}" if note else damaged)


def _unmarked_utf16(raw: bytes) -> str:
    """The byte order of UTF-16 by the positions of zeros, because most characters of tables are ASCII."""
    sample = raw[:_SAMPLE_BYTES]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    encoding = "utf-16-le" if odd > even else "utf-16-be"
    if max(even, odd) * 4 < len(sample) or _CONTROL_CHARACTERS.search(sample.decode(encoding, "replace")):
        raise ValueError("it is not a text file: it holds zero bytes; save it as UTF-8 and try again")
    return encoding
