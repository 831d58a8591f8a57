"""What a path of a user is, before it is opened: a pipe would wait for ever, a device may never end."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

# Checks of a file's mode, with the kind in words.
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def special_kind(path: Path) -> str | None:
    """What a path is if it is something else than a file, for example ``"a directory"``; None where there is nothing.

    Raises:
        OSError: The path cannot be looked up.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), None)


class IsNoFile(OSError):
    """A path at which a file was expected is something else; its text is a sentence that continues a message."""

    def __str__(self) -> str:
        return str(self.strerror)


def check_is_file(path: Path) -> None:
    """Raise `IsNoFile` if a path is a directory, a pipe, a device or a socket."""
    if (kind := special_kind(path)) is not None:
        raise IsNoFile(errno.EINVAL, f"it is {kind}, not a file", str(path))


def read_bytes(path: Path) -> bytes:
    """The contents of a file.

    Raises:
        OSError: It cannot be read, or is no file.
    """
    check_is_file(path)
    return path.read_bytes()
