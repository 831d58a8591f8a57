"""Where a run took place: machine, versions, memory."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from backends.interface import Description
from text2sql import __version__
from text2sql.runs.summary import Environment

# What the program is called on an index of packages.
DISTRIBUTION = "text2sql-tune"
_HERE = Path(__file__).resolve().parents[1]
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
    """The commit that this program is at; ``-dirty`` where files of a checkout have changed since."""
    return _checkout_commit() or _installed_commit()


def describe_source() -> str:
    """From where this program comes, in words: a commit, or how it was installed and why there is none."""
    if commit := git_commit():
        return commit
    if (_HERE.parent / ".git").exists():
        return f"not known: git gives none of {_HERE.parent} ({_git().error or 'it says nothing'})"
    return f"none: installed in {_HERE.parent}, from files that name no commit; the version above says which"


@dataclass(frozen=True)
class _Said:
    """What git says, and what it complains of."""

    output: str
    error: str


def _git() -> _Said:
    # The files may be another user's, as in a container: asking for their commit runs nothing of theirs.
    command = ["git", "-c", f"safe.directory={_HERE.parent}", "-C", str(_HERE), "describe", "--always", "--dirty"]
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return _Said("", "there is no git on this machine")
    return _Said(result.stdout.strip() if result.returncode == 0 else "", result.stderr.strip().partition("\n")[0])


def _checkout_commit() -> str | None:
    """The commit of the checkout that the program runs from; a copy inside of another repository has none of it."""
    return _git().output or None if (_HERE.parent / ".git").exists() else None


def _installed_commit() -> str | None:
    """The commit that pip has noted where the program was installed from a repository."""
    try:
        noted = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        return json.loads(noted)["vcs_info"]["commit_id"] if noted else None
    except (metadata.PackageNotFoundError, ValueError, KeyError, TypeError):
        return None


def peak_memory(described: Description) -> int:
    """Bytes that a GPU held at its peak; without one, the largest resident size of this process."""
    import resource

    if "gpu_peak_memory_bytes" in described:
        return described["gpu_peak_memory_bytes"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
