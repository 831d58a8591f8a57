"""What a run that learns from verdicts begins with: its weights to sample from, and what they were taught."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backends.interface import SamplingClient
from text2sql.data.dataset import load_dataset
from text2sql.data.example import Example
from text2sql.errors import UserError
from text2sql.runs.directory import RunDirectory, load_run_config
from text2sql.runs.records import StartRecord
from text2sql.runs.session import RunSession


def start_sampler(session: RunSession) -> SamplingClient:
    """The weights that the run's training began with: another run's, which it keeps, or the base model's."""
    start = session.run.recorded_start()
    if start is not None and start.sampler_path:
        return session.service.create_sampling_client(model_path=start.sampler_path).result()
    return session.service.create_sampling_client(base_model=session.config.trained_model).result()


def count_taught(start: StartRecord, questions: Sequence[Example]) -> int | None:
    """How many of the questions the start model was trained on, by itself or by what it began with.

    Returns:
        Their number; None where it is not known, because a run that trained it is not there any more.
    """
    taught: set[tuple[str, str]] = set()
    before: StartRecord | None = start
    while before is not None:
        if before.directory is None:
            return None
        run = RunDirectory(Path(before.directory))
        try:
            examples = load_dataset(load_run_config(run)).split.train
        except UserError:
            return None
        taught |= {(example.question, example.context) for example in examples}
        before = run.recorded_start()
    return sum((question.question, question.context) in taught for question in questions)
