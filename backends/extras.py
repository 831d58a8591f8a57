"""What to say when an optional package is not installed.

The project is not published, and `text2sql` on the package index is somebody else's. So the command that a message
names installs this project from its own checkout, into the environment that runs.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]


def install_command(extra: str) -> str:
    """The shell command that installs an extra of this project into the running environment.

    Args:
        extra: A key of ``[project.optional-dependencies]`` in ``pyproject.toml``.
    """
    # An installed copy does not know where its checkout is: there the command is for the checkout's own directory.
    checkout = str(CHECKOUT) if (CHECKOUT / "pyproject.toml").is_file() else "."
    return shlex.join([sys.executable, "-m", "pip", "install", "-e", f"{checkout}[{extra}]"])


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
