"""What a remote run leaves on this machine: its adapter as a PEFT directory, and the proof that it is the model."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from backends import open_backend
from backends.exporting import download_adapter, open_weights
from backends.interface import BackendError
from backends.paths import directory_written_aside
from text2sql.config import Config
from text2sql.console import console
from text2sql.errors import UserError
from text2sql.formats import p_value, percent
from text2sql.inference.plan import Evaluation
from text2sql.inference.predict import compare, first_other, predict
from text2sql.inference.strategies import Greedy
from text2sql.runs.budget import TokenBudget
from text2sql.runs.directory import RunDirectory, load_run_config
from text2sql.runs.records import Prediction, predictions_file
from text2sql.runs.session import RunSession, close_service

# Directory in the run's own.
ADAPTER = "adapter"


def download_run(directory: Path) -> Path:
    """Fetch the adapter of a run into ``RUN/adapter``, unless it is there.

    Raises:
        UserError: The run has no checkpoint, or the directory cannot be written.
        BackendError: The checkpoint cannot be had; it may have expired.
    """
    from text2sql.export import ExportOptions, export_run

    target = directory / ADAPTER
    if target.is_dir():
        console.print(f"{target} is there already.")
        return target
    return export_run(directory, ExportOptions(output=target))


def download_path(path: str, target: Path) -> None:
    """Fetch an adapter from a Tinker server by its ``tinker://`` path, without a run.

    Raises:
        UserError: The directory is there already, or cannot be written.
        BackendError: The server cannot be reached, or has no such checkpoint to give.
    """
    if target.exists():
        raise UserError(f"--output: {target} exists already; give another directory, or remove it first.")
    service = open_backend("tinker")
    try:
        with directory_written_aside(target) as aside:
            download_adapter(service, path, aside)
    except OSError as error:
        raise UserError(f"--output: writing {target} failed: {error.strerror or error}. Nothing was kept.") from error
    finally:
        close_service(service, "success")
    console.print(f"Downloaded to {target}", soft_wrap=True)


def download_at_the_end(run: RunDirectory) -> None:
    """The same after a run; a failure is said and does not undo the run."""
    try:
        download_run(run.path)
    # ValueError is what the SDK raises for an answer that it cannot use.
    except (UserError, BackendError, ValueError, OSError) as error:
        console.print(f"The adapter was not downloaded: {error} `text2sql download {run.path}` tries again.")


def evaluate_adapter(directory: Path, adapter: Path) -> None:
    """Answer a run's test questions with an adapter on this machine, and say how far the answers agree with the run's.

    The answers are kept in ``predictions-local.jsonl``.

    Raises:
        UserError: There is no such run, or it has no answers of its tuned model.
        BackendError: The adapter or the base model cannot be loaded.
    """
    run = RunDirectory(directory)
    config = load_run_config(run)
    hosted = run.predictions("tuned")
    if not hosted:
        raise UserError(f"{directory} has no answers of its tuned model to compare with; `text2sql run` makes them.")
    local = config.model_copy(update={"backend": "local"})
    run.lock()
    try:
        rows = _answer(run, local, adapter, hosted)
    finally:
        run.unlock()
    theirs = {row.id: row for row in hosted}
    same = sum(row.raw == theirs[row.id].raw for row in rows)
    paired = compare([theirs[row.id] for row in rows], rows)
    for title, scored in ((config.backend, [theirs[row.id] for row in rows]), ("this machine", rows)):
        right = sum(row.correct for row in scored)
        console.print(f"{title}: {right} of {len(scored)} right ({percent(right / len(scored))})")
    console.print(
        f"The same answer, to the letter, on {same} of {len(rows)}. This machine wins {paired.wins} and loses "
        f"{paired.losses}; exact McNemar {p_value(paired.p_value)}."
    )


def _answer(run: RunDirectory, config: Config, adapter: Path, hosted: Sequence[Prediction]) -> list[Prediction]:
    from text2sql.data.dataset import load_dataset

    examples = {example.id: example for example in load_dataset(config).split.test}
    missing = [row.id for row in hosted if row.id not in examples]
    if missing:
        raise UserError(f"The data has changed since the run: it has no example {missing[0]} any more.")
    questions = [examples[row.id] for row in hosted]
    if (other := first_other(hosted, questions)) is not None:
        raise UserError(f"The data has changed since the run: {other.id} is not the same any more. Restore the data.")
    with tempfile.TemporaryDirectory(prefix="text2sql-") as scratch:
        weights = open_weights(config.base_model, config.local, directory=adapter)
        path = weights.save_checkpoint(Path(scratch))
        service = open_backend("local", config.local, checkpoints=Path(scratch))
        try:
            sampler = service.create_sampling_client(model_path=path).result()
            # The answers of this adapter alone, not of an earlier one.
            run.replace_rows(predictions_file("local"), [])
            # Answers from this machine cost nothing and are no part of the run.
            budget = TokenBudget(RunDirectory(Path(scratch)), config)
            evaluation = Evaluation("local", "Adapter, here", "tuned", Greedy(), questions)
            return predict(RunSession(config, run, service, budget), evaluation, sampler)
        finally:
            service.close("success")
