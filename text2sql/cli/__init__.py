"""The command line: each command reads its arguments and calls one function."""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import typer

from text2sql.cli import cache, configs, data, demo, estimate, export, pairs, results, runs, serve
from text2sql.console import show_warnings
from text2sql.errors import UserError
from text2sql.rows.values import has_half_characters

# Exit status after Ctrl-C, into which typer turns the exception.
INTERRUPTED = 130
# Exit status after a fault of this program (sysexits.h, EX_SOFTWARE).
FAULT = 70

app = typer.Typer(
    help="Fine-tune small language models to write SQL, and say honestly whether they got better.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
for command in (
    runs.run,
    runs.train,
    runs.evaluate,
    pairs.match,
    runs.ask,
    results.compare,
    results.download,
    estimate.estimate,
    export.export,
    demo.demo,
    serve.serve,
):
    app.command()(command)
app.add_typer(configs.app, name="config")
app.add_typer(data.app, name="data")
app.add_typer(cache.app, name="cache")


def main() -> None:
    """Run the command line; errors for people are printed without a traceback, with exit status 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    _quiet_libraries()
    _make_streams_patient()
    from backends.interface import BackendError

    try:
        _check_arguments(sys.argv[1:])
        app(prog_name="text2sql")
    except (UserError, BackendError) as error:
        _fail(str(error))
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:
            raise
        print(f"\nInterrupted. {_said_of(stop)}".rstrip(), file=sys.stderr)
        # The interpreter's end waits for the step that a device is at. A second Ctrl-C ends that wait at once, without
        # the interpreter's own cleanup: after it, PyTorch's thread would end in std::terminate.
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
        sys.exit(INTERRUPTED)
    except OSError as error:
        if error.filename is None and error.errno is None:
            _break_down()
        where = f" ({error.filename})" if error.filename else ""
        _fail(f"{error.strerror or error}{where}. Fix this and run the same command again. {_said_of(error)}".rstrip())
    except Exception:
        _break_down()


def _break_down() -> NoReturn:
    """Show the exception that this program did not foresee; 1 would say of `match` that the queries differ."""
    traceback.print_exc()
    sys.exit(FAULT)


def _make_streams_patient() -> None:
    """Let a terminal or a log in another encoding than UTF-8 show escapes for the signs that it does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _check_arguments(arguments: Sequence[str]) -> None:
    """Raise UserError for an argument in another encoding, unless it is a file's name."""
    for argument in arguments:
        if has_half_characters(argument) and not os.path.lexists(argument):
            raise UserError(f"An argument is not text in UTF-8: {argument!r}. Write it in UTF-8.")


def _said_of(error: BaseException | None) -> str:
    """What work that was broken off says of its results: notes of the exception, or of the one it came from."""
    notes: list[str] = []
    while error is not None:
        notes += getattr(error, "__notes__", [])
        error = error.__cause__ or error.__context__
    return " ".join(dict.fromkeys(notes))


def _fail(message: str) -> None:
    from rich.console import Console

    Console(stderr=True, highlight=False).print(f"[bold red]Error[/] {_escaped(message)}", soft_wrap=True)
    sys.exit(2)


def _escaped(message: str) -> str:
    from rich.markup import escape

    return escape(message)


def _quiet_libraries() -> None:
    """Silence what libraries say about themselves; their warnings about the user's data still show."""
    import logging
    import warnings

    warnings.filterwarnings("ignore", category=FutureWarning)
    # What must be known of how a file was read.
    show_warnings("text2sql")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    for name in ("httpx", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
