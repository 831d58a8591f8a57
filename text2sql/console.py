"""Live progress of a long stage: rich bars on a terminal, an occasional line elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

# Seconds between two lines where there is no terminal, and to the first.
LINE_EVERY, FIRST_LINE_AFTER = 10.0, 2.0

console = Console(
    highlight=False,
    # SQL and data are full of brackets and colons, which are no markup here.
    markup=False,
    emoji=False,
    # In a log, a path or a command stays in one piece.
    soft_wrap=not sys.stdout.isatty(),
)


class _ToStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        # Plainly: a live bar replaces sys.stderr by a stream that writes above it; a console would undo that.
        print(f"{record.levelname.capitalize()}: {record.getMessage()}", file=sys.stderr, flush=True)


def show_warnings(library: str) -> None:
    """Show a library's warnings on stderr, where they neither get into results nor tear a bar apart."""
    logger = logging.getLogger(library)
    if not any(isinstance(handler, _ToStderr) for handler in logger.handlers):
        handler = _ToStderr(logging.WARNING)
        logger.addHandler(handler)
        logger.propagate = False


class Stage:
    """One running stage; `advance` it as work is finished."""

    def __init__(self, name: str, total: int, done: int, bar: Progress | None) -> None:
        self._name, self._total, self._done, self._bar = name, total, done, bar
        self._from, self._tokens, self._start = done, 0, time.monotonic()
        self._line = self._start - LINE_EVERY + FIRST_LINE_AFTER
        self._task = bar.add_task(name, total=total, completed=done, about="") if bar else None

    def advance(self, examples: int, tokens: int, **values: float | str | None) -> None:
        """Count finished work.

        Args:
            examples: Units of the total.
            tokens: Tokens behind them, for the rate.
            **values: What else to show, for example the loss.
        """
        self._done += examples
        self._tokens += tokens
        seconds = max(time.monotonic() - self._start, 1e-9)
        rates = [f"{(self._done - self._from) / seconds:.2f} ex/s"]
        rates += [f"{self._tokens / seconds:.0f} tok/s"] if self._tokens else []
        shown = [
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
        ]
        about = "  ".join([*rates, *shown])
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=self._done, about=about)
        elif time.monotonic() - self._line > LINE_EVERY or self._done >= self._total:
            self._line = time.monotonic()
            left = seconds * (self._total - self._done) / max(1, self._done - self._from)
            console.print(f"{self._name}: {self._done}/{self._total}  {about}  {left:.0f} s left")


@contextmanager
def stage(name: str, total: int, done: int = 0) -> Iterator[Stage]:
    """Show the progress of a stage.

    Args:
        name: What is being done.
        total: Examples in all.
        done: Examples that an earlier start has finished.
    """
    if not console.is_terminal:
        yield Stage(name, total, done, None)
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
        yield Stage(name, total, done, bar)
