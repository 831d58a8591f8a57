"""A run: evaluate the base model, train, evaluate the tuned model on the same examples, report.

What can be refused is refused by `text2sql.pipeline.preflight` first. The stages, and with them the libraries that
take seconds to load, are imported after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backends import helps, open_backend
from text2sql.config import Config
from text2sql.console import console
from text2sql.faults import keeping_traceback
from text2sql.pipeline.preflight import check_run
from text2sql.runs.budget import TokenBudget
from text2sql.runs.claim import Claim
from text2sql.runs.interruption import sigterm_interrupts
from text2sql.runs.models import STAGES
from text2sql.runs.session import RunSession, TransientBackendError, open_service, pin_matmul_dtype, record_session


def run_pipeline(config: Config, stages: Sequence[str] = STAGES) -> Path:
    """Carry out a run, or what is left of it.

    Args:
        config: The resolved configuration.
        stages: Which of `STAGES` to carry out.

    Returns:
        The run's directory.

    Raises:
        UserError: Something is wrong that a person can fix; finished stages are kept.
        BackendError: The same, of the backend.
    """
    if helps():
        open_backend(config.backend, config.backend_options)
        # This process has nothing to help with where the backend computes elsewhere, and so comes back from there.
        raise SystemExit(0)
    claim = check_run(config, stages)
    try:
        return _carry_out(claim, stages)
    finally:
        claim.release()


def _carry_out(claim: Claim, stages: Sequence[str]) -> Path:
    from text2sql.pipeline.stages import carry_out, read_data
    from text2sql.trackers.trackers import open_trackers

    config = claim.config
    trains = "train" in stages and config.evaluation.adapter is None
    dataset = read_data(config, stages)
    if config.capabilities.runs_locally:
        from text2sql.estimate.warning import warn_of_memory

        warn_of_memory(config, dataset)
    run = claim.open()
    try:
        budget = TokenBudget(run, config)
        opened = open_service(pin_matmul_dtype(config, run), run.file("checkpoints"))
        with keeping_traceback(run.path), sigterm_interrupts(), open_trackers(config, run) as trackers:
            if config.capabilities.runs_locally:
                console.print(f"Loading {config.trained_model} …")
            with opened as service:
                record_session(run, config, service)
                carry_out(RunSession(config, run, service, budget), dataset, stages, trackers)
        if trains and not config.capabilities.checkpoints_on_disk:
            from text2sql.pipeline.adapter_download import download_at_the_end

            download_at_the_end(run)
        if trains and config.hub.push_to:
            from text2sql.export import push_run

            push_run(run.path, config.hub)
        return run.path
    except (KeyboardInterrupt, OSError, TransientBackendError) as error:
        again = "the same command" if _resumes(config) else "the same command with on_existing=resume"
        error.add_note(f"What was finished is kept; {again} goes on from there.")
        raise
    except Exception as error:
        if not _resumes(config):
            error.add_note(f"To go on, say on_existing=resume: on_existing={config.on_existing} does not.")
        raise


def _resumes(config: Config) -> bool:
    """Whether the same command would go on with the run that it has begun."""
    return config.on_existing in ("ask", "resume")
