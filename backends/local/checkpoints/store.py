"""``tinker://`` paths on disk: atomic to write, listed, expired, deleted.

``tinker://RUN/weights/NAME`` is the directory ``ROOT/RUN/weights/NAME``, and so are ``sampler_weights`` and
``external_weights``. `backends.local.checkpoints.files` describes their contents.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from tinker import types

from backends.base_models import hub_id
from backends.checkpoint_paths import KINDS, NAME, SEGMENTS, CheckpointPath, Kind, check_name, check_ttl
from backends.interface import BackendError
from backends.local.checkpoints.files import Checkpoint, check_weights, read_files, write_files
from backends.local.checkpoints.manifest import MANIFEST_FILE, CheckpointManifest, Listing
from backends.paths import flush_to_disk, leftovers, written_aside

# A temporary directory: one that a process is writing, or an old checkpoint ("replaced") while the new one takes its
# place. The process holds a lock on it, which ends with the process. Host and process id are informative only: in a
# container every process may have the same id.
TEMPORARY = re.compile(r"\.(?P<name>.+)~(?P<host>.+)~(?P<pid>\d+)~(?P<what>.+)")
REPLACED = "replaced"
DELETED = "deleted"
# Exceptions of reading a damaged or foreign manifest.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, BackendError)


@dataclass(frozen=True, slots=True)
class Stored:
    """One checkpoint in the directory, without tensors.

    Attributes:
        path: Its ``tinker://`` path.
        kind: Kind of checkpoint.
        directory: Directory of its files.
        manifest: Its manifest.
    """

    path: str
    kind: Kind
    directory: Path
    manifest: CheckpointManifest

    @property
    def run(self) -> str:
        """Id of the training run."""
        return CheckpointPath.parse(self.path).run

    @property
    def time(self) -> datetime:
        """When it was written."""
        return self.manifest.listing.time

    @property
    def expires_at(self) -> datetime | None:
        """When it expires; None: never."""
        return self.manifest.listing.expires_at

    def with_listing(self, **changes: Any) -> CheckpointManifest:
        """The manifest with fields of its listing changed."""
        return replace(self.manifest, listing=replace(self.manifest.listing, **changes))

    def describe(self) -> types.Checkpoint:
        """The checkpoint as the SDK describes it."""
        return types.Checkpoint(
            checkpoint_id=CheckpointPath.parse(self.path).checkpoint_id,
            checkpoint_type=self.kind,
            time=self.time,
            tinker_path=self.path,
            size_bytes=sum(file.stat().st_size for file in self.directory.iterdir()),
            user_metadata=self.manifest.listing.user_metadata,
            expires_at=self.expires_at,
        )


class CheckpointStore:
    """The checkpoints under one directory. Opening it removes what has expired and what was never finished.

    Attributes:
        root: The directory.
        public_names: Names of base models for other programs, by where they are loaded from.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.public_names: Mapping[str, str] = {}
        self.clean()

    def write(
        self,
        run: str,
        kind: Kind,
        name: str,
        checkpoint: Checkpoint,
        *,
        overwrite: bool = False,
        ttl_seconds: int | None = None,
        user_metadata: Mapping[str, str] | None = None,
        run_metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Write a checkpoint and return its ``tinker://`` path.

        The files are written to a temporary directory, flushed to the disk and renamed into place: at any moment the
        name holds the old checkpoint, the new one or nothing, never a part. An old one that was being replaced when
        the process was killed is put back when the store is opened again.

        Raises:
            ValueError: The name has other characters than letters, digits, ``.``, ``_`` and ``-``, or is taken; or
                `ttl_seconds` is out of range.
            BackendError: The disk is full, or not writable; or the weights are not finite (`check_weights`).
        """
        check_weights(checkpoint.weights)
        target = self._target(run, kind, name)
        path = str(CheckpointPath(run, kind, name))
        if target.exists() and not overwrite:
            raise ValueError(f"{path} exists already; give another name, or overwrite=True.")
        listing = Listing(
            tinker_path=path,
            time=_now(),
            expires_at=_expiry(ttl_seconds),
            user_metadata=dict(user_metadata) if user_metadata else None,
            run_metadata=dict(run_metadata) if run_metadata else None,
        )
        base_model = checkpoint.base_model
        public_name = self.public_names.get(base_model) or hub_id(base_model)
        self._write_directory(target, lambda aside: write_files(aside, checkpoint, listing, public_name))
        return path

    def read(self, path: str, *, optimizer: bool) -> Checkpoint:
        """Read and verify a checkpoint.

        Raises:
            ValueError: `path` is not a ``tinker://`` path.
            BackendError: The checkpoint is missing, expired, incomplete, damaged, or has no optimiser though one is
                requested.
        """
        return read_files(self._existing(path), path, optimizer=optimizer)

    def locate(self, path: str) -> Path:
        """The directory of a ``tinker://`` path (ValueError if it is not one)."""
        parsed = CheckpointPath.parse(path)
        if not NAME.fullmatch(parsed.name):
            raise ValueError(f"Invalid tinker path: {path}. Names have letters, digits, dots, _ and -.")
        return self.root / _directory(parsed.run) / SEGMENTS[parsed.kind] / parsed.name

    def get(self, path: str) -> Stored:
        """One checkpoint, without tensors (BackendError if there is none, or it is damaged)."""
        directory = self._existing(path)
        try:
            return Stored(path, CheckpointPath.parse(path).kind, directory, CheckpointManifest.read(directory))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BackendError(f"{path} cannot be read ({type(error).__name__}: {error}); it is damaged.") from error

    def entries(self, run: str | None = None) -> list[Stored]:
        """The checkpoints of a training run, or all; the newest first. Expired ones are deleted, damaged ones left."""
        pattern = _directory(run) if run is not None else "*"
        entries = []
        for segment, kind in KINDS.items():
            for directory in self.root.glob(f"{pattern}/{segment}/*"):
                if NAME.fullmatch(directory.name):
                    with suppress(*UNREADABLE):
                        entries.append(self._stored(kind, directory))
        expired = [stored for stored in entries if _is_past(stored.expires_at)]
        for stored in expired:
            self._remove(stored.directory)
        return sorted((s for s in entries if s not in expired), key=lambda s: (s.time, s.path), reverse=True)

    def delete(self, path: str) -> None:
        """Delete a checkpoint (BackendError if there is none)."""
        self._remove(self._existing(path))

    def set_ttl(self, path: str, ttl_seconds: int | None) -> None:
        """Let a checkpoint expire this many seconds from now, or never.

        Raises:
            ValueError: Not between an hour and ten years.
            BackendError: There is no such checkpoint.
        """
        stored = self.get(path)
        with written_aside(stored.directory / MANIFEST_FILE, durable=True) as aside:
            stored.with_listing(expires_at=_expiry(ttl_seconds)).write(aside)

    def copy(self, path: str, run: str, *, ttl_seconds: int | None = None) -> str:
        """Copy a checkpoint into another training run under the same name; returns its path."""
        stored = self.get(path)
        name = stored.directory.name
        target = self._target(run, stored.kind, name)
        copied = str(CheckpointPath(run, stored.kind, name))
        manifest = stored.with_listing(tinker_path=copied, expires_at=_expiry(ttl_seconds))

        def copy_files(aside: Path) -> None:
            shutil.copytree(stored.directory, aside, dirs_exist_ok=True)
            manifest.write(aside / MANIFEST_FILE)
            for file in aside.iterdir():
                flush_to_disk(file)

        self._write_directory(target, copy_files)
        return copied

    def clean(self) -> None:
        """Delete expired checkpoints and what killed processes left unfinished; restore what was being replaced."""
        self.entries()
        for leftover in self.root.glob("*/*/.*"):
            match = TEMPORARY.fullmatch(leftover.name)
            if match is None:
                continue
            with ExitStack() as stack:
                try:
                    stack.enter_context(_locked(leftover))
                except OSError:
                    # Its process is running, or has just finished.
                    continue
                target = leftover.with_name(match["name"])
                if match["what"] == REPLACED and not target.exists():
                    leftover.rename(target)
                else:
                    shutil.rmtree(leftover, ignore_errors=True)
        for segment in KINDS:
            for directory in self.root.glob(f"*/{segment}/*"):
                # A checkpoint is complete when it gets its name: one without a manifest is an interrupted deletion.
                if not NAME.fullmatch(directory.name) or not directory.is_dir():
                    continue
                if not (directory / MANIFEST_FILE).exists():
                    shutil.rmtree(directory, ignore_errors=True)
                    continue
                # A process killed in `set_ttl` leaves the manifest that it was writing.
                for leftover in leftovers(directory):
                    leftover.unlink(missing_ok=True)

    def _remove(self, directory: Path) -> None:
        """Delete a checkpoint: its name first, so that a killed process leaves what `clean` recognises."""
        aside = directory.with_name(f".{directory.name}~{_host()}~{os.getpid()}~{DELETED}")
        with suppress(FileNotFoundError):
            directory.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def _target(self, run: str, kind: Kind, name: str) -> Path:
        check_name(name)
        return self.root / _directory(run) / SEGMENTS[kind] / name

    def _write_directory(self, target: Path, fill: Callable[[Path], object]) -> None:
        """Let `fill(directory)` write a temporary directory, then rename it to `target`.

        `backends.paths.directory_written_aside` does not suffice: a checkpoint may replace another, and the name of
        the directory and the lock on it distinguish what a running process writes from what a killed one left.
        """
        aside: Path | None = None
        locks = ExitStack()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            prefix = f".{target.name}~{_host()}~{os.getpid()}~"
            aside = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
            locks.enter_context(_locked(aside))
            fill(aside)
            if target.exists():
                replaced = target.with_name(prefix + REPLACED)
                # The lock stays with the directory when it is renamed.
                locks.enter_context(_locked(target))
                target.rename(replaced)
                try:
                    aside.rename(target)
                except OSError:
                    replaced.rename(target)
                    raise
                shutil.rmtree(replaced)
            else:
                aside.rename(target)
            flush_to_disk(target.parent)
        except (OSError, SafetensorError) as error:
            raise BackendError(
                f"Writing the checkpoint {target} failed: {error}. Free some space or check the permissions; "
                "earlier checkpoints are untouched."
            ) from error
        finally:
            if aside is not None:
                shutil.rmtree(aside, ignore_errors=True)
            locks.close()

    def _existing(self, path: str) -> Path:
        """The directory of a checkpoint that exists and has not expired."""
        directory = self.locate(path)
        if not (directory / MANIFEST_FILE).is_file():
            raise BackendError(f"There is no checkpoint {path} (looked in {directory}).")
        try:
            expiry = self._stored("training", directory).expires_at
        except UNREADABLE:
            # Whoever reads it reports what is damaged.
            return directory
        if _is_past(expiry):
            shutil.rmtree(directory, ignore_errors=True)
            raise BackendError(f"There is no checkpoint {path} any more: it expired at {expiry}.")
        return directory

    def _stored(self, kind: Kind, directory: Path) -> Stored:
        manifest = CheckpointManifest.read(directory)
        # An older version wrote no path; it follows from the names of the directories.
        run = directory.parent.parent.name.replace("-train-", ":train:")
        path = manifest.listing.tinker_path or str(CheckpointPath(run, kind, directory.name))
        # Parsed here, so that a damaged path raises here and nowhere else.
        return Stored(str(CheckpointPath.parse(path)), kind, directory, manifest)


def group_by_run(stored: list[Stored]) -> Iterator[tuple[str, list[Stored]]]:
    """Checkpoints by training run, in the order in which the runs first occur."""
    ids = dict.fromkeys(checkpoint.run for checkpoint in stored)
    for run in ids:
        yield run, [checkpoint for checkpoint in stored if checkpoint.run == run]


def _directory(run: str) -> str:
    # ':' is not allowed in file names everywhere.
    name = run.replace(":", "-")
    if not NAME.fullmatch(name):
        raise ValueError(f"Invalid training run id: {run}")
    return name


def _now() -> datetime:
    return datetime.now(UTC)


def _expiry(ttl_seconds: int | None) -> datetime | None:
    check_ttl(ttl_seconds)
    if ttl_seconds is None:
        return None
    return _now() + timedelta(seconds=ttl_seconds)


def _is_past(moment: datetime | None) -> bool:
    return moment is not None and moment <= _now()


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:20]


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory (OSError if another process holds it, or there is no such directory)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
