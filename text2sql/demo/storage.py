"""Where visitors' files lie while the demo runs: one private directory, which nothing outlives.

It is removed when the demo ends, also by a signal; what a demo that was killed left is removed by the next one. A lock
that dies with its process says which directories are in use.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from text2sql.errors import UserError

PREFIX = "text2sql-demo-"
# Bytes of all visitors' files, uploads and copies together.
MAX_KEPT = 2 * 10**9


@dataclass(frozen=True, slots=True)
class Storage:
    """The directory of one demo.

    Attributes:
        uploads: What browsers send; gradio serves what lies here.
        copies: What questions are asked about; nothing serves it.
    """

    uploads: Path
    copies: Path

    def check_room(self, size: int) -> None:
        """Raise UserError if `size` more bytes would be too many, for all visitors together or for the disk."""
        kept = sum(_size(file) for directory in (self.uploads, self.copies) for file in directory.rglob("*"))
        # A file that is opened is copied once.
        room = min(MAX_KEPT - kept, shutil.disk_usage(self.copies).free // 2)
        if size > room:
            raise UserError(
                f"There is room for {max(0, room) // 10**6:,} MB of files at the moment, and this one has "
                f"{size / 10**6:,.0f} MB. Files are deleted when their visitors leave; try again later."
            )


@contextmanager
def open_storage() -> Iterator[Storage]:
    """A new directory for visitors' files, removed at the end; those of killed demos are removed now."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            descriptor = _lock(left)
            shutil.rmtree(left, ignore_errors=True)
            os.close(descriptor)
    directory, descriptor = _locked_directory()
    try:
        storage = Storage(directory / "uploads", directory / "copies")
        storage.uploads.mkdir()
        storage.copies.mkdir()
        yield storage
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(descriptor)


def _locked_directory() -> tuple[Path, int]:
    """A new directory and the descriptor that holds its lock."""
    while True:
        directory = Path(tempfile.mkdtemp(prefix=PREFIX))
        with suppress(OSError):
            descriptor = _lock(directory)
            # Another demo that starts at this moment may have taken it for a leftover.
            if directory.exists():
                return directory, descriptor
            os.close(descriptor)


def _lock(directory: Path) -> int:
    """Take the lock of a directory (OSError if a living process holds it, or the directory is somebody else's)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid != os.getuid():
            raise PermissionError(f"{directory} is somebody else's.")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _size(file: Path) -> int:
    # It may have been deleted meanwhile.
    with suppress(OSError):
        return file.stat().st_size
    return 0
