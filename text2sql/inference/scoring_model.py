"""The model of a run, or any model by name, opened to compute the likelihood of queries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from text2sql.config import Config, expand_user
from text2sql.data.audit.likelihood import ScoringModel
from text2sql.runs.directory import RunDirectory, load_run_config
from text2sql.runs.session import context_length, open_service, pin_matmul_dtype
from text2sql.runs.trained_model import tuned_checkpoint


@contextmanager
def open_scoring_model(name: str, config: Config) -> Iterator[ScoringModel]:
    """Open a model until the end of the block.

    Args:
        name: A run's directory, for its tuned model with the run's own prompt and backend; or the name of a model.
        config: The configuration for a model by name: its `base_model` is that model.

    Raises:
        UserError: The run has no checkpoint yet, or cannot be read.
        BackendError: The backend has no such model, or cannot be opened.
    """
    directory = expand_user(name)
    run = RunDirectory(directory) if (directory / "config.yaml").is_file() else None
    checkpoints, path = None, None
    if run is not None:
        config, checkpoints = pin_matmul_dtype(load_run_config(run), run), run.file("checkpoints")
        path = str(tuned_checkpoint(run, config, "name its base model").sampler_path)
    with open_service(config, checkpoints) as service:
        if path is None:
            future = service.create_sampling_client(base_model=config.trained_model)
        else:
            future = service.create_sampling_client(model_path=path)
        yield ScoringModel(future.result(), config, context_length(service, config.trained_model))
