"""A run's directory: plain files, each complete or absent, and what to do when one is there already.

``config.yaml`` (resolved), ``environment.json``, ``metrics.jsonl``, ``checkpoints.jsonl``, ``checkpoints/``,
``predictions-*.jsonl``, ``timings.jsonl``, ``summary.json``, ``report.html``, ``plots/``. JSON Lines files only grow,
and a last line that a killed process left incomplete is dropped when the run goes on.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import yaml

from text2sql.config import Config, dump_config
from text2sql.errors import UserError

IGNORED = ("on_existing", "output_dir", "name")  # keys in which a continued run may differ from its first start
FREE = {"evaluation": ("workers",)}  # keys of sections, likewise


class RunDirectory:
    """The files of one run. Only one process at a time may hold it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    def file(self, name: str) -> Path:
        """Path of a file of the run."""
        return self.path / name

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a JSON Lines file; an incomplete last line is left out."""
        path = self.file(name)
        if not path.is_file():
            return []
        lines = path.read_text(encoding="utf-8").split("\n")
        try:
            return [json.loads(line) for line in lines[:-1]]  # what follows the last newline is incomplete
        except ValueError as error:
            raise UserError(
                f"{path} is damaged ({error}). Restore it, or start anew with on_existing=overwrite."
            ) from error

    def append(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows to a JSON Lines file and flush them to the disk."""
        with self.file(name).open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            file.flush()
            os.fsync(file.fileno())

    def replace_rows(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Set a JSON Lines file to these rows, in one stroke."""
        self.write(name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))

    def write(self, name: str, text: str) -> None:
        """Write a file aside and rename it into place."""
        aside = self.file(f".{name}.partial")
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.file(name))

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file in one stroke."""
        self.write(name, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def read_json(self, name: str) -> Any:
        """The value of a JSON file, or None if there is none."""
        path = self.file(name)
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def lock(self) -> None:
        """Hold the run; UserError if another process does. The lock goes with the process, however it ends."""
        file = self.file(".lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise UserError(f"{self.path} is in use by another text2sql process; wait for it or stop it.") from error
        self._lock = file

    def unlock(self) -> None:
        """Let go of the run."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def open_run(config: Config) -> RunDirectory:
    """The locked directory of a new run, or of one that goes on, according to `on_existing`.

    Raises:
        UserError: The directory has a run in it and `on_existing` does not say what to do, or a run in it cannot go
            on with this configuration; nothing in it has been touched.
    """
    run = RunDirectory(config.directory)
    if run.path.exists() and not run.path.is_dir():
        raise UserError(f"output_dir: {run.path} is a file.")
    if not run.file("config.yaml").is_file():
        if run.path.is_dir() and any(run.path.iterdir()) and config.on_existing != "overwrite":
            raise UserError(f"output_dir: {run.path} has files in it, but no run. Choose another output_dir.")
        return _start(run, config)
    changed = differences(run, config)
    finished = run.file("summary.json").is_file()
    choice: str = config.on_existing
    if choice == "ask":
        choice = "resume" if not changed and not finished else _ask(run, changed, finished)
    if choice == "fail":
        raise UserError(
            f"{run.path} has a {'finished' if finished else 'started'} run in it"
            + (f" with another configuration ({'; '.join(changed)})" if changed else "")
            + ". Say what to do with on_existing=resume, overwrite or new, or choose another output_dir."
        )
    if choice == "resume":
        if changed:
            raise UserError(f"{run.path} cannot go on with another configuration: {'; '.join(changed)}.")
        run.lock()
        return run
    if choice == "new":
        return _start(RunDirectory(_next_free(run.path)), config)
    run.lock()
    for entry in run.path.iterdir():
        if entry.name != ".lock":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return _start(run, config)


def _start(run: RunDirectory, config: Config) -> RunDirectory:
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output_dir: {run.path} cannot be made: {error.strerror}.") from error
    if not os.access(run.path, os.W_OK):
        raise UserError(f"output_dir: {run.path} may not be written to.")
    run.lock()
    run.write("config.yaml", dump_config(config))
    return run


def differences(run: RunDirectory, config: Config) -> list[str]:
    """Keys in which the configuration differs from the one that the run was started with."""
    saved = yaml.safe_load(run.file("config.yaml").read_text(encoding="utf-8"))
    return _differences(saved, config.model_dump(mode="json"), "")


def _differences(old: Any, new: Any, key: str) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        free = FREE.get(key, ()) if key else IGNORED
        keys = [k for k in dict.fromkeys([*old, *new]) if k not in free]
        return [d for k in keys for d in _differences(old.get(k), new.get(k), f"{key}.{k}" if key else k)]
    return [] if old == new else [f"{key} was {old!r}, is {new!r}"]


def _ask(run: RunDirectory, changed: list[str], finished: bool) -> str:
    if not sys.stdin.isatty():
        return "fail"
    from rich.prompt import Prompt

    about = "finished" if finished else "unfinished"
    why = f" with another configuration ({'; '.join(changed)})" if changed else ""
    choices = ["new", "overwrite", "fail"] if changed else ["resume", "new", "overwrite", "fail"]
    return Prompt.ask(f"{run.path} has a {about} run{why}. What now?", choices=choices, default="fail")


def _next_free(path: Path) -> Path:
    number = 2
    while path.with_name(f"{path.name}-{number}").exists():
        number += 1
    return path.with_name(f"{path.name}-{number}")
