"""The console, and the progress of long work: rich bars on a terminal, an occasional line elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

# Seconds between two lines of progress where there is no terminal.
LINE_INTERVAL = 10.0
# Seconds to the first of them.
FIRST_LINE_DELAY = 2.0

console = Console(
    highlight=False,
    # SQL and data are full of brackets and colons, which are no markup here.
    markup=False,
    emoji=False,
    # In a log, a path or a command stays in one piece.
    soft_wrap=not sys.stdout.isatty(),
)


class _StderrHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        # Plainly: a live bar replaces sys.stderr by a stream that writes above it; a console would undo that.
        print(f"{record.levelname.capitalize()}: {record.getMessage()}", file=sys.stderr, flush=True)


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
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[about]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        yield ProgressBar(name, total, done, bar)
