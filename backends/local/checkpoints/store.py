"""``tinker://`` paths on disk: atomic to write, listed, expired, deleted.

``tinker://RUN/weights/NAME`` is the directory ``ROOT/RUN/weights/NAME``; ``sampler_weights`` and ``external_weights``
likewise. `backends.local.checkpoints.files` says what is in it.
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
from backends.checkpoint_paths import KINDS, SEGMENTS, CheckpointPath, Kind, check_ttl
from backends.interface import BackendError
from backends.local.checkpoints.description import FILE, Description, Listing
from backends.local.checkpoints.files import Checkpoint, check_weights, read_files, write_files
from backends.paths import flush_to_disk, leftovers, written_aside

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# A directory that a process is writing, or an old checkpoint ("replaced") while its new one takes its place. The
# process holds a lock on it, which dies with the process. Host and number are for people alone: in a container every
# process has the number of the one before it.
UNDER_WAY = re.compile(r"\.(?P<name>.+)~(?P<host>.+)~(?P<pid>\d+)~(?P<what>.+)")
REPLACED = "replaced"
DELETED = "deleted"
# What a damaged or foreign description raises.
UNREADABLE = (OSError, ValueError, KeyError, TypeError, BackendError)


@dataclass(frozen=True, slots=True)
class Stored:
    """One checkpoint in the directory, without tensors.

    Attributes:
        path: Its ``tinker://`` path.
        kind: What was saved.
        directory: Where its files are.
        description: What it is of, and how it is listed.
    """

    path: str
    kind: Kind
    directory: Path
    description: Description

    @property
    def run(self) -> str:
        """Id of the training run."""
        return CheckpointPath.parse(self.path).run

    @property
    def time(self) -> datetime:
        """When it was written."""
        return self.description.listing.time

    @property
    def expires_at(self) -> datetime | None:
        """When it expires; None: never."""
        return self.description.listing.expires_at

    def relisted(self, **changes: Any) -> Description:
        """The description with fields of its listing changed."""
        return replace(self.description, listing=replace(self.description.listing, **changes))

    def describe(self) -> types.Checkpoint:
        """The SDK's description of it."""
        return types.Checkpoint(
            checkpoint_id=CheckpointPath.parse(self.path).checkpoint_id,
            checkpoint_type=self.kind,
            time=self.time,
            tinker_path=self.path,
            size_bytes=sum(file.stat().st_size for file in self.directory.iterdir()),
            user_metadata=self.description.listing.user_metadata,
            expires_at=self.expires_at,
        )


class CheckpointStore:
    """The checkpoints under one directory. Opening it clears away what has expired and what was never finished.

    Attributes:
        root: The directory.
        public_names: Of base models that others know by another name than the place that they are loaded from.
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

        The files are written aside, flushed to the disk and renamed into place: at any moment the name holds the old
        checkpoint, the new one or nothing, never a part; and an old one that a kill has caught half way out of the
        way is put back when the store is opened again.

        Raises:
            ValueError: The name has other characters than letters, digits, ``.``, ``_`` and ``-``, or is taken; or
                `ttl_seconds` is out of range.
            BackendError: The disk is full, or may not be written to; or the weights are no model's (`check_weights`).
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
        known_as = self.public_names.get(base_model) or hub_id(base_model)
        self._place(target, lambda aside: write_files(aside, checkpoint, listing, known_as))
        return path

    def read(self, path: str, *, optimizer: bool) -> Checkpoint:
        """Read and verify a checkpoint.

        Raises:
            ValueError: `path` is not a ``tinker://`` path.
            BackendError: The checkpoint is missing, expired, incomplete, damaged, or has no optimiser though one is
                asked for.
        """
        return read_files(self._present(path), path, optimizer=optimizer)

    def locate(self, path: str) -> Path:
        """The directory that a ``tinker://`` path names (ValueError if it is none)."""
        parsed = CheckpointPath.parse(path)
        if not NAME.fullmatch(parsed.name):
            raise ValueError(f"Invalid tinker path: {path}")
        return self.root / _directory(parsed.run) / SEGMENTS[parsed.kind] / parsed.name

    def get(self, path: str) -> Stored:
        """The description of one checkpoint (BackendError if there is none, or it is damaged)."""
        directory = self._present(path)
        try:
            return Stored(path, CheckpointPath.parse(path).kind, directory, Description.read(directory))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BackendError(f"{path} cannot be read ({type(error).__name__}: {error}); it is damaged.") from error

    def entries(self, run: str | None = None) -> list[Stored]:
        """The checkpoints of a training run, or all; the newest first. Expired ones are deleted, damaged ones left."""
        pattern = _directory(run) if run is not None else "*"
        found = []
        for segment, kind in KINDS.items():
            for directory in self.root.glob(f"{pattern}/{segment}/*"):
                if NAME.fullmatch(directory.name):
                    with suppress(*UNREADABLE):
                        found.append(self._stored(kind, directory))
        expired = [stored for stored in found if _is_past(stored.expires_at)]
        for stored in expired:
            self._remove(stored.directory)
        return sorted((s for s in found if s not in expired), key=lambda s: (s.time, s.path), reverse=True)

    def delete(self, path: str) -> None:
        """Delete a checkpoint (BackendError if there is none)."""
        self._remove(self._present(path))

    def set_ttl(self, path: str, ttl_seconds: int | None) -> None:
        """Let a checkpoint expire this many seconds from now, or never.

        Raises:
            ValueError: Not between an hour and ten years.
            BackendError: There is no such checkpoint.
        """
        stored = self.get(path)
        with written_aside(stored.directory / FILE, durable=True) as aside:
            stored.relisted(expires_at=_expiry(ttl_seconds)).write(aside)

    def copy(self, path: str, run: str, *, ttl_seconds: int | None = None) -> str:
        """Copy a checkpoint into another training run under the same name; returns its path."""
        stored = self.get(path)
        name = stored.directory.name
        target = self._target(run, stored.kind, name)
        copied = str(CheckpointPath(run, stored.kind, name))
        description = stored.relisted(tinker_path=copied, expires_at=_expiry(ttl_seconds))

        def fill(aside: Path) -> None:
            shutil.copytree(stored.directory, aside, dirs_exist_ok=True)
            description.write(aside / FILE)
            for file in aside.iterdir():
                flush_to_disk(file)

        self._place(target, fill)
        return copied

    def clean(self) -> None:
        """Delete what has expired and what dead processes left unfinished; put back what was being replaced."""
        self.entries()
        for leftover in self.root.glob("*/*/.*"):
            match = UNDER_WAY.fullmatch(leftover.name)
            if match is None:
                continue
            with ExitStack() as stack:
                try:
                    stack.enter_context(_locked(leftover))
                except OSError:
                    # Its process lives, or has finished with it just now.
                    continue
                target = leftover.with_name(match["name"])
                if match["what"] == REPLACED and not target.exists():
                    leftover.rename(target)
                else:
                    shutil.rmtree(leftover, ignore_errors=True)
        for segment in KINDS:
            for directory in self.root.glob(f"*/{segment}/*"):
                # A checkpoint gets its name as a whole: one without a description is what a kill left of a deletion.
                if not NAME.fullmatch(directory.name) or not directory.is_dir():
                    continue
                if not (directory / FILE).exists():
                    shutil.rmtree(directory, ignore_errors=True)
                    continue
                # A kill in `set_ttl` leaves the description that it was writing.
                for leftover in leftovers(directory):
                    leftover.unlink(missing_ok=True)

    def _remove(self, directory: Path) -> None:
        """Delete a checkpoint: its name first, so that a kill leaves what `clean` knows to be a leftover."""
        aside = directory.with_name(f".{directory.name}~{_host()}~{os.getpid()}~{DELETED}")
        with suppress(FileNotFoundError):
            directory.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def _target(self, run: str, kind: Kind, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise ValueError(f'Checkpoint name "{name}" may only have letters, digits, ".", "_" and "-".')
        return self.root / _directory(run) / SEGMENTS[kind] / name

    def _place(self, target: Path, fill: Callable[[Path], object]) -> None:
        """Let `fill(directory)` write aside, then rename the directory to `target`.

        `backends.paths.directory_written_aside` would not do: a checkpoint may take the place of another, and the
        name of the directory and the lock on it distinguish what a living process writes from what a killed one left.
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

    def _present(self, path: str) -> Path:
        """The directory of a checkpoint that is there and has not expired."""
        directory = self.locate(path)
        if not (directory / FILE).is_file():
            raise BackendError(f"There is no checkpoint {path} (looked in {directory}).")
        try:
            expiry = self._stored("training", directory).expires_at
        except UNREADABLE:
            # The reader says in what way it is damaged.
            return directory
        if _is_past(expiry):
            shutil.rmtree(directory, ignore_errors=True)
            raise BackendError(f"There is no checkpoint {path} any more: it expired at {expiry}.")
        return directory

    def _stored(self, kind: Kind, directory: Path) -> Stored:
        description = Description.read(directory)
        # An older version kept no path; the names of the directories say it.
        run = directory.parent.parent.name.replace("-train-", ":train:")
        path = description.listing.tinker_path or str(CheckpointPath(run, kind, directory.name))
        # Parsed once here, so that a damaged path raises here and nowhere else.
        return Stored(str(CheckpointPath.parse(path)), kind, directory, description)


def runs(stored: list[Stored]) -> Iterator[tuple[str, list[Stored]]]:
    """Checkpoints by training run, in the order in which the runs first occur."""
    ids = dict.fromkeys(checkpoint.run for checkpoint in stored)
    for run in ids:
        yield run, [checkpoint for checkpoint in stored if checkpoint.run == run]


def _directory(run: str) -> str:
    # ':' may not stand in a file name everywhere.
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
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory (OSError if another process holds it, or there is no such directory)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
