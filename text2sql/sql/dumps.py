"""What dumps of PostgreSQL and MySQL hold beside statements, taken out of their text."""

from __future__ import annotations

import re

# Rows between COPY and its end, and what psql is told, each on lines of its own.
_COPIED = re.compile(
    r"^COPY\b[^;]*\bFROM\s+stdin\b[^;]*;[^\n]*\n(?:.*?\n)??\\\.[ \t]*$", re.IGNORECASE | re.MULTILINE | re.DOTALL
)
_COMMAND = re.compile(r"^\\[a-z]+[^\n]*$", re.MULTILINE)
# What MySQL of some version and later reads, and others take for a comment: ``/*!50001 CREATE VIEW ... */``.
_CONDITIONAL = re.compile(r"(/\*!\d*)(.*?)(\*/)", re.DOTALL)


def statements_alone(text: str) -> str:
    """The text with spaces in place of what is no SQL, so that all else keeps its place."""
    if "\\" in text:
        text = _COMMAND.sub(_blank, _COPIED.sub(_blank, text))
    if "/*!" in text:
        text = _CONDITIONAL.sub(lambda found: " " * len(found[1]) + found[2] + " " * len(found[3]), text)
    return text


def _blank(found: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", found[0])
