"""The storage of visitors' files while the demo runs: one private directory.

It is deleted when the demo ends, also by a signal; the directory of a killed demo is deleted by the next one. A lock,
which ends with its process, marks the directories that are in use.
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
MAX_STORED_BYTES = 2 * 10**9


@dataclass(frozen=True, slots=True)
class Storage:
    """The directory of one demo.

    Attributes:
        uploads: The files that browsers send; gradio serves this directory.
        copies: The copies that questions are about; they are not served.
    """

    uploads: Path
    copies: Path

    def check_room(self, size: int) -> None:
        """Raises UserError if `size` more bytes would exceed the limit for all visitors or the free disk space."""
        stored = sum(_file_size(file) for directory in (self.uploads, self.copies) for file in directory.rglob("*"))
        # An opened file is copied once.
        room = min(MAX_STORED_BYTES - stored, shutil.disk_usage(self.copies).free // 2)
        if size > room:
            raise UserError(
                f"There is room for {max(0, room) // 10**6:,} MB of files at the moment, and this one has "
                f"{size / 10**6:,.0f} MB. Files are deleted when their visitors leave; try again later."
            )


@contextmanager
def open_storage() -> Iterator[Storage]:
    """Creates the storage, which is deleted at the end of the block, and deletes those of killed demos."""
    for leftover in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            descriptor = _lock(leftover)
            shutil.rmtree(leftover, ignore_errors=True)
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
    """A new directory, and the file descriptor that holds its lock."""
    while True:
        directory = Path(tempfile.mkdtemp(prefix=PREFIX))
        with suppress(OSError):
            descriptor = _lock(directory)
            # Another demo that starts at this moment may have deleted it as a leftover.
            if directory.exists():
                return directory, descriptor
            os.close(descriptor)


def _lock(directory: Path) -> int:
    """Locks a directory (OSError if another process holds the lock, or the directory belongs to another user)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid != os.getuid():
            raise PermissionError(f"{directory} is somebody else's.")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _file_size(file: Path) -> int:
    # The file may have been deleted meanwhile.
    with suppress(OSError):
        return file.stat().st_size
    return 0
