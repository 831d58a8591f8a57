"""Reference models, whose log-probabilities of the answers a method needs, and what the start model was trained on.

The start model is the frozen policy that a run began with: the weights of another run, which it keeps, or the base
model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.interface import SamplingClient
from text2sql.data.dataset import load_dataset
from text2sql.data.example import Example
from text2sql.errors import UserError
from text2sql.runs.directory import RunDirectory, load_run_config
from text2sql.runs.records import InitialWeightsRecord
from text2sql.runs.rollouts import ReferenceName
from text2sql.runs.session import RunSession


@dataclass(frozen=True)
class ReferenceModel:
    """A frozen model that computes log-probabilities of the answers.

    Attributes:
        name: Which model.
        sampler: Its sampling client, of which log-probabilities alone are asked.
    """

    name: ReferenceName
    sampler: SamplingClient


def reference_sampler(session: RunSession) -> SamplingClient:
    """The weights that the run's training began with: another run's, which it keeps, or the base model's."""
    initial = session.run.recorded_initial_weights()
    if initial is not None and initial.sampler_path:
        return session.service.create_sampling_client(model_path=initial.sampler_path).result()
    return session.service.create_sampling_client(base_model=session.config.trained_model).result()


def count_seen_in_training(initial: InitialWeightsRecord, questions: Sequence[Example]) -> int | None:
    """How many of the questions the start model was trained on, by itself or by the weights that it began with.

    Returns:
        Their number; None where it is not known, because a run that trained it is not there any more.
    """
    seen: set[tuple[str, str]] = set()
    weights: InitialWeightsRecord | None = initial
    while weights is not None:
        if weights.directory is None:
            return None
        run = RunDirectory(Path(weights.directory))
        try:
            examples = load_dataset(load_run_config(run)).split.train
        except UserError:
            return None
        seen |= {(example.question, example.context) for example in examples}
        weights = run.recorded_initial_weights()
    return sum((question.question, question.context) in seen for question in questions)
