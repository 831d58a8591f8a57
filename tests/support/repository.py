"""The repository's own files, found without git, so that an unpacked archive is tested as a clone is."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PARTS = (".ci", ".github", "backends", "configs", "docs", "scripts", "tests", "text2sql")


def repository_files(*patterns: str) -> list[str]:
    """Paths, relative to the repository, of the files that match one of the patterns."""
    found = {file for pattern in patterns for file in REPOSITORY.glob(pattern)}
    found |= {file for part in PARTS for pattern in patterns for file in (REPOSITORY / part).rglob(pattern)}
    return sorted(file.relative_to(REPOSITORY).as_posix() for file in found if file.is_file())
