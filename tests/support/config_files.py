"""Configuration files for tests."""

from __future__ import annotations

from pathlib import Path


def write_config(directory: Path, text: str) -> str:
    """Write a configuration file into a directory, and return its path."""
    path = directory / "experiment.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)
