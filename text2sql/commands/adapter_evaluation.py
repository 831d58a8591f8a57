"""`text2sql evaluate RUN --adapter`: the run's questions again, with its adapter on this machine."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from backends import open_backend
from backends.exporting import open_weights
from text2sql.config import Config
from text2sql.console import console
from text2sql.errors import UserError
from text2sql.formats import p_value, percent
from text2sql.inference.plan import Evaluation
from text2sql.inference.predict import compare, first_mismatch, predict
from text2sql.inference.strategies import Greedy
from text2sql.runs.budget import TokenBudget
from text2sql.runs.directory import RunDirectory, load_run_config
from text2sql.runs.records import Prediction, predictions_file
from text2sql.runs.session import RunSession


def evaluate_adapter(directory: Path, adapter: Path) -> None:
    """Answer a run's test questions with an adapter on this machine, and print the agreement with the run's answers.

    The answers are written to ``predictions-local.jsonl``.

    Raises:
        UserError: There is no such run, or it has no answers of its tuned model.
        BackendError: The adapter or the base model cannot be loaded.
    """
    run = RunDirectory(directory)
    config = load_run_config(run)
    hosted = run.predictions("tuned")
    if not hosted:
        raise UserError(f"{directory} has no answers of its tuned model to compare with; `text2sql run` makes them.")
    local_config = config.model_copy(update={"backend": "local"})
    run.lock()
    try:
        local = _answer(run, local_config, adapter, hosted)
    finally:
        run.unlock()
    hosted_by_id = {row.id: row for row in hosted}
    hosted = [hosted_by_id[row.id] for row in local]
    equal = sum(ours.raw == theirs.raw for ours, theirs in zip(local, hosted, strict=True))
    paired = compare(hosted, local)
    for title, rows in ((config.backend, hosted), ("this machine", local)):
        correct = sum(row.correct for row in rows)
        console.print(f"{title}: {correct} of {len(rows)} right ({percent(correct / len(rows))})")
    console.print(
        f"The same answer, to the letter, on {equal} of {len(local)}. This machine wins {paired.wins} and loses "
        f"{paired.losses}; exact McNemar {p_value(paired.p_value)}."
    )


def _answer(run: RunDirectory, config: Config, adapter: Path, hosted: Sequence[Prediction]) -> list[Prediction]:
    """Answer the questions of `hosted` with the adapter on the local backend."""
    from text2sql.data.dataset import load_dataset

    examples = {example.id: example for example in load_dataset(config).split.test}
    missing = [row.id for row in hosted if row.id not in examples]
    if missing:
        raise UserError(f"The data has changed since the run: it has no example {missing[0]} any more.")
    questions = [examples[row.id] for row in hosted]
    if (changed := first_mismatch(hosted, questions)) is not None:
        raise UserError(f"The data has changed since the run: {changed.id} is not the same any more. Restore the data.")
    with tempfile.TemporaryDirectory(prefix="text2sql-") as scratch:
        weights = open_weights(config.base_model, config.local, directory=adapter)
        path = weights.save_checkpoint(Path(scratch))
        service = open_backend("local", config.local, checkpoints=Path(scratch))
        try:
            sampler = service.create_sampling_client(model_path=path).result()
            # Answers of an earlier adapter are not continued.
            run.replace_rows(predictions_file("local"), [])
            # Local answers cost nothing and do not count towards the run's budget.
            budget = TokenBudget(RunDirectory(Path(scratch)), config)
            evaluation = Evaluation("local", "Adapter, here", "tuned", Greedy(), questions)
            return predict(RunSession(config, run, service, budget), evaluation, sampler)
        finally:
            service.close("success")
