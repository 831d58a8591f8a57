"""A run on several devices: the command is started again in several processes by PyTorch's launcher."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from backends.planning.cores import available_cores
from text2sql.errors import UserError

if TYPE_CHECKING:
    from text2sql.config import Config


def start_processes(config: Config, arguments: tuple[str, list[str]], processes: int) -> NoReturn:
    """Replace this process by the launcher of a run's processes, after the checks of the run, so that they fail once.

    Args:
        config: The resolved configuration.
        arguments: The file and the overrides of the command line.
        processes: Number of processes.

    Raises:
        UserError: The backend computes elsewhere, or the run is refused.
        BackendError: The backend is not available.
    """
    from text2sql.pipeline.preflight import check_run
    from text2sql.runs.models import STAGES

    if not config.capabilities.runs_locally:
        raise UserError(f"--processes shares work on this machine; with backend={config.backend} it is done elsewhere.")
    claim = check_run(config, STAGES)
    claim.release()
    file, overrides = arguments
    if claim.mode != "start":
        # The user has been asked what to do with an existing run, and the processes cannot ask.
        overrides = [*overrides, f"on_existing={claim.mode}"]
    # Otherwise the launcher gives each process one thread, and prints a warning of five lines.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // processes)))
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *launcher, "-m", "text2sql", "run", file, *overrides])
