"""A worker process as its parent sees it: started, given tasks, killed; its own side is `worker_process`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from text2sql.errors import UserError

# For a worker to import what it needs, on a machine that does much else.
_START_SECONDS = 60.0
# For a worker to end once it has stopped writing.
_EXIT_SECONDS = 1.0
# The end of its error output, which says why it did not start.
_MAX_ERROR_BYTES = 4096
# The directory that somebody works in, which Python would look through first, may hold another package of this name.
_COMMAND = "import sys; sys.path.pop(0); from text2sql.equivalence.processes.worker_process import serve; serve()"
# A query allocates thousands of small pieces and frees them again. With more of them at hand in glibc's cache of each
# thread, DuckDB takes a tenth less time (https://sourceware.org/glibc/manual/latest/html_node/Memory-Allocation-Tunables.html).
_ALLOCATOR_SETTINGS = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=4000:glibc.malloc.tcache_max=4096"}


@dataclass(frozen=True)
class Lost:
    """A task without an answer: its worker was killed for taking too long, died by itself, or nobody waits any more."""

    kind: Literal["timeout", "died", "stopped"]
    reason: str


class WorkersCannotStart(UserError):
    """No worker can be started: nothing is wrong with a task, and none can be judged."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The processes that judge queries cannot be started: {reason}. Nothing was judged with them; when that is "
            "mended, the same command goes on."
        )


class Worker:
    """One worker process.

    Args:
        arguments: Its command line, see `worker_pools.worker_arguments`.

    Attributes:
        overdue: Whether it was killed for not answering in time, be it that the answer came at that very moment.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        # The worker must find this very package, however the parent found it.
        import_path = os.pathsep.join(os.path.abspath(path) for path in sys.path)
        environment = {**_ALLOCATOR_SETTINGS, **os.environ, "PYTHONPATH": import_path, "PYTHONSAFEPATH": ""}
        # Read only if it ends before its first task.
        self._error_output = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._error_output,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        self._ready = False
        self._last_error = ""
        self.overdue = False

    def ask(self, task: dict[str, Any], seconds: float) -> dict[str, Any] | Lost:
        """Sends a task and waits for the answer, at most so long on the wall.

        Raises:
            WorkersCannotStart: It ended before it could take a task.
        """
        if not self._ready:
            started = self._exchange(None, _START_SECONDS)
            if isinstance(started, Lost):
                raise WorkersCannotStart(self._last_error or started.reason)
            self._ready = True
        return self._exchange(task, seconds)

    def _exchange(self, task: dict[str, Any] | None, seconds: float) -> dict[str, Any] | Lost:
        """Sends a task, if there is one, and reads one line."""
        watchdog = threading.Timer(seconds, self._kill_overdue)
        watchdog.daemon = True
        watchdog.start()
        assert self._process.stdin and self._process.stdout
        try:
            if task is not None:
                self._process.stdin.write(json.dumps(task) + "\n")
                self._process.stdin.flush()
            line = self._process.stdout.readline()
        except (OSError, ValueError):
            line = ""
        finally:
            watchdog.cancel()
        if line.endswith("\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        with suppress(subprocess.TimeoutExpired):
            # It is ending by itself; killed before that, it could not say how.
            self._process.wait(_EXIT_SECONDS)
        self._last_error = self._last_error_line()
        self.close()
        status = self._process.returncode
        if self.overdue or (hasattr(signal, "SIGPROF") and status == -signal.SIGPROF):
            return Lost("timeout", "the worker did not answer within the time limit and was killed")
        return Lost("died", f"exit status {status}")

    def _last_error_line(self) -> str:
        try:
            self._error_output.seek(0, os.SEEK_END)
            self._error_output.seek(max(0, self._error_output.tell() - _MAX_ERROR_BYTES))
            lines = self._error_output.read().decode(errors="replace").split("\n")
        except (OSError, ValueError):
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def _kill_overdue(self) -> None:
        self.overdue = True
        self._process.kill()

    def close(self) -> None:
        """Kills the process; safe from any thread, and more than once."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._error_output):
            try:
                if stream is not None:
                    stream.close()
            except OSError:
                # What was not yet sent to the dead cannot be sent any more.
                pass
