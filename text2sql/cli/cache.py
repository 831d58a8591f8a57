"""The commands on the cache: list, size, prune."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from backends.paths import cache_directory, leftovers
from text2sql.console import console
from text2sql.errors import UserError

app = typer.Typer(
    help="What text2sql keeps in $TEXT2SQL_CACHE, else ~/.cache/text2sql, and can make or fetch again.",
    no_args_is_help=True,
)

# The entries of the cache and what they hold.
ABOUT = {
    "data": "fetched data sets",
    "verdicts": "verdicts of the evaluator (evaluation.cache)",
    "tokens": "tokenised examples",
    "facts": "what the texts of large data sets say: whether queries parse, tables, hardness",
    "endpoint": "answers of language models, which cost money to ask again",
}


@app.command("list")
def list_entries() -> None:
    """Name what is in the cache, with sizes and when it was last written."""
    root = cache_directory()
    for entry in _entries():
        modified = time.strftime(
            "%Y-%m-%d", time.localtime(max(file.stat().st_mtime for file in [entry, *_files(entry)]))
        )
        about = "left by a killed process" if entry.name.startswith(".") else ABOUT.get(entry.name, "")
        line = f"{entry.relative_to(root)!s:<40} {_megabytes([entry]):>12}  {modified}  {about}"
        console.print(line.rstrip(), soft_wrap=True)
    size()


@app.command()
def size() -> None:
    """Print where the cache is and how much is in it."""
    console.print(f"{cache_directory()}: {_megabytes(_entries())}", soft_wrap=True)


@app.command()
def prune(
    names: Annotated[
        list[str] | None, typer.Argument(help="Entries of `cache list`; none: what killed processes left.")
    ] = None,
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Only what was written more than this many days ago.")
    ] = None,
) -> None:
    """Remove entries of the cache. Without names, or an age, only what killed processes left is removed."""
    known = {entry.name: entry for entry in _entries()}
    for name in names or []:
        if name not in known:
            raise UserError(f"There is no {name} in {cache_directory()}; there is: {', '.join(known) or 'nothing'}.")
    chosen = [known[name] for name in names] if names else list(known.values())
    if not names and older_than is None:
        chosen = list(leftovers(cache_directory())) if known else []
    cutoff = time.time() - 86400 * (older_than or 0)
    freed = 0
    for item in (item for entry in chosen for item in _items(entry)):
        files = _files(item)
        # An item is removed as a whole: half a data set would be taken for a complete one.
        if older_than is None or max((file.lstat().st_mtime for file in files), default=0) < cutoff:
            freed += sum(file.lstat().st_size for file in files)
            shutil.rmtree(item, ignore_errors=True) if item.is_dir() else item.unlink(missing_ok=True)
    left = _megabytes(_entries())
    console.print(f"{freed / 1e6:,.1f} MB removed; {left} left in {cache_directory()}.", soft_wrap=True)


def _entries() -> list[Path]:
    root = cache_directory()
    return sorted(root.iterdir()) if root.is_dir() else []


def _items(entry: Path) -> list[Path]:
    """The parts of an entry that can be removed alone: a file of verdicts or tokens, one data set, one model."""
    return sorted(entry.iterdir()) if entry.name in ABOUT and entry.is_dir() else [entry]


def _files(entry: Path) -> list[Path]:
    return [path for path in entry.rglob("*") if not path.is_dir() or path.is_symlink()] if entry.is_dir() else [entry]


def _megabytes(entries: list[Path]) -> str:
    return f"{sum(file.lstat().st_size for entry in entries for file in _files(entry)) / 1e6:,.1f} MB"
