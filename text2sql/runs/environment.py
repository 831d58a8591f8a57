"""Where a run took place: machine, versions, memory."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from backends.interface import Description
from text2sql import __version__
from text2sql.runs.summary import Environment

PACKAGES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "datasets", "sqlglot", "tinker", "numpy")


def environment(prompt_version: int, described: Description) -> Environment:
    """The record of where a run was made, for ``environment.json``: versions, platform, command.

    Args:
        prompt_version: Version of the prompt templates (`text2sql.data.prompts.VERSION`).
        described: What the backend has chosen (`ServiceClient.describe`).
    """
    known = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_versions(),
        "git": git_commit(),
        "command": " ".join(sys.argv),
        "prompt_version": prompt_version,
    }
    return Environment.model_validate({**known, **described})


def package_versions() -> dict[str, str | None]:
    """Versions of this program and of the packages that its numbers depend on; None for what is not installed."""
    return {"text2sql": __version__, **{name: _version(name) for name in PACKAGES}}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """The commit that this program is at, where it is a checkout; ``-dirty`` where files have changed since."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty"]
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        # There is no git on this machine.
        return None
    return result.stdout.strip() or None if result.returncode == 0 else None


def peak_memory(described: Description) -> int:
    """Bytes that a GPU held at its peak; without one, the largest resident size of this process."""
    import resource

    if "gpu_peak_memory_bytes" in described:
        return described["gpu_peak_memory_bytes"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
