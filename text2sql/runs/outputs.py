"""The files that a command is asked to write: checked before its work, so that it costs neither data nor time.

An output is no file that the command reads, none that a run owns, no other output of the command, and no existing file
that holds something else than what the command writes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import combinations
from pathlib import Path

from backends.paths import check_writable
from text2sql.errors import UserError
from text2sql.rows.files import special_kind
from text2sql.runs import records
from text2sql.runs.directory import EXPENDABLE_FILES
from text2sql.runs.summary import ENVIRONMENT, SUMMARY

# What a run keeps in its directory, in lower case: file systems exist to which README and readme are one name.
_OWNED = (
    "config.yaml",
    ".lock",
    "report.html",
    *EXPENDABLE_FILES,
    records.CHECKPOINTS,
    records.predictions_file("*"),
    "*.damaged*",
    "checkpoints",
    "plots",
    "adapter",
    "export",
    "superseded*",
)
# What a directory has besides config.yaml if it is a run's, and not one with a configuration of that name.
_SIGNS_OF_A_RUN = (".lock", ENVIRONMENT, SUMMARY, records.METRICS)


@dataclass(frozen=True)
class Output:
    """A file that a command is asked to write.

    Attributes:
        option: The option that names it, for messages.
        path: The file.
        is_own: Whether an existing file is one that the command has written, and may write again.
        suffix: The suffix that its name must have; empty for any.
    """

    option: str
    path: Path
    is_own: Callable[[Path], bool]
    suffix: str = ""


def check_outputs(outputs: Sequence[Output], inputs: Iterable[Path]) -> None:
    """Check the outputs of a command before its work; nothing is written.

    Args:
        outputs: All files that it will write.
        inputs: Files that it reads; what does not exist is passed over.

    Raises:
        UserError: An output would replace something that the command has not written, or cannot be written.
    """
    read = [path for path in inputs if path.is_file()]
    for output in outputs:
        _check_kind(output)
        if any(_is_same(output.path, path) for path in read):
            raise UserError(f"{output.option}: {output.path} is a file that the command reads; name another one.")
        if (run := _owner(output.path)) is not None:
            raise UserError(f"{output.option}: {output.path} is a file of the run in {run}; name another one.")
    for first, second in combinations(outputs, 2):
        if _is_same(first.path, second.path):
            options = dict.fromkeys((first.option, second.option))
            raise UserError(f"{' and '.join(options)}: {first.path} would be written twice; name two files.")
    for output in outputs:
        _check_existing(output)
        try:
            check_writable(output.path)
        except OSError as error:
            why = error.strerror or error
            raise UserError(
                f"{output.option}: {output.path} cannot be written: {why}. Free some space, give write permission, or "
                "name another file; nothing has been done yet."
            ) from error


def _check_kind(output: Output) -> None:
    """Raise UserError where the path is no place for a file of this kind."""
    if output.suffix and output.path.suffix.casefold() != output.suffix:
        raise UserError(f"{output.option}: {output.path} must end in {output.suffix}, which is what is written.")
    if (kind := special_kind(output.path)) is not None:
        raise UserError(f"{output.option}: {output.path} is {kind}; name a file.")


def _check_existing(output: Output) -> None:
    """Raise UserError where a file stands that has something to lose."""
    path = output.path
    if not path.is_file():
        return
    if not os.access(path, os.W_OK):
        raise UserError(f"{output.option}: {path} is there already and write-protected; name another file.")
    if path.stat().st_size and not _is_own(output):
        raise UserError(
            f"{output.option}: {path} exists already and holds something else than what this command writes; it is "
            "left as it is. Name another file, or remove it first."
        )


def _is_own(output: Output) -> bool:
    try:
        return output.is_own(output.path)
    except (OSError, ValueError, RecursionError):
        return False


def _is_same(first: Path, second: Path) -> bool:
    """Whether two paths are one file, through links too; of files that are not there yet, whether they may be."""
    if first.exists() and second.exists():
        return first.samefile(second)
    # Names that differ in letter case are one file on some systems, and are two good names on none.
    return str(first.resolve()).casefold() == str(second.resolve()).casefold() and not (
        first.exists() or second.exists()
    )


def _owner(path: Path) -> Path | None:
    """The directory of the run to which a path belongs, whether the file is there yet or not."""
    resolved = path.resolve()
    for directory in resolved.parents:
        name = resolved.relative_to(directory).parts[0].casefold()
        if any(fnmatch(name, pattern) for pattern in _OWNED) and _is_run(directory):
            return directory
    return None


def _is_run(directory: Path) -> bool:
    return (directory / "config.yaml").is_file() and any((directory / name).exists() for name in _SIGNS_OF_A_RUN)
