"""The command line: each command reads its arguments and calls one function."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from dotenv import load_dotenv
from typer.core import TyperGroup

from backends import openmp
from backends.redaction import redact
from text2sql import __version__
from text2sql.cli import (
    cache,
    configs,
    data,
    demo,
    env,
    estimate,
    example,
    export,
    models,
    pairs,
    results,
    run_directories,
    runs,
    serve,
    view,
)
from text2sql.cli.examples import add_examples
from text2sql.cli.faults import debugging, report_bug, take_debug_option
from text2sql.console import SafeConsole, printable, show_warnings
from text2sql.errors import UserError
from text2sql.faults import traceback_text
from text2sql.rows.values import has_lone_surrogates

# Exit status after Ctrl-C; typer turns the exception into a SystemExit with it.
INTERRUPTED = 130


def _show_version(requested: bool) -> None:
    if requested:
        print(f"text2sql {__version__}")
        raise typer.Exit


class _Commands(TyperGroup):
    """The commands; what is wrong with a command line is said without secrets and control characters, as all else."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _usage_errors():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        with _usage_errors():
            return super().invoke(ctx)


@contextmanager
def _usage_errors() -> Iterator[None]:
    try:
        yield
    # Of typer's own copy of click, or of click: its message repeats the argument.
    except Exception as error:
        if hasattr(error, "exit_code") and isinstance(message := getattr(error, "message", None), str):
            error.message = printable(redact(message))  # type: ignore[attr-defined]
        raise


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
for command in (
    runs.run,
    runs.sweep,
    runs.train,
    runs.evaluate,
    pairs.match,
    runs.ask,
    results.report,
    results.compare,
    view.view,
    results.download,
    results.bill,
    estimate.estimate,
    example.example,
    export.export,
    export.merge,
    demo.demo,
    serve.serve,
    models.models,
    env.env,
):
    app.command()(command)
app.add_typer(run_directories.app, name="runs")
app.add_typer(configs.app, name="config")
app.add_typer(data.app, name="data")
app.add_typer(cache.app, name="cache")
add_examples(app)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", "-V", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks; so does TEXT2SQL_DEBUG=1. It may stand anywhere.")
    ] = False,
) -> None:
    """Fine-tune small language models to write SQL, and say honestly whether they got better."""


# Clearer messages than the system's for errors in creating a directory.
_DIRECTORY_ERRORS: dict[type[OSError], str] = {
    FileExistsError: "A file stands where one is to be made, or a directory",
    NotADirectoryError: "A part of the path is a file",
}


def main() -> None:
    """Run the command line; expected errors are printed without a traceback, with exit status 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    # Before PyTorch is loaded, which commands do before they open a backend.
    openmp.limit_spin()
    take_debug_option()
    _quiet_libraries()
    _escape_unencodable()
    from backends.interface import BackendError

    try:
        _check_platform()
        _load_keys()
        _check_arguments(sys.argv[1:])
        app(prog_name="text2sql")
    except (UserError, BackendError) as error:
        _fail(f"{error} {_notes_of(error)}".rstrip(), error)
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:
            raise
        print(printable(f"\nInterrupted. {_notes_of(stop)}".rstrip()), file=sys.stderr)
        # At exit the interpreter waits for the device to finish its step. A second Ctrl-C ends that wait at once, and
        # without the interpreter's cleanup, after which PyTorch's thread would end in std::terminate.
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
        sys.exit(INTERRUPTED)
    except OSError as error:
        if error.filename is None and error.errno is None:
            report_bug(error, _notes_of(error))
        where = f" ({error.filename})" if error.filename else ""
        why = next(
            (text for kind, text in _DIRECTORY_ERRORS.items() if isinstance(error, kind)), error.strerror or error
        )
        message = f"{why}{where}. Fix this and run the same command again. {_notes_of(error)}"
        _fail(message.rstrip(), error)
    except Exception as error:
        report_bug(error, _notes_of(error))


def _check_platform() -> None:
    """Raise UserError on Windows: killable workers, and locks that end with their process, need POSIX here."""
    if sys.platform == "win32":
        raise UserError(
            "text2sql runs on Linux and macOS. On Windows, install it inside the Windows Subsystem for Linux "
            "(`wsl --install`, then the same commands there)."
        )


def _load_keys() -> None:
    """Read .env, in which API keys may be; variables of the environment take precedence."""
    try:
        load_dotenv(Path(".env"))
    except ValueError as error:
        raise UserError(".env is not text in UTF-8; save it as UTF-8, with NAME=VALUE on each line.") from error


def _escape_unencodable() -> None:
    """Print escapes for characters that the encoding of a terminal or a log does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _check_arguments(arguments: Sequence[str]) -> None:
    """Raise UserError for an argument that is not UTF-8, unless it names a file, and for a key with dashes."""
    for argument in arguments:
        if re.match(r"--\w+(\.\w+)+(=|$)", argument):
            raise UserError(f"Keys of a configuration are written without dashes, key=value: {argument.lstrip('-')}.")
        if has_lone_surrogates(argument) and not os.path.lexists(argument):
            raise UserError(f"An argument is not text in UTF-8: {argument!r}. Write it in UTF-8.")


def _notes_of(error: BaseException | None) -> str:
    """The notes of an exception and of its causes, which say what is kept of interrupted work."""
    notes: list[str] = []
    while error is not None:
        notes += getattr(error, "__notes__", [])
        error = error.__cause__ or error.__context__
    return " ".join(dict.fromkeys(notes))


def _fail(message: str, error: Exception) -> NoReturn:
    from rich.text import Text

    if debugging():
        print(printable(traceback_text(error)), file=sys.stderr, end="")
    line = Text.assemble(("Error", "bold red"), " ", printable(redact(message)))
    SafeConsole(stderr=True).print(line, soft_wrap=True)
    sys.exit(2)


def _quiet_libraries() -> None:
    """Silence messages of libraries about themselves; warnings about the user's data are still shown."""
    import logging
    import warnings

    warnings.filterwarnings("ignore", category=FutureWarning)
    # Warnings on how files were read.
    show_warnings("text2sql")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    for name in ("httpx", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
