"""A run on several devices: the same command again, in as many processes, by PyTorch's own launcher."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from backends.planning.cores import available_cores
from text2sql.errors import UserError

if TYPE_CHECKING:
    from text2sql.config import Config


def start_processes(config: Config, arguments: tuple[str, list[str]], processes: int) -> NoReturn:
    """Become the launcher of a run's processes; what is wrong with the run is said once, before there are several.

    Args:
        config: The resolved configuration.
        arguments: Its file and overrides.
        processes: How many.

    Raises:
        UserError: The backend computes elsewhere, or the run is refused.
        BackendError: The backend cannot be had.
    """
    from text2sql.pipeline.preflight import check_run
    from text2sql.runs.models import STAGES

    if not config.capabilities.runs_locally:
        raise UserError(f"--processes shares work on this machine; with backend={config.backend} it is done elsewhere.")
    claim = check_run(config, STAGES)
    claim.release()
    file, overrides = arguments
    if claim.mode != "start":
        # Whoever was asked is not asked again.
        overrides = [*overrides, f"on_existing={claim.mode}"]
    # The launcher gives each process one thread, and says so in five lines, unless it is told how many.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // processes)))
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *launcher, "-m", "text2sql", "run", file, *overrides])
