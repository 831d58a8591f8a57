"""Blanks out everything in PostgreSQL's and MySQL's dumps that is not SQL."""

from __future__ import annotations

import re

# The rows between COPY and its end, and psql's commands, each on lines of their own.
_COPY_ROWS = re.compile(
    r"^COPY\b[^;]*\bFROM\s+stdin\b[^;]*;[^\n]*\n(?:.*?\n)??\\\.[ \t]*$", re.IGNORECASE | re.MULTILINE | re.DOTALL
)
_PSQL_COMMAND = re.compile(r"^\\[a-z]+[^\n]*$", re.MULTILINE)
# MySQL's version comments, whose content MySQL executes: ``/*!50001 CREATE VIEW ... */``.
_VERSION_COMMENT = re.compile(r"(/\*!\d*)(.*?)(\*/)", re.DOTALL)


def blank_non_sql(text: str) -> str:
    """Replaces everything that is not SQL by spaces, so that positions in the text stay the same."""
    if "\\" in text:
        text = _PSQL_COMMAND.sub(_blank, _COPY_ROWS.sub(_blank, text))
    if "/*!" in text:
        text = _VERSION_COMMENT.sub(lambda match: " " * len(match[1]) + match[2] + " " * len(match[3]), text)
    return text


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])
