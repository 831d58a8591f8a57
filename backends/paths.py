"""Where this project keeps what it can make again, and how it writes a file or a directory whole or not at all.

`text2sql` and the backends share this module: it is the lowest that both may import, and it imports nothing but the
standard library.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Suffix of temporary files; a remaining one was left behind by a process that was killed.
PARTIAL = ".partial"
LEFT_SECONDS = 86400.0


def cache_directory(*parts: str) -> Path:
    """A directory of the cache: ``$TEXT2SQL_CACHE``, else ``~/.cache/text2sql``; it may not exist yet.

    Args:
        *parts: Names below it, for example ``"verdicts"``.
    """
    root = os.environ.get("TEXT2SQL_CACHE") or Path.home() / ".cache" / "text2sql"
    return Path(root).joinpath(*parts)


@contextmanager
def written_aside(target: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a path next to `target`; what the block writes there takes the place of `target` when the block ends.

    A reader, and a process that is killed, sees the old file or the new one. If the block raises, the old one stays.

    Args:
        target: The file; directories above it are made.
        durable: Whether to flush the contents to the disk first, so that a power failure leaves no empty file. Caches
            do without: it costs milliseconds for each file.

    Raises:
        OSError: The file cannot be written or renamed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(target, target.parent)
    try:
        yield aside
        if durable:
            flush_to_disk(aside)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def _aside(target: Path, directory: Path) -> Path:
    # Several processes may write the same file of the cache: each writes under another name, and the last one stays.
    return directory / f".{target.name}.{uuid.uuid4().hex[:8]}{PARTIAL}"


def check_writable(target: Path) -> None:
    """Raise OSError where `written_aside` would fail for want of permission or space; nothing is left behind.

    Args:
        target: The file; of directories above it that are not there, the first that is there is tried.
    """
    existing = next(parent for parent in target.absolute().parents if parent.exists())
    missing = target.absolute().relative_to(existing.absolute()).parts
    if any(len(os.fsencode(name)) > os.pathconf(existing, "PC_NAME_MAX") for name in missing):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(target))
    probe = _aside(target, existing)
    try:
        with probe.open("xb") as file:
            # A page, as a full disk may still have room for a name.
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
    finally:
        probe.unlink(missing_ok=True)


@contextmanager
def directory_written_aside(target: Path) -> Iterator[Path]:
    """Yield an empty directory next to `target` that takes the name `target` when the block ends.

    If the block raises, nothing is left.

    Args:
        target: The directory, which must not exist or be empty; directories above it are made.

    Raises:
        OSError: It cannot be made or renamed, for example because another process was faster.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in leftovers(target.parent):
        if leftover.name.startswith(f".{target.name}-"):
            shutil.rmtree(leftover, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield aside
        # `mkdtemp` makes a directory that others may not read.
        aside.chmod(0o755)
        aside.rename(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def leftovers(directory: Path) -> Iterator[Path]:
    """What killed processes left in a directory where they were writing aside: nothing of it was touched for a day."""
    for path in directory.iterdir():
        if path.name.startswith(".") and (path.is_dir() or path.name.endswith(PARTIAL)):
            inside = path.rglob("*") if path.is_dir() else ()
            with suppress(OSError):
                if time.time() - max(entry.stat().st_mtime for entry in (path, *inside)) > LEFT_SECONDS:
                    yield path


def flush_to_disk(path: Path) -> None:
    """Make the contents of a file, or the names in a directory, survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
