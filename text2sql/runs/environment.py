"""Where a run took place: machine, versions, memory."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from backends.facts import BackendFacts
from backends.redaction import redact
from text2sql import __version__
from text2sql.runs.summary import Environment

# Name of the program on the package index.
DISTRIBUTION = "text2sql-tune"
_PACKAGE = Path(__file__).resolve().parents[1]
# Packages that the numbers of a run depend on.
PACKAGES = ("torch", "transformers", "peft", "accelerate", "bitsandbytes", "datasets", "sqlglot", "tinker", "numpy")


def describe_environment(prompt_version: int, described: BackendFacts) -> Environment:
    """The record of where a run was made, for ``environment.json``: versions, platform, command.

    Args:
        prompt_version: Version of the prompt templates (`text2sql.data.prompts.VERSION`).
        described: What the backend says of itself (`ServiceClient.describe`).
    """
    known = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_versions(),
        "git": git_commit(),
        "command": redact(" ".join(sys.argv)),
        "prompt_version": prompt_version,
    }
    return Environment.model_validate({**known, **described.as_dict()})


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
    """The source of this program in words: a commit, or how it was installed and why there is none."""
    if commit := git_commit():
        return commit
    if (_PACKAGE.parent / ".git").exists():
        return f"not known: git gives none of {_PACKAGE.parent} ({_git().error or 'it says nothing'})"
    return f"none: installed in {_PACKAGE.parent}, from files that name no commit; the version above says which"


@dataclass(frozen=True)
class _GitResult:
    """The output of a git command, and the first line of its error message."""

    output: str
    error: str


def _git() -> _GitResult:
    # The files may be another user's, as in a container: asking for their commit runs nothing of theirs.
    command = ["git", "-c", f"safe.directory={_PACKAGE.parent}", "-C", str(_PACKAGE), "describe", "--always", "--dirty"]
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return _GitResult("", "there is no git on this machine")
    return _GitResult(result.stdout.strip() if result.returncode == 0 else "", result.stderr.strip().partition("\n")[0])


def _checkout_commit() -> str | None:
    """The commit of the checkout that the program runs from; None for a copy inside of another repository."""
    return _git().output or None if (_PACKAGE.parent / ".git").exists() else None


def _installed_commit() -> str | None:
    """The commit that pip has noted where the program was installed from a repository."""
    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        return json.loads(text)["vcs_info"]["commit_id"] if text else None
    except (metadata.PackageNotFoundError, ValueError, KeyError, TypeError):
        return None


def peak_memory(described: BackendFacts) -> int:
    """Bytes that a GPU held at its peak; without one, the largest resident size of this process."""
    import resource

    if described.gpu_peak_memory_bytes is not None:
        return described.gpu_peak_memory_bytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
