"""A run's directory: plain files, each complete or absent.

``config.yaml`` (resolved), ``environment.json``, ``metrics.jsonl``, ``rollouts.jsonl`` (of a run that learns from
verdicts), ``checkpoints.jsonl``, ``checkpoints/``, ``predictions-*.jsonl``, ``timings.jsonl``, ``summary.json``,
``report.html``, ``plots/``. JSON Lines files only grow, and a last line that a killed process left incomplete is
dropped when the run goes on.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from backends.paths import written_aside
from text2sql.config import Config
from text2sql.config.files import unescape_variables
from text2sql.config.wording import sentence
from text2sql.config.yaml import read_yaml
from text2sql.console import console
from text2sql.errors import UserError
from text2sql.rows import dump_jsonl, is_object
from text2sql.rows.files import read_bytes
from text2sql.runs import records
from text2sql.runs.record_files import damaged_error, last_of_each, read_numbered, read_record, read_records, repair
from text2sql.runs.records import (
    CheckpointRecord,
    InitialWeightsRecord,
    MetricsRow,
    Prediction,
    Record,
    Session,
    StepMetrics,
    Timing,
    TrainingRun,
    Usage,
    Validation,
    ValidationSample,
)
from text2sql.runs.rollouts import ROLLOUTS, GradedGroup, RlStepMetrics, SampledGroup
from text2sql.runs.summary import ENVIRONMENT, INPUTS, SUMMARY, TRACKERS, Environment, Inputs, Summary, TrackedRuns

# Files without which a run can go on, with the kinds of their records: they hold no answer, no weights and no setting.
EXPENDABLE_FILES: dict[str, tuple[type[Record], ...]] = {
    records.METRICS: (RlStepMetrics, StepMetrics, Validation),
    ROLLOUTS: (SampledGroup, GradedGroup),
    records.TRAINING_RUNS: (TrainingRun,),
    records.SAMPLES: (ValidationSample,),
    records.USAGE: (Usage,),
    records.TIMINGS: (Timing,),
    records.SESSIONS: (Session,),
    SUMMARY: (Summary,),
    ENVIRONMENT: (Environment,),
    INPUTS: (Inputs,),
    TRACKERS: (TrackedRuns,),
}


class RunDirectory:
    """The files of one run. Only one process at a time may hold it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Several threads may add to one file.
        self._appending = threading.Lock()
        # Not one lock for each thread: any thread that has the object may release it.
        self._lock = FileLock(path / ".lock", thread_local=False)

    def file(self, name: str) -> Path:
        """Path of a file of the run."""
        return self.path / name

    def predictions(self, label: str) -> list[Prediction]:
        """The predictions of an evaluation so far; a row that is there twice is counted once, and said.

        Raises:
            UserError: The file is damaged, or has two answers to one question.
        """
        path = self.file(records.predictions_file(label))
        predictions = last_of_each(path, read_numbered(path, Prediction), lambda row: row.id, "id")
        if predictions.conflict:
            raise damaged_error(path, predictions.conflict)
        if predictions.note:
            console.print(predictions.note, markup=False)
        return predictions.rows

    def metrics(self) -> list[MetricsRow]:
        """The metrics of every optimiser step and every validation, in the order in which they were done."""
        return read_records(self.file(records.METRICS), RlStepMetrics, StepMetrics, Validation)

    def rollouts(self) -> list[SampledGroup | GradedGroup]:
        """The answers that the run has learnt from, and their rewards, in the order of writing."""
        return read_records(self.file(ROLLOUTS), SampledGroup, GradedGroup)

    def checkpoints(self) -> list[CheckpointRecord]:
        """The checkpoints that are kept, in order."""
        path = self.file(records.CHECKPOINTS)
        # This file is replaced as a whole, so an incomplete line is damage and not an interrupted write.
        if path.is_file() and not (content := path.read_bytes()).endswith(b"\n"):
            raise damaged_error(path, "its last line is incomplete" if content else "it is empty")
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

    def sessions(self) -> list[Session]:
        """The sessions at a service that charges, the latest last."""
        return read_records(self.file(records.SESSIONS), Session)

    def append(self, name: str, rows: Sequence[Record]) -> None:
        """Add records to a JSON Lines file, in place of an incomplete last line, and flush them to the disk."""
        with self._appending, _writing(self.file(name)) as path, path.open("a+b") as file:
            end = _end_of_last_line(file)
            file.seek(end)
            # An editor may have left out the newline of a whole line.
            if is_object(file.read()):
                file.write(b"\n")
            else:
                file.truncate(end)
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
        """Drop what cannot be read of the files that the run can do without, and say so."""
        for name, kinds in EXPENDABLE_FILES.items():
            if self.file(name).is_file() and (note := repair(self.file(name), *kinds)):
                lost = " Tokens in the other lines are no longer counted as spent." if name == records.USAGE else ""
                console.print(note + lost, markup=False)

    def lock(self) -> None:
        """Lock the run; UserError if another process has. The lock goes with the process, however it ends."""
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
        """The contents of ``config.yaml``: the configuration that the run was started with.

        Raises:
            UserError: There is no run, or the file cannot be read.
        """
        path = self.file("config.yaml")
        try:
            saved = unescape_variables(read_yaml(read_bytes(path).decode("utf-8")))
        except FileNotFoundError as error:
            raise UserError(f"There is no run in {self.path}; `text2sql run` makes one.") from error
        except NotADirectoryError as error:
            raise UserError(f"{self.path} is no directory, so there is no run in it.") from error
        except ValueError as error:
            raise damaged_error(path, str(error)) from error
        # Runs of earlier versions had a single seed, which drew their data too.
        if isinstance(saved, dict) and "seed" in saved and isinstance(data := saved.get("data"), dict):
            data.setdefault("seed", saved["seed"])
        return saved

    def summary(self) -> Summary | None:
        """The results of the run; None before the end of its first stage."""
        return read_record(self.file(SUMMARY), Summary)

    def environment(self) -> Environment | None:
        """Where the run was started; None before that."""
        return read_record(self.file(ENVIRONMENT), Environment)

    def stages(self) -> set[str]:
        """The stages of `text2sql.runs.models.STAGES` that have been carried out to the end."""
        summary = self.summary()
        return set(summary.stages) if summary else set()

    def recorded_initial_weights(self) -> InitialWeightsRecord | None:
        """Which saved weights the run's training began with, None for none.

        Of several clients that began with some, the latest is the one whose training was continued.
        """
        initial = [row.start_from for row in self.training_runs() if row.start_from is not None]
        return initial[-1] if initial else None

    def has_trained(self) -> bool:
        """Whether anything of a training has been recorded."""
        files = map(self.file, (records.METRICS, records.CHECKPOINTS, ROLLOUTS))
        return any(file.is_file() and file.stat().st_size for file in files)

    def compared_side(self) -> str:
        """The label of the evaluation that stands for the run: of its tuned model, if it has or is to have one."""
        tuned = records.predictions_file("tuned")
        return "tuned" if self.has_trained() or self.file(tuned).is_file() else "base"

    def count_answered(self, label: str) -> int:
        """How many questions of an evaluation have been answered."""
        file = self.file(records.predictions_file(label))
        return file.read_bytes().count(b"\n") if file.is_file() else 0

    def has_tuned_answers(self) -> bool:
        """Whether the tuned model has answered a question, so that its training had ended."""
        return any(file.stat().st_size for file in self.path.glob(records.predictions_file("*tuned*")))

    def has_results(self) -> bool:
        """Whether starting the run anew would lose something."""
        names = (records.METRICS, records.CHECKPOINTS, ROLLOUTS, SUMMARY)
        files = [*map(self.file, names), *self.path.glob("predictions-*.jsonl"), *self.path.glob("checkpoints/*")]
        return any(file.is_dir() or (file.is_file() and file.stat().st_size > 0) for file in files)


def load_run_config(run: RunDirectory) -> Config:
    """The configuration that a run was started with (UserError if there is no run, or none that can be read)."""
    saved = run.saved_config()
    try:
        return Config.model_validate(saved)
    except ValidationError as error:
        problem = error.errors()[0]
        what = ": ".join(filter(None, (".".join(map(str, problem["loc"])), sentence(problem))))
        raise UserError(
            f"{run.file('config.yaml')} is not a configuration that this version of text2sql reads: {what}."
        ) from error


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    """Raise UserError where the file cannot be written, with what to do."""
    try:
        yield path
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror or error}. Free some space or fix the permissions, then run "
            "the same command again: what was finished is kept."
        ) from error


def _end_of_last_line(file: IO[bytes]) -> int:
    """The offset of the end of the last complete line; a killed process may have left half a line behind it."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 65536)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
