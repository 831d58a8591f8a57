"""What to say when an optional package is not installed.

The project is not published, and `text2sql` on the package index is somebody else's. So the command that a message
names installs this project from where it came: the checkout that runs, else what pip has noted of the installation.
"""

from __future__ import annotations

import json
import shlex
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

DISTRIBUTION = "text2sql-tune"
CHECKOUT = Path(__file__).resolve().parents[1]


def install_command(extra: str) -> str:
    """The shell command that installs an extra of this project into the running environment.

    Args:
        extra: A key of ``[project.optional-dependencies]`` in ``pyproject.toml``.
    """
    own = (CHECKOUT / "pyproject.toml").is_file()
    target = ["-e", f"{CHECKOUT}[{extra}]"] if own else [_origin(_noted(), extra)]
    return shlex.join([sys.executable, "-m", "pip", "install", *target])


def _noted() -> str:
    """What the installer has noted of where this copy came from (PEP 610); an empty text where it has not."""
    try:
        return distribution(DISTRIBUTION).read_text("direct_url.json") or ""
    except PackageNotFoundError:
        return ""


def _origin(noted: str, extra: str) -> str:
    """The requirement that installs the same again with an extra: a directory, or a name with an address."""
    try:
        origin = json.loads(noted)
        url, repository = str(origin["url"]), origin.get("vcs_info")
    except (ValueError, KeyError, TypeError, AttributeError):
        # Nothing is known: the command is for whoever is in the directory of the project's files.
        return f".[{extra}]"
    if repository:
        return f"{DISTRIBUTION}[{extra}] @ {repository['vcs']}+{url}@{repository['commit_id']}"
    directory = Path(url2pathname(urlsplit(url).path))
    if "dir_info" not in origin:
        return f"{DISTRIBUTION}[{extra}] @ {url}"
    return f"{directory if (directory / 'pyproject.toml').is_file() else '.'}[{extra}]"


def missing_package(needed_by: str, package: str, extra: str, alternative: str) -> str:
    """The message for an optional package that cannot be imported.

    Args:
        needed_by: What needs it: the key with its value, or the command.
        package: The package as it is imported.
        extra: The extra of ``pyproject.toml`` that holds it.
        alternative: What works without it, as an imperative.
    """
    return (
        f'{needed_by} needs the package {package} of the extra "{extra}", which is not installed. '
        f"Install it with `{install_command(extra)}`, or {alternative}."
    )
