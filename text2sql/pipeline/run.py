"""A run: evaluate the base model, train, evaluate the tuned model on the same examples, report.

`text2sql.pipeline.preflight` first refuses what can be refused early. The stages, and with them the libraries that take
seconds to load, are imported after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backends import helps, open_backend
from text2sql.config import Config
from text2sql.console import console
from text2sql.faults import save_traceback
from text2sql.pipeline.preflight import check_run
from text2sql.runs.budget import TokenBudget
from text2sql.runs.claim import Claim
from text2sql.runs.directory import RunDirectory
from text2sql.runs.interruption import sigterm_interrupts
from text2sql.runs.models import STAGES, run_trains
from text2sql.runs.session import RunSession, TransientBackendError, open_service, pin_matmul_dtype, record_session

if TYPE_CHECKING:
    from text2sql.data.dataset import Dataset


def run_pipeline(config: Config, stages: Sequence[str] = STAGES) -> Path:
    """Carry out a run, or what is left of it.

    Args:
        config: The resolved configuration.
        stages: Those of `STAGES` to carry out.

    Returns:
        The run's directory.

    Raises:
        UserError: Something is wrong that a person can fix; finished stages are kept.
        BackendError: The backend fails; finished stages are kept.
    """
    if helps():
        open_backend(config.backend, config.backend_options)
        # A follower process returns from there only if the backend computes elsewhere: it has nothing to do.
        raise SystemExit(0)
    claim = check_run(config, stages)
    try:
        return _run_claimed(claim, stages)
    finally:
        claim.release()


def _run_claimed(claim: Claim, stages: Sequence[str]) -> Path:
    """Read the data and carry out the stages; an error gets a note on how to go on."""
    from text2sql.pipeline.stages import read_data

    config = claim.config
    dataset = read_data(config, stages)
    if config.capabilities.runs_locally:
        from text2sql.estimate.warning import warn_of_memory

        warn_of_memory(config, dataset)
    run = claim.open()
    try:
        _run_on_backend(run, config, dataset, stages)
        if run_trains(config, stages):
            _deliver_weights(run, config)
        return run.path
    except (KeyboardInterrupt, OSError, TransientBackendError) as error:
        command = "the same command" if _resumes(config) else "the same command with on_existing=resume"
        error.add_note(f"What was finished is kept; {command} goes on from there.")
        raise
    except Exception as error:
        if not _resumes(config):
            error.add_note(f"To go on, say on_existing=resume: on_existing={config.on_existing} does not.")
        raise


def _run_on_backend(run: RunDirectory, config: Config, dataset: Dataset, stages: Sequence[str]) -> None:
    """Open the backend and the trackers, and carry out the stages."""
    from text2sql.pipeline.stages import run_stages
    from text2sql.trackers.trackers import open_trackers

    budget = TokenBudget(run, config)
    opened = open_service(pin_matmul_dtype(config, run), run.file("checkpoints"))
    with save_traceback(run.path), sigterm_interrupts(), open_trackers(config, run) as trackers:
        if config.capabilities.runs_locally:
            console.print(f"Loading {config.trained_model} …")
        with opened as service:
            record_session(run, config, service)
            run_stages(RunSession(config, run, service, budget), dataset, stages, trackers)


def _deliver_weights(run: RunDirectory, config: Config) -> None:
    """Download the adapter of a remote run, and push the weights to the Hub if that is configured."""
    if not config.capabilities.checkpoints_on_disk:
        from text2sql.pipeline.adapter_download import download_at_the_end

        download_at_the_end(run)
    if config.hub.push_to:
        from text2sql.export import push_run

        push_run(run.path, config.hub)


def _resumes(config: Config) -> bool:
    """Whether the same command would go on with the run that it has begun."""
    return config.on_existing in ("ask", "resume")
