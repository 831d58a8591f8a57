"""The traceback of an exception that nobody foresaw, kept in the directory of the run that it ended."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backends.interface import BackendError
from backends.redaction import redact
from text2sql.errors import UserError

TRACEBACK = "traceback.txt"
# What is for people, and what the system says: these have a message that is enough.
FORESEEN = (UserError, BackendError, OSError)


def traceback_text(error: BaseException) -> str:
    """The traceback of an exception and of its causes, passwords masked."""
    return redact("".join(traceback.format_exception(error)))


@contextmanager
def save_traceback(directory: Path) -> Iterator[None]:
    """Write the traceback of an unforeseen exception into a directory, and say so in a note of the exception.

    Args:
        directory: The run's directory.
    """
    try:
        yield
    except FORESEEN:
        raise
    except Exception as error:
        with suppress(OSError):
            file = directory / TRACEBACK
            file.write_text(traceback_text(error), encoding="utf-8", errors="backslashreplace")
            error.add_note(f"What was finished is kept. Its traceback is in {file}.")
        raise
