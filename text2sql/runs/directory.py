"""A run's directory: plain files, each complete or absent, and what to do when one is there already.

``config.yaml`` (resolved), ``environment.json``, ``metrics.jsonl``, ``checkpoints.jsonl``, ``checkpoints/``,
``predictions-*.jsonl``, ``timings.jsonl``, ``summary.json``, ``report.html``, ``plots/``. JSON Lines files only grow,
and a last line that a killed process left incomplete is dropped when the run goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from backends.paths import PARTIAL, written_aside
from text2sql.config import Config, changes, dump_config
from text2sql.config.changes import Change
from text2sql.config.wording import sentence
from text2sql.config.yaml import read_yaml
from text2sql.console import console
from text2sql.errors import UserError
from text2sql.rows import dump_jsonl
from text2sql.runs import records
from text2sql.runs.record_files import damaged, read_record, read_records, repair
from text2sql.runs.records import (
    CheckpointRecord,
    MetricsRow,
    Prediction,
    Record,
    StepMetrics,
    Timing,
    TrainingRun,
    Usage,
    Validation,
    ValidationSample,
)
from text2sql.runs.summary import ENVIRONMENT, SUMMARY, Environment, Summary

# Files without which a run can go on, with what they hold: no answer, no weights and no setting is in them.
BOOKKEEPING: dict[str, tuple[type[Record], ...]] = {
    records.METRICS: (StepMetrics, Validation),
    records.TRAINING_RUNS: (TrainingRun,),
    records.SAMPLES: (ValidationSample,),
    records.USAGE: (Usage,),
    records.TIMINGS: (Timing,),
    SUMMARY: (Summary,),
    ENVIRONMENT: (Environment,),
}


class RunDirectory:
    """The files of one run. Only one process at a time may hold it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Not one lock for each thread: whoever has the object may release it.
        self._lock = FileLock(path / ".lock", thread_local=False)

    def file(self, name: str) -> Path:
        """Path of a file of the run."""
        return self.path / name

    def predictions(self, label: str) -> list[Prediction]:
        """The predictions of an evaluation so far."""
        return read_records(self.file(records.predictions_file(label)), Prediction)

    def metrics(self) -> list[MetricsRow]:
        """What every optimiser step and every validation came to, in the order in which they were done."""
        return read_records(self.file(records.METRICS), StepMetrics, Validation)

    def checkpoints(self) -> list[CheckpointRecord]:
        """The checkpoints that are kept, in order."""
        path = self.file(records.CHECKPOINTS)
        # This file is replaced as a whole, so an incomplete line is damage and not an interrupted write.
        if path.is_file() and not path.read_bytes().endswith(b"\n"):
            raise damaged(path, "its last line is incomplete")
        return read_records(path, CheckpointRecord)

    def training_runs(self) -> list[TrainingRun]:
        """The training clients that the run has had, the latest last."""
        return read_records(self.file(records.TRAINING_RUNS), TrainingRun)

    def samples(self) -> list[ValidationSample]:
        """The predictions shown while training."""
        return read_records(self.file(records.SAMPLES), ValidationSample)

    def usage(self) -> list[Usage]:
        """The tokens of every piece of work."""
        return read_records(self.file(records.USAGE), Usage)

    def timings(self) -> list[Timing]:
        """The seconds of every group of questions."""
        return read_records(self.file(records.TIMINGS), Timing)

    def append(self, name: str, rows: Sequence[Record]) -> None:
        """Add records to a JSON Lines file, in place of an incomplete last line, and flush them to the disk."""
        with _writing(self.file(name)) as path, path.open("a+b") as file:
            file.truncate(_end_of_last_line(file))
            file.write(dump_jsonl(row.to_json() for row in rows).encode())
            file.flush()
            os.fsync(file.fileno())

    def replace_rows(self, name: str, rows: Sequence[Record]) -> None:
        """Set a JSON Lines file to these records, in one stroke."""
        self.write(name, dump_jsonl(row.to_json() for row in rows))

    def write(self, name: str, text: str) -> None:
        """Write a file aside and rename it into place."""
        with _writing(self.file(name)) as path, written_aside(path, durable=True) as aside:
            aside.write_bytes(text.encode())

    def write_json(self, name: str, record: Record) -> None:
        """Write a JSON file in one stroke."""
        self.write(name, json.dumps(record.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def repair(self) -> None:
        """Leave out what cannot be read of the files that the run can do without, and say so."""
        for name, kinds in BOOKKEEPING.items():
            if self.file(name).is_file() and (note := repair(self.file(name), *kinds)):
                lost = " Tokens in the other lines are no longer counted as spent." if name == records.USAGE else ""
                console.print(note + lost, markup=False)

    def lock(self) -> None:
        """Hold the run; UserError if another process does. The lock goes with the process, however it ends."""
        if self._lock.is_locked:
            return
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(f"{self.path} is in use by another text2sql process; wait for it or stop it.") from error

    def unlock(self) -> None:
        """Release the run."""
        self._lock.release()

    def saved_config(self) -> Any:
        """What ``config.yaml`` holds: the configuration that the run was started with.

        Raises:
            UserError: There is no run, or the file cannot be read.
        """
        path = self.file("config.yaml")
        try:
            return read_yaml(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"There is no run in {self.path}; `text2sql run` makes one.") from error
        except ValueError as error:
            raise damaged(path, str(error)) from error

    def summary(self) -> Summary | None:
        """What the run came to; None before the end of its first stage."""
        return read_record(self.file(SUMMARY), Summary)

    def environment(self) -> Environment | None:
        """Where the run was started; None before that."""
        return read_record(self.file(ENVIRONMENT), Environment)

    def stages(self) -> set[str]:
        """The stages of `text2sql.inference.plan.STAGES` that have been carried out to the end."""
        summary = self.summary()
        return set(summary.stages) if summary else set()

    def has_trained(self) -> bool:
        """Whether training has come to anything."""
        files = map(self.file, (records.METRICS, records.CHECKPOINTS))
        return any(file.is_file() and file.stat().st_size for file in files)

    def has_results(self) -> bool:
        """Whether the run came so far that starting it anew would lose something."""
        names = (records.METRICS, records.CHECKPOINTS, SUMMARY)
        files = [*map(self.file, names), *self.path.glob("predictions-*.jsonl"), *self.path.glob("checkpoints/*")]
        return any(file.is_dir() or (file.is_file() and file.stat().st_size > 0) for file in files)


def load_run_config(run: RunDirectory) -> Config:
    """The configuration that a run was started with (UserError if there is no run, or none that can be read)."""
    saved = run.saved_config()
    try:
        return Config.model_validate(saved)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise UserError(
            f"{run.file('config.yaml')} is not a configuration that this version of text2sql reads: "
            f"{key}: {sentence(problem)}."
        ) from error


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    """Say which file could not be written, and what to do."""
    try:
        yield path
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror or error}. Free some space or fix the permissions, then run "
            "the same command again: what was finished is kept."
        ) from error


def _end_of_last_line(file: IO[bytes]) -> int:
    """Where the last complete line of a file ends; a process that was killed may have left half a line behind it."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 65536)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


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
        # A start that was killed before it wrote config.yaml leaves nothing else.
        names = [entry.name for entry in run.path.iterdir()] if run.path.is_dir() else []
        if any(name != ".lock" and not name.endswith(PARTIAL) for name in names):
            raise UserError(f"output_dir: {run.path} has files in it, but no run. Choose another output_dir.")
        return _start(run, config)
    try:
        choice = _choose(run, config)
        if choice == "new":
            run.unlock()
            return _start(RunDirectory(_next_free(run.path)), config)
        run.lock()
        if choice == "overwrite":
            _empty(run)
            return _start(run, config)
        _take_over(run, config)
        return run
    except BaseException:
        run.unlock()
        raise


def _choose(run: RunDirectory, config: Config) -> str:
    """What to do with the run that is there: resume, overwrite or new (UserError if it must be left alone)."""
    choice: str = config.on_existing
    if choice in ("overwrite", "new"):
        return choice
    if choice != "fail":
        run.lock()
        run.repair()
    changed = [change for change in differences(run, config) if change.about.changes != "reports"]
    finished = {"train", "evaluate"} <= run.stages()
    if choice != "fail" and changed and not run.has_results():
        # A start that failed at once: the corrected command must not be refused for it.
        return "overwrite"
    # Nothing has been learnt yet of a run that has not begun to train.
    refused = [change for change in changed if change.learnt] if run.has_trained() else []
    if choice == "ask":
        choice = "resume" if not refused and not finished else _ask(run, changed, finished, resumable=not refused)
    if choice == "fail":
        raise UserError(
            f"{run.path} has a {'finished' if finished else 'started'} run in it"
            + (f" with another configuration ({'; '.join(map(str, changed))})" if changed else "")
            + ". Say what to do with on_existing=resume, overwrite or new, or choose another output_dir."
        )
    if choice == "resume" and refused:
        raise UserError(
            f"{run.path} cannot go on with another configuration: {'; '.join(map(str, refused))}. What it has learnt "
            "depends on that. Restore it, or say on_existing=new, which begins another run and keeps this one."
        )
    return choice


def _empty(run: RunDirectory) -> None:
    """Remove all files of a run, ``config.yaml`` last: a removal that is interrupted leaves a run to overwrite."""
    for entry in sorted(run.path.iterdir(), key=lambda entry: entry.name == "config.yaml"):
        if entry.name != ".lock":
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


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


def differences(run: RunDirectory, config: Config) -> list[Change]:
    """Keys in which the configuration differs from the one that the run was started with.

    A key that an older version did not know has its default there.
    """
    saved = run.saved_config()
    # A key that is no more does not stop the comparison: the differences name it.
    with suppress(ValidationError):
        saved = Config.model_validate(saved).model_dump(mode="json")
    if not isinstance(saved, dict):
        raise damaged(run.file("config.yaml"), "it has no keys and values")
    return changes.differences(saved, config)


def _take_over(run: RunDirectory, config: Config) -> None:
    """Let a run go on with what has changed: evaluations that depend on it are set aside, to be done again."""
    changed = [change for change in differences(run, config) if change.about.changes != "reports"]
    if not changed:
        return
    outdated: list[Path] = []
    for change in changed:
        if change.measured:
            labels = change.about.evaluations or ("*",)
            outdated += [file for label in labels for file in run.path.glob(records.predictions_file(label))]
    if outdated:
        aside = run.file("superseded")
        aside = _next_free(aside) if aside.exists() else aside
        aside.mkdir()
        # Before config.yaml: whoever is killed in between sets aside what is left.
        for file in dict.fromkeys(outdated):
            file.rename(aside / file.name)
        why = "; ".join(str(change) for change in changed if change.measured)
        console.print(f"Evaluations are done again ({why}). The earlier ones are kept in {aside}.", markup=False)
    run.write("config.yaml", dump_config(config))


def _ask(run: RunDirectory, changed: Sequence[Change], finished: bool, *, resumable: bool) -> str:
    if not sys.stdin.isatty():
        return "fail"
    from rich.prompt import Prompt
    from rich.text import Text

    about = "finished" if finished else "unfinished"
    why = f" with another configuration ({'; '.join(map(str, changed))})" if changed else ""
    choices = ["resume", "new", "overwrite", "fail"] if resumable else ["new", "overwrite", "fail"]
    question = Text(f"{run.path} has a {about} run{why}. What now?")
    return Prompt.ask(question, choices=choices, default="fail")


def _next_free(path: Path) -> Path:
    number = 2
    while path.with_name(f"{path.name}-{number}").exists():
        number += 1
    return path.with_name(f"{path.name}-{number}")
