"""What the command line says of an exception that nobody foresaw: that it is a bug, and where its traceback is."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from typing import NoReturn

from text2sql.faults import TRACEBACK

# Exit status after a fault of this program (sysexits.h, EX_SOFTWARE); 1 would say of `match` that the queries differ.
FAULT = 70
DEBUG = "TEXT2SQL_DEBUG"


def take_debug_option() -> None:
    """Take ``--debug`` out of the command line, wherever it stands, and remember it."""
    if "--debug" in sys.argv[1:]:
        sys.argv[1:] = [argument for argument in sys.argv[1:] if argument != "--debug"]
        os.environ[DEBUG] = "1"


def debugging() -> bool:
    """Whether tracebacks are to be shown."""
    return os.environ.get(DEBUG, "") not in ("", "0")


def break_down(error: Exception, said: str) -> NoReturn:
    """Report an unforeseen exception, and exit.

    Args:
        error: The exception.
        said: What the work that it ended says of its results, and of where the traceback is.
    """
    if debugging():
        traceback.print_exception(error)
    name = type(error).__name__
    lines = str(error).splitlines()
    what = f"{name}: {lines[0]}" if lines else name
    print(f"This is a bug of text2sql: {what}", file=sys.stderr)
    print(said if TRACEBACK in said else f"{said} {_kept(error)}".strip(), file=sys.stderr)
    print("Report it with that file and what `text2sql env` prints; --debug shows the traceback here.", file=sys.stderr)
    sys.exit(FAULT)


def _kept(error: Exception) -> str:
    """Where the traceback is that belongs to no run; the traceback itself where no file can be written."""
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="text2sql-", suffix=f"-{TRACEBACK}", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(text)
    except OSError:
        return text
    return f"Its traceback is in {file.name}."
