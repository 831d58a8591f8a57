"""The console, and the progress of long work: rich bars on a terminal, an occasional line elsewhere.

Models, rows, files and servers write some of what is printed: `printable` shows their control characters instead of
obeying them, and every console applies it. What is written for programs (JSON, files) stays exact.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from backends.redaction import redact

# Seconds between two lines of progress where there is no terminal.
LINE_INTERVAL = 10.0
# Seconds to the first of them.
FIRST_LINE_DELAY = 2.0

# Columns of a terminal.
MIN_WIDTH = 20
# Control characters besides tabs and line breaks, marks that turn the direction of writing, and lone surrogates.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with signs in place of its control characters, so that a terminal shows and does not obey them.

    Those of ASCII become Unicode's pictures of them (``␛`` for escape), the others their number: ``<U+202E>``.
    """
    return _CONTROL.sub(_picture, text.replace("\r\n", "\n"))


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    return "\u2421" if code == 0x7F else chr(0x2400 + code) if code < 0x20 else f"<U+{code:04X}>"


def _is_width(text: str) -> bool:
    """Whether it is a width at which a table can be read."""
    return text.isdecimal() and int(text) >= MIN_WIDTH


class SafeConsole(Console):
    """A console that prints no control characters of the texts that it is given, and takes nothing in them for markup.

    Args:
        stderr: Whether it writes there and not to stdout.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        # SQL and data are full of brackets and colons. In a log, a path or a command stays in one piece.
        stream = sys.stderr if stderr else sys.stdout
        # None where it is closed.
        wraps = stream is not None and stream.isatty()
        environment = {name: value for name, value in os.environ.items() if name != "COLUMNS" or _is_width(value)}
        super().__init__(
            stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=not wraps, _environ=environment
        )

    def render_str(self, text: str, **options: Any) -> Text:
        """Replace control characters before the width of a text is measured."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Replace them in what has not been a plain text, and break a long word of a cell rather than cut it off."""
        options = options or self.options
        if options.overflow == "ellipsis":
            options = options.update(overflow="fold")
        for segment in super().render(renderable, options):
            yield segment if segment.is_control else Segment(printable(segment.text), segment.style)


console = SafeConsole()


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        # Plainly: a live bar replaces sys.stderr by a stream that writes above it; a console would undo that.
        message = printable(redact(record.getMessage()))
        print(f"{record.levelname.capitalize()}: {message}", file=sys.stderr, flush=True)


def show_warnings(library: str) -> None:
    """Show a library's warnings on stderr, where they neither get into results nor tear a bar apart."""
    logger = logging.getLogger(library)
    if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        handler = _StderrHandler(logging.WARNING)
        logger.addHandler(handler)
        logger.propagate = False


class ProgressBar:
    """The progress of one piece of work; call `advance` as examples are finished.

    Args:
        name: What is being done.
        total: Examples in all.
        done: Examples that an earlier start has finished.
        bar: The rich bars of the terminal; None where lines are printed instead.
    """

    def __init__(self, name: str, total: int, done: int, bar: Progress | None) -> None:
        self._name, self._total, self._done, self._bar = name, total, done, bar
        self._done_before, self._tokens, self._started = done, 0, time.monotonic()
        self._last_line = self._started - LINE_INTERVAL + FIRST_LINE_DELAY
        self._task = bar.add_task(name, total=total, completed=done, about="") if bar else None

    def advance(self, examples: int, tokens: int, **values: float | str | None) -> None:
        """Count finished work.

        Args:
            examples: Examples finished since the last call.
            tokens: Their tokens, for the rate.
            **values: What else to show, for example the loss.
        """
        self._done += examples
        self._tokens += tokens
        seconds = max(time.monotonic() - self._started, 1e-9)
        rates = [f"{(self._done - self._done_before) / seconds:.2f} ex/s"]
        rates += [f"{self._tokens / seconds:.0f} tok/s"] if self._tokens else []
        shown = [
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
        ]
        about = "  ".join([*rates, *shown])
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, about=about)
        elif time.monotonic() - self._last_line > LINE_INTERVAL or self._done >= self._total:
            self._last_line = time.monotonic()
            seconds_left = seconds * (self._total - self._done) / max(1, self._done - self._done_before)
            console.print(f"{self._name}: {self._done}/{self._total}  {about}  {seconds_left:.0f} s left")


@contextmanager
def progress_bar(name: str, total: int, done: int = 0) -> Iterator[ProgressBar]:
    """Show the progress of a piece of work until the end of the block.

    Args:
        name: What is being done.
        total: Examples in all.
        done: Examples that an earlier start has finished.
    """
    if not console.is_terminal:
        yield ProgressBar(name, total, done, None)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[about]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        yield ProgressBar(name, total, done, bar)
