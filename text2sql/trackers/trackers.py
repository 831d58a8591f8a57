"""The experiment trackers that a configuration names: opened before anything is paid for, closed with the run.

Which run of a tracker belongs to a directory is kept in its ``trackers.json``, so that a run that goes on continues
there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pydantic import JsonValue

from backends.extras import missing_package
from text2sql.config import Config
from text2sql.console import console
from text2sql.errors import UserError
from text2sql.runs.directory import RunDirectory
from text2sql.runs.record_files import read_record
from text2sql.runs.records import Prediction
from text2sql.runs.summary import TRACKERS, Summary, TrackedRun, TrackedRuns
from text2sql.trackers.tracker import AnswerTable, Tracker

COLUMNS = ("id", "question", "gold", "sql", "correct", "verdict", "reason", "errors", "hardness", "database")


@dataclass(frozen=True)
class _Kind:
    """One kind of tracker.

    Attributes:
        title: Its name for people.
        key: Of ``tracking`` that asks for it.
        log_in: What must succeed before anything is begun, if anything.
        open: Makes or finds the run; given the configuration, the run's directory and the known id.
    """

    title: str
    key: str
    log_in: Callable[[], None] | None
    open: Callable[[Config, Path, str | None], Tracker]


def _tensorboard(config: Config, directory: Path, known: str | None) -> Tracker:
    from text2sql.trackers.in_tensorboard import TensorBoardRun

    return TensorBoardRun(directory)


def _wandb(config: Config, directory: Path, known: str | None) -> Tracker:
    from text2sql.trackers.in_wandb import WandbRun

    return WandbRun(config, directory, known)


def _trackio(config: Config, directory: Path, known: str | None) -> Tracker:
    from text2sql.trackers.in_trackio import TrackioRun

    return TrackioRun(config, known)


def _mlflow(config: Config, directory: Path, known: str | None) -> Tracker:
    from text2sql.trackers.in_mlflow import MlflowRun

    return MlflowRun(config, known)


def _log_into_wandb() -> None:
    from text2sql.trackers.in_wandb import log_in

    log_in()


def _reach_mlflow() -> None:
    from text2sql.trackers.in_mlflow import reach

    reach()


KINDS: dict[str, _Kind] = {
    "tensorboard": _Kind("TensorBoard", "tensorboard", None, _tensorboard),
    "wandb": _Kind("Weights & Biases", "wandb_project", _log_into_wandb, _wandb),
    "trackio": _Kind("trackio", "trackio_project", None, _trackio),
    "mlflow": _Kind("MLflow", "mlflow_experiment", _reach_mlflow, _mlflow),
}


class Trackers:
    """All trackers of a run as one.

    A tracker that fails while the run goes on is left out and named: what it would show is in the run's files.
    """

    def __init__(self, opened: dict[str, Tracker]) -> None:
        self._opened = opened
        self._failed: list[Tracker] = []

    def log(self, row: Mapping[str, JsonValue]) -> None:
        """Send the numbers of one row of metrics, with its ``step``."""
        self._send(self._opened, row)

    def send_history(self, rows: Sequence[Mapping[str, JsonValue]]) -> None:
        """Send what an earlier start has measured to the trackers that are new since."""
        new = {name: tracker for name, tracker in self._opened.items() if tracker.is_new}
        for row in rows:
            self._send(new, row)

    def send_results(self, summary: Summary, answers: Mapping[str, Sequence[Prediction]], report: Path) -> None:
        """Send what the run came to: accuracies with their intervals, the answers, the report."""
        step = summary.training.steps if summary.training else 0
        tables = [_table(label, rows) for label, rows in answers.items()]
        for name, tracker in list(self._opened.items()):
            with self._going_on(name):
                tracker.log(_results(summary), step)
                for table in tables:
                    tracker.add_table(table, step)
                tracker.add_report(report)

    def close(self, *, failed: bool) -> None:
        """Wait until everything is sent."""
        for name, tracker in list(self._opened.items()):
            with self._going_on(name):
                tracker.close(failed=failed)
        for tracker in self._failed:
            # A client that holds one run at a time would go on with this one in the next.
            with suppress(Exception):
                tracker.close(failed=True)

    def _send(self, trackers: Mapping[str, Tracker], row: Mapping[str, JsonValue]) -> None:
        numbers = {
            key: value for key, value in row.items() if isinstance(value, int | float) and not isinstance(value, bool)
        }
        step = int(numbers.pop("step"))
        for name, tracker in list(trackers.items()):
            if name in self._opened:
                with self._going_on(name):
                    tracker.log(numbers, step)

    @contextmanager
    def _going_on(self, name: str) -> Iterator[None]:
        try:
            yield
        # Whatever a tracker's client raises, a run that may have been paid for is worth more than its picture.
        except Exception as error:
            self._failed.append(self._opened.pop(name))
            console.print(
                f"{KINDS[name].title} failed and is left out from here ({_first_line(error)}); the run goes on, and "
                "its directory has everything.",
                markup=False,
            )


def check_trackers(config: Config) -> None:
    """See to it that every tracker of a configuration can be opened, and log in where one wants that.

    Raises:
        UserError: Its package is not installed, or it lets nobody in.
    """
    for name, kind in _asked(config):
        key = f"tracking.{kind.key}"
        if find_spec(name) is None:
            raise UserError(_missing(name, key))
        if kind.log_in is not None:
            with _refusing(kind):
                kind.log_in()


@contextmanager
def open_trackers(config: Config, run: RunDirectory) -> Iterator[Trackers]:
    """The trackers of a configuration, closed at the end; those of an earlier start go on.

    A tracker that an earlier start did not have, or in another project, gets what has been measured since then.

    Args:
        config: The run's configuration.
        run: Its directory, which is held.

    Raises:
        UserError: One cannot be opened.
    """
    known = read_record(run.file(TRACKERS), TrackedRuns)
    before = dict(known.runs) if known else {}
    opened: dict[str, Tracker] = {}
    trackers = Trackers(opened)
    try:
        for name, kind in _asked(config):
            project = str(getattr(config.tracking, kind.key))
            there = before.get(name)
            with _refusing(kind):
                opened[name] = kind.open(config, run.path, there.id if there and there.project == project else None)
            before[name] = TrackedRun(project=project, id=opened[name].id)
        if opened:
            run.write_json(TRACKERS, TrackedRuns(runs=before))
            trackers.send_history([row.to_json() for row in run.metrics()])
        yield trackers
    except BaseException:
        trackers.close(failed=True)
        raise
    trackers.close(failed=False)


def _asked(config: Config) -> list[tuple[str, _Kind]]:
    return [(name, kind) for name, kind in KINDS.items() if getattr(config.tracking, kind.key)]


@contextmanager
def _refusing(kind: _Kind) -> Iterator[None]:
    """Say in a sentence why a tracker cannot be opened, whatever its client raises."""
    try:
        yield
    except Exception as error:
        raise UserError(
            f"tracking.{kind.key}: {kind.title} cannot be opened ({_first_line(error)}). Nothing has been paid for; "
            f"put that right, or leave tracking.{kind.key} out: it may be added when the run goes on."
        ) from error


def _missing(name: str, key: str) -> str:
    if name == "mlflow":
        return missing_package(key, name, "mlflow", f"leave {key} out")
    return missing_package(key, name, "tracking", f"leave {key} out")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _results(summary: Summary) -> dict[str, float]:
    """Accuracies, intervals, pass@k and the paired difference, by the names that a tracker shows."""
    numbers: dict[str, float | None] = {}
    for label, found in summary.evaluations.items():
        key = f"evaluation/{label}"
        low, high = found.interval
        numbers |= {f"{key}/n": found.n, f"{key}/execution_accuracy": found.accuracy}
        numbers |= {f"{key}/execution_accuracy_low": low, f"{key}/execution_accuracy_high": high}
        for own in found.pass_at or ():
            numbers |= {f"{key}/pass_at_{own.k}": own.value}
            numbers |= {f"{key}/pass_at_{own.k}_low": own.low, f"{key}/pass_at_{own.k}_high": own.high}
    if paired := summary.headline.paired:
        numbers |= {"evaluation/difference": paired.difference, "evaluation/difference_low": paired.low}
        numbers |= {"evaluation/difference_high": paired.high, "evaluation/mcnemar_p": paired.p_value}
    return {key: value for key, value in numbers.items() if value is not None}


def _table(label: str, rows: Sequence[Prediction]) -> AnswerTable:
    return AnswerTable(label, COLUMNS, [_cells(row) for row in rows])


def _cells(row: Prediction) -> tuple[str | bool | None, ...]:
    verdict = row.verdict
    shown = (row.correct, str(verdict.status), verdict.reason, ", ".join(row.labels), str(row.hardness), row.cluster)
    return (row.id, row.question, row.gold, row.sql, *shown)
