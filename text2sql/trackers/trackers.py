"""Opens the experiment trackers of a configuration before anything is paid for, and closes them with the run.

The identifiers of the trackers' runs are stored in ``trackers.json`` of the run's directory, so that a resumed run
continues them.
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
    """A kind of tracker.

    Attributes:
        title: The name for people.
        key: The key of ``tracking`` that enables it.
        log_in: A check that must succeed before the run starts, if there is one.
        open: Creates or continues the tracker's run, from (configuration, run directory, known id).
    """

    title: str
    key: str
    log_in: Callable[[], None] | None
    open: Callable[[Config, Path, str | None], Tracker]


def _tensorboard(config: Config, directory: Path, known: str | None) -> Tracker:
    from text2sql.trackers.tensorboard_tracker import TensorBoardRun

    return TensorBoardRun(directory)


def _wandb(config: Config, directory: Path, known: str | None) -> Tracker:
    from text2sql.trackers.wandb_tracker import WandbRun

    return WandbRun(config, directory, known)


def _trackio(config: Config, directory: Path, known: str | None) -> Tracker:
    from text2sql.trackers.trackio_tracker import TrackioRun

    return TrackioRun(config, known)


def _mlflow(config: Config, directory: Path, known: str | None) -> Tracker:
    from text2sql.trackers.mlflow_tracker import MlflowRun

    return MlflowRun(config, known)


def _log_into_wandb() -> None:
    from text2sql.trackers.wandb_tracker import log_in

    log_in()


def _reach_mlflow() -> None:
    from text2sql.trackers.mlflow_tracker import check_reachable

    check_reachable()


KINDS: dict[str, _Kind] = {
    "tensorboard": _Kind("TensorBoard", "tensorboard", None, _tensorboard),
    "wandb": _Kind("Weights & Biases", "wandb_project", _log_into_wandb, _wandb),
    "trackio": _Kind("trackio", "trackio_project", None, _trackio),
    "mlflow": _Kind("MLflow", "mlflow_experiment", _reach_mlflow, _mlflow),
}


class Trackers:
    """All trackers of a run as one.

    A tracker that fails during the run is dropped with a message: its data are in the run's files too.
    """

    def __init__(self, opened: dict[str, Tracker]) -> None:
        self._opened = opened
        self._failed: list[Tracker] = []

    def log(self, row: Mapping[str, JsonValue]) -> None:
        """Sends the numbers of one row of metrics, with its ``step``."""
        self._send(self._opened, row)

    def send_history(self, rows: Sequence[Mapping[str, JsonValue]]) -> None:
        """Sends the metrics of earlier starts to trackers that are new."""
        new = {name: tracker for name, tracker in self._opened.items() if tracker.is_new}
        for row in rows:
            self._send(new, row)

    def send_results(self, summary: Summary, answers: Mapping[str, Sequence[Prediction]], report: Path) -> None:
        """Sends the results of the run: accuracies with their intervals, the answers, the report."""
        step = summary.training.steps if summary.training else 0
        tables = [_table(label, rows) for label, rows in answers.items()]
        for name, tracker in list(self._opened.items()):
            with self._drop_if_failing(name):
                tracker.log(_results(summary), step)
                for table in tables:
                    tracker.add_table(table, step)
                tracker.add_report(report)

    def close(self, *, failed: bool) -> None:
        """Closes all trackers, which waits until everything is sent."""
        for name, tracker in list(self._opened.items()):
            with self._drop_if_failing(name):
                tracker.close(failed=failed)
        for tracker in self._failed:
            # Some clients have one run at a time, and would continue this one in the next.
            with suppress(Exception):
                tracker.close(failed=True)

    def _send(self, trackers: Mapping[str, Tracker], row: Mapping[str, JsonValue]) -> None:
        numbers = {
            key: value for key, value in row.items() if isinstance(value, int | float) and not isinstance(value, bool)
        }
        step = int(numbers.pop("step"))
        for name, tracker in list(trackers.items()):
            if name in self._opened:
                with self._drop_if_failing(name):
                    tracker.log(numbers, step)

    @contextmanager
    def _drop_if_failing(self, name: str) -> Iterator[None]:
        try:
            yield
        # No exception of a tracker may end a run that may have been paid for.
        except Exception as error:
            self._failed.append(self._opened.pop(name))
            console.print(
                f"{KINDS[name].title} failed and is left out from here ({_first_line(error)}); the run goes on, and "
                "its directory has everything.",
                markup=False,
            )


def check_trackers(config: Config) -> None:
    """Checks that every tracker of a configuration can be opened, and logs in where needed.

    Raises:
        UserError: A package is not installed, or a log-in fails.
    """
    for name, kind in _enabled(config):
        key = f"tracking.{kind.key}"
        if find_spec(name) is None:
            raise UserError(_missing_message(name, key))
        if kind.log_in is not None:
            with _explain_failures(kind):
                kind.log_in()


@contextmanager
def open_trackers(config: Config, run: RunDirectory) -> Iterator[Trackers]:
    """Opens the trackers of a configuration until the end of the block; those of an earlier start are continued.

    A tracker that is new, or has another project than in an earlier start, receives the metrics so far.

    Args:
        config: The run's configuration.
        run: The run's directory, which is locked.

    Raises:
        UserError: A tracker cannot be opened.
    """
    record = read_record(run.file(TRACKERS), TrackedRuns)
    tracked = dict(record.runs) if record else {}
    opened: dict[str, Tracker] = {}
    trackers = Trackers(opened)
    try:
        for name, kind in _enabled(config):
            project = str(getattr(config.tracking, kind.key))
            earlier = tracked.get(name)
            with _explain_failures(kind):
                opened[name] = kind.open(
                    config, run.path, earlier.id if earlier and earlier.project == project else None
                )
            tracked[name] = TrackedRun(project=project, id=opened[name].id)
        if opened:
            run.write_json(TRACKERS, TrackedRuns(runs=tracked))
            trackers.send_history([row.to_json() for row in run.metrics()])
        yield trackers
    except BaseException:
        trackers.close(failed=True)
        raise
    trackers.close(failed=False)


def _enabled(config: Config) -> list[tuple[str, _Kind]]:
    return [(name, kind) for name, kind in KINDS.items() if getattr(config.tracking, kind.key)]


@contextmanager
def _explain_failures(kind: _Kind) -> Iterator[None]:
    """Turns any exception of a tracker's client into a UserError that says why it cannot be opened."""
    try:
        yield
    except Exception as error:
        raise UserError(
            f"tracking.{kind.key}: {kind.title} cannot be opened ({_first_line(error)}). Nothing has been paid for; "
            f"put that right, or leave tracking.{kind.key} out: it may be added when the run goes on."
        ) from error


def _missing_message(name: str, key: str) -> str:
    if name == "mlflow":
        return missing_package(key, name, "mlflow", f"leave {key} out")
    return missing_package(key, name, "tracking", f"leave {key} out")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _results(summary: Summary) -> dict[str, float]:
    """Accuracies, intervals, pass@k and the paired difference, by their names in a tracker."""
    numbers: dict[str, float | None] = {}
    for label, evaluation in summary.evaluations.items():
        key = f"evaluation/{label}"
        low, high = evaluation.interval
        numbers |= {f"{key}/n": evaluation.n, f"{key}/execution_accuracy": evaluation.accuracy}
        numbers |= {f"{key}/execution_accuracy_low": low, f"{key}/execution_accuracy_high": high}
        for pass_at in evaluation.pass_at or ():
            numbers |= {f"{key}/pass_at_{pass_at.k}": pass_at.value}
            numbers |= {f"{key}/pass_at_{pass_at.k}_low": pass_at.low, f"{key}/pass_at_{pass_at.k}_high": pass_at.high}
    if paired := summary.headline.paired:
        numbers |= {"evaluation/difference": paired.difference, "evaluation/difference_low": paired.low}
        numbers |= {"evaluation/difference_high": paired.high, "evaluation/mcnemar_p": paired.p_value}
    return {key: value for key, value in numbers.items() if value is not None}


def _table(label: str, rows: Sequence[Prediction]) -> AnswerTable:
    return AnswerTable(label, COLUMNS, [_cells(row) for row in rows])


def _cells(row: Prediction) -> tuple[str | bool | None, ...]:
    verdict = row.verdict
    judgement = (
        row.correct,
        str(verdict.status),
        verdict.reason,
        ", ".join(row.labels),
        str(row.hardness),
        row.cluster,
    )
    return (row.id, row.question, row.gold, row.sql, *judgement)
