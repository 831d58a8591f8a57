"""Checks of a command before libraries that take seconds are loaded, and before data are read.

All such checks are here. Those that cost nothing come first, then those that ask a server. Importing this module loads
neither PyTorch nor transformers nor the Tinker SDK.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from backends import check_backend
from backends.interface import BackendError
from backends.planning.estimate import DEVICES
from text2sql.config import Config
from text2sql.errors import UserError
from text2sql.pipeline.external_adapter import check_adapter
from text2sql.rows import check_present, names_table
from text2sql.runs.budget import run_prices
from text2sql.runs.claim import Claim, claim_run
from text2sql.runs.directory import RunDirectory, load_run_config
from text2sql.runs.models import run_trains
from text2sql.runs.trained_model import no_checkpoint
from text2sql.trackers.trackers import check_trackers

LOG = logging.getLogger(__name__)


def check_run(config: Config, stages: Collection[str]) -> Claim:
    """Check a run, and claim its directory.

    Args:
        config: The resolved configuration.
        stages: Those of `text2sql.runs.models.STAGES` that are to be carried out.

    Returns:
        The claim, with which the run is begun; nothing in the directory has been touched.

    Raises:
        UserError: A file, a package, a key or the initial weights of the training are missing, or the directory is
            taken.
        BackendError: The backend is not available: its device, its key, its server, its model.
    """
    trains = run_trains(config, stages)
    if config.tinker.max_cost is not None and not config.capabilities.charges:
        LOG.warning(
            "tinker.max_cost=%g limits nothing with backend=%s, at which no run is charged for.",
            config.tinker.max_cost,
            config.backend,
        )
    check_data(config)
    _check_packages(config)
    if config.evaluation.adapter is not None and not {"baseline", "evaluate"} & {*stages}:
        raise UserError("evaluation.adapter is evaluated, not trained; leave it out to train.")
    check_adapter(config)
    if trains:
        _check_training(config)
    claim = claim_run(config)
    try:
        _check_backend(config)
        run_prices(config)
        if trains and config.hub.push_to:
            from text2sql.export import hub

            hub.check(config.hub.push_to)
        check_trackers(config)
    except BaseException:
        claim.release()
        raise
    return claim


def check_data(config: Config) -> None:
    """Raise UserError if a data file of the configuration is missing, empty, or of a format that is not read."""
    for path in config.data.files:
        if names_table(path):
            check_present(path, "data")


def check_device(device: str) -> str:
    """The name of a device of `text2sql estimate` in its usual letter case (UserError if there is none)."""
    names = {name.casefold(): name for name in ("here", "cpu", *DEVICES)}
    if device.casefold() not in names:
        raise UserError(f'--device: "{device}" is none of {", ".join(names.values())}.')
    return names[device.casefold()]


def check_finished_run(directory: Path) -> None:
    """Raise UserError if there is no run in a directory."""
    RunDirectory(directory).saved_config()


def check_weights(directory: Path, adapter: Path | None = None) -> None:
    """Raise UserError if there is no run in a directory, or it has no weights yet and no adapter is given instead."""
    run = RunDirectory(directory)
    load_run_config(run)
    if adapter is None and not run.checkpoints() and not run.file("adapter").is_dir():
        raise no_checkpoint(run)


def check_models(directory: Path, *, tuned: bool = False) -> None:
    """Check that the models of a run can be asked.

    Args:
        directory: The run's directory.
        tuned: Whether the tuned model is to be asked.

    Raises:
        UserError: There is no run, or it has no tuned model yet.
        BackendError: The backend is not available.
    """
    run = RunDirectory(directory)
    config = load_run_config(run)
    if tuned and not run.checkpoints():
        raise no_checkpoint(run, "ask its base model with --base")
    check_backend(config.backend, config.backend_options, config.trained_model)


def _check_backend(config: Config) -> None:
    """Raise BackendError if the backend is not available; for a remote backend with a note on the local one."""
    try:
        check_backend(config.backend, config.backend_options, config.trained_model)
    except BackendError as error:
        if not config.capabilities.runs_locally and config.capabilities.has_weights:
            error.add_note("A model on this machine needs none of that: backend=local.")
        raise


def _check_packages(config: Config) -> None:
    """Raise UserError if the configuration needs a package or a key that is missing."""
    if config.judge:
        from text2sql.chat_client import ChatClient

        ChatClient(config.judge)
    if isinstance(config.evaluation.workers, str):
        from text2sql.equivalence.processes.executors import check_executor

        check_executor(config.evaluation.workers)
    if config.evaluation.proof:
        from text2sql.equivalence.proofs import require_solver

        require_solver("evaluation.proof", "leave it out")


def _check_training(config: Config) -> None:
    """Raise UserError if the reward function or the initial weights of the training cannot be found."""
    from text2sql.rl.rewards import check_reward_function
    from text2sql.training.initial_weights import find_initial_weights, resumes_from_checkpoint

    check_reward_function(config.rl.reward)
    if not resumes_from_checkpoint(config):
        find_initial_weights(config)
