"""The report of an unexpected exception on the command line: that it is a bug, and where its traceback is."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import NoReturn

from backends.redaction import redact
from text2sql.console import printable
from text2sql.faults import TRACEBACK, traceback_text

# Exit status after a bug of this program (sysexits.h, EX_SOFTWARE); 1 would say of `match` that the queries differ.
FAULT = 70
# Environment variable that shows tracebacks.
DEBUG = "TEXT2SQL_DEBUG"


def take_debug_option() -> None:
    """Remove ``--debug`` from the command line, wherever it stands, and set the environment variable instead."""
    if "--debug" in sys.argv[1:]:
        sys.argv[1:] = [argument for argument in sys.argv[1:] if argument != "--debug"]
        os.environ[DEBUG] = "1"


def debugging() -> bool:
    """Whether tracebacks are to be shown."""
    return os.environ.get(DEBUG, "") not in ("", "0")


def report_bug(error: Exception, notes: str) -> NoReturn:
    """Report an unexpected exception, and exit.

    Args:
        error: The exception.
        notes: The notes of the exception: what is kept, and where the traceback is if it has been written.
    """
    if debugging():
        print(printable(traceback_text(error)), file=sys.stderr, end="")
    name = type(error).__name__
    lines = str(error).splitlines()
    summary = f"{name}: {lines[0]}" if lines else name
    print(printable(redact(f"This is a bug of text2sql: {summary}")), file=sys.stderr)
    said = notes if TRACEBACK in notes else f"{notes} {_write_traceback(error)}".strip()
    print(printable(redact(said)), file=sys.stderr)
    print("Report it with that file and what `text2sql env` prints; --debug shows the traceback here.", file=sys.stderr)
    sys.exit(FAULT)


def _write_traceback(error: Exception) -> str:
    """Write the traceback to a temporary file and say where; return the traceback if that fails."""
    text = traceback_text(error)
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="text2sql-", suffix=f"-{TRACEBACK}", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(text)
    except OSError:
        return text
    return f"Its traceback is in {file.name}."
