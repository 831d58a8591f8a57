"""The command line in separate processes, forked from one that has imported everything: they start at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["torch", "peft", "transformers.models.llama", "text2sql.cli", "text2sql.pipeline.stages", "backends.local.service"]
)


def start(arguments: Sequence[object], output: Path) -> BaseProcess:
    """Start ``text2sql ARGUMENTS`` in its own process group; what it prints is appended to a file."""
    process = _context.Process(target=_main, args=([str(a) for a in arguments], output, dict(os.environ)))
    process.start()
    return process


def kill(process: BaseProcess) -> None:
    """SIGKILL for the process and all that it has started."""
    assert process.pid is not None
    os.killpg(process.pid, signal.SIGKILL)
    process.join(60)


def _main(arguments: list[str], output: Path, environment: dict[str, str]) -> None:
    os.setsid()
    os.environ.update(environment)
    import torch

    from text2sql import cli

    # PyTorch sums in another order with another number of threads.
    torch.set_num_threads(1)
    with output.open("a") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
    sys.argv = ["text2sql", *arguments]
    cli.main()
