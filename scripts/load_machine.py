"""What `load_server.py` does to a server's machine: a disk that is slow, a disk that is full, a clock that is set."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DISK_BYTES = 256 << 20
# What is left free when the disk is nearly full: less than the server wants for a checkpoint, enough for its database.
NEARLY_FULL_BYTES = 4 << 20
LOOK_SECONDS = 0.1


class Shim:
    """A library that is loaded into the server, and its two settings; without a C compiler it has no effect.

    Args:
        directory: Where it is built.
    """

    def __init__(self, directory: Path) -> None:
        self._settings = directory / "shim.settings"
        self._settings.write_bytes(struct.pack("dd", 0, 0))
        with self._settings.open("r+b") as file:
            self._mapped = mmap.mmap(file.fileno(), 0)
        self.library = self._build(directory)

    @staticmethod
    def _build(directory: Path) -> Path | None:
        compiler = shutil.which("cc")
        if compiler is None:
            return None
        library = directory / "shim.so"
        source = Path(__file__).with_name("load_shim.c")
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        return library

    def environment(self) -> dict[str, str]:
        """Variables for the server's process."""
        return {"LD_PRELOAD": str(self.library), "LOAD_SHIM": str(self._settings)} if self.library else {}

    def set_flush_seconds(self, seconds: float) -> None:
        """How much longer each flush to the disk takes from now on."""
        self._mapped[0:8] = struct.pack("d", seconds)

    def set_clock_ahead(self, seconds: float) -> None:
        """How far the server's clock is ahead from now on."""
        self._mapped[8:16] = struct.pack("d", seconds)


@contextmanager
def small_disk(directory: Path) -> Iterator[bool]:
    """A disk of `DISK_BYTES` mounted on a new directory (a tmpfs); yields whether that is allowed here."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", directory]
    mounted = bool(shutil.which("mount")) and subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", directory], check=False)


def fill(disk: Path, leave: int) -> None:
    """Fill a disk with one file until `leave` bytes are free."""
    with (disk / "filler").open("wb") as file:
        try:
            while (free := shutil.disk_usage(disk).free) > leave:
                file.write(bytes(min(1 << 20, free - leave)))
                file.flush()
        except OSError:
            # Whatever else wrote meanwhile took the rest.
            pass


def empty(disk: Path) -> None:
    """Remove the file that `fill` wrote."""
    (disk / "filler").unlink(missing_ok=True)


class Lateness:
    """How late this machine wakes a thread that does nothing else: what no program on it can go below."""

    def __init__(self) -> None:
        self.largest = 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            expected = time.monotonic() + LOOK_SECONDS
            time.sleep(LOOK_SECONDS)
            self.largest = max(self.largest, time.monotonic() - expected)


def resident_megabytes(pid: int) -> float:
    """Memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
