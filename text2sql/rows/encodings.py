"""What encoding a text file is in: one rule for every file that people bring."""

from __future__ import annotations

import codecs
import logging
import re
from dataclasses import dataclass
from pathlib import Path

LOG = logging.getLogger(__name__)

# Longer marks first: UTF-32's begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# How "surrogateescape" shows a byte that is not UTF-8.
_STRAY = re.compile("[\udc80-\udcff]")
# Signs that no text has, U+0000 among them.
_CONTROLS = re.compile("[\0-\x08\x0e-\x1f]")
# Bytes in which zeros are counted where no mark says what the encoding is.
_SAMPLE = 4096


@dataclass(frozen=True)
class Decoded:
    """The text of a file.

    Attributes:
        text: Without a byte-order mark; U+FFFD stands for each byte that has no meaning in the encoding.
        note: What a reader must know of it, empty for plain UTF-8 and for what a byte-order mark names.
    """

    text: str
    note: str = ""


def decode(raw: bytes) -> Decoded:
    """The text of a file, whatever program wrote it.

    A byte-order mark names the encoding. Without one, zeros in every other byte are UTF-16, and what is UTF-8 to the
    last byte is UTF-8. Of the rest, a file with a mark, or in which at least as many signs are proper UTF-8 as bytes
    are not, is UTF-8 with stray bytes: each becomes U+FFFD, and they are counted. Any other file is in the code page of
    Western Windows, cp1252.

    Raises:
        ValueError: It holds zeros and is no UTF-16: it is not text.
    """
    mark, encoding = next(((m, e) for m, e in _MARKS if raw.startswith(m)), (b"", ""))
    raw = raw[len(mark) :]
    if encoding not in ("", "utf-8"):
        return _decode_as(raw, encoding)
    if b"\0" in raw:
        return _decode_as(raw, _unmarked_utf16(raw), "it is read as UTF-16, which no byte-order mark says")
    try:
        return Decoded(raw.decode("utf-8"))
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "surrogateescape")
    stray = _STRAY.findall(text)
    proper = sum(not sign.isascii() for sign in text) - len(stray)
    if mark or proper >= len(stray):
        first = 1 + text.count("\n", 0, text.index(stray[0]))
        return Decoded(
            _STRAY.sub("\ufffd", text),
            f"bytes that are not UTF-8: {len(stray)}, the first in line {first}; each is read as \ufffd",
        )
    return _decode_as(raw, "cp1252", "it is not UTF-8 and is read as Windows-1252 (save it as UTF-8 to be sure)")


def read_text(path: Path) -> str:
    """The text of a file by the rule of `decode`; what must be known of it is logged as a warning.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is not text.
    """
    decoded = decode(path.read_bytes())
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
    """Which UTF-16 has its zeros where these bytes have theirs: most signs of names, numbers and SQL are ASCII."""
    sample = raw[:_SAMPLE]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    encoding = "utf-16-le" if odd > even else "utf-16-be"
    if max(even, odd) * 4 < len(sample) or _CONTROLS.search(sample.decode(encoding, "replace")):
        raise ValueError("it is not a text file: it holds zero bytes; save it as UTF-8 and try again")
    return encoding
