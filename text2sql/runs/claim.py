"""What to do with a run's directory where there is a run in it: decided first, carried out when all else is checked.

A claim asks the user at the terminal and locks the run, but changes nothing of it: what is wrong with data or backend
must not cost the run that was to be overwritten, and is looked for after this, since it takes longer.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from backends.paths import PARTIAL
from text2sql.config import Config, changes, dump_config
from text2sql.config.changes import Change
from text2sql.console import console
from text2sql.errors import UserError
from text2sql.runs import records
from text2sql.runs.directory import RunDirectory
from text2sql.runs.record_files import damaged_error

ClaimMode = Literal["start", "resume", "overwrite"]


@dataclass(frozen=True)
class Claim:
    """A directory that a run is going to use.

    Attributes:
        run: The directory; locked where there is a run in it.
        config: The configuration of the run to come.
        mode: ``start`` where there is no run yet, ``resume`` to go on with one, ``overwrite`` to replace one.
    """

    run: RunDirectory
    config: Config
    mode: ClaimMode

    def open(self) -> RunDirectory:
        """Make, take over or empty the directory, and lock it.

        Raises:
            UserError: The directory cannot be written to, or another process has begun a run in it since.
        """
        try:
            if self.mode == "overwrite":
                empty_run(self.run)
            if self.mode != "resume":
                return _start(self.run, self.config)
            _take_over(self.run, self.config)
            return self.run
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Unlock the directory."""
        self.run.unlock()


def claim_run(config: Config) -> Claim:
    """Decide what becomes of the directory of a configuration, according to `on_existing`.

    Raises:
        UserError: The directory cannot be a run's; or it has a run in it and `on_existing` does not say what to do, or
            that run cannot go on with this configuration. Nothing in it has been touched.
    """
    run = RunDirectory(config.directory)
    _check_writable(run.path)
    if not run.file("config.yaml").is_file():
        # A start that was killed before it wrote config.yaml leaves nothing else.
        names = [entry.name for entry in run.path.iterdir()] if run.path.is_dir() else []
        if run.has_results():
            raise damaged_error(run.file("config.yaml"), "it is missing")
        if any(name != ".lock" and not name.endswith(PARTIAL) for name in names):
            raise UserError(f"output_dir: {run.path} has files in it, but no run. Choose another output_dir.")
        return Claim(run, config, "start")
    try:
        choice = _choose(run, config)
        if choice == "new":
            run.unlock()
            return Claim(RunDirectory(_next_free(run.path)), config, "start")
        run.lock()
        return Claim(run, config, "overwrite" if choice == "overwrite" else "resume")
    except BaseException:
        run.unlock()
        raise


def _check_writable(path: Path) -> None:
    """Raise UserError if a directory cannot be made or written; nothing is made."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise UserError(f"output_dir: {existing} is a file.")
    if not os.access(existing, os.W_OK):
        raise UserError(f"output_dir: {existing} may not be written to.")


def _choose(run: RunDirectory, config: Config) -> str:
    """What to do with the existing run: resume, overwrite or new (UserError if it must be left alone)."""
    choice: str = config.on_existing
    if choice in ("overwrite", "new"):
        return choice
    if choice != "fail":
        run.lock()
        run.repair()
    changed = [change for change in differences(run, config) if change.about.changes != "reports"]
    finished = {"train", "evaluate"} <= run.stages()
    if choice != "fail" and changed and not run.has_results():
        # A start that failed at once: the corrected command must not be refused for it.
        return "overwrite"
    # Nothing has been learnt yet of a run that has not begun to train.
    refused = [change for change in changed if change.learnt] if run.has_trained() else []
    if choice == "ask":
        choice = "resume" if not refused and not finished else _ask(run, changed, finished, resumable=not refused)
    if choice == "fail":
        # Resuming is not advised where it would be refused.
        ways = "on_existing=overwrite or new" if refused else "on_existing=resume, overwrite or new"
        raise UserError(
            f"{run.path} has a {'finished' if finished else 'started'} run in it"
            + (f" with another configuration ({'; '.join(map(str, changed))})" if changed else "")
            + f". Say what to do with {ways}, or choose another output_dir."
        )
    if choice == "resume" and refused:
        raise UserError(
            f"{run.path} cannot go on with another configuration: {'; '.join(map(str, refused))}. What it has learnt "
            "depends on that. Restore it, or say on_existing=new, which begins another run and keeps this one."
        )
    return choice


def empty_run(run: RunDirectory) -> None:
    """Remove all files of a run, ``config.yaml`` last: a removal that is interrupted leaves a run to overwrite."""
    for entry in sorted(run.path.iterdir(), key=lambda entry: entry.name == "config.yaml"):
        if entry.name != ".lock":
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _start(run: RunDirectory, config: Config) -> RunDirectory:
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output_dir: {run.path} cannot be made: {error.strerror}.") from error
    if not os.access(run.path, os.W_OK):
        raise UserError(f"output_dir: {run.path} may not be written to.")
    run.lock()
    if run.has_results():
        raise UserError(f"{run.path} has a run in it that another process has begun just now; run the command again.")
    run.write("config.yaml", dump_config(config))
    return run


def differences(run: RunDirectory, config: Config) -> list[Change]:
    """Keys in which the configuration differs from the one that the run was started with.

    A key that an older version did not know has its default there.
    """
    saved = run.saved_config()
    # A key that is no more does not stop the comparison: the differences name it.
    with suppress(ValidationError):
        saved = Config.model_validate(saved).model_dump(mode="json")
    if not isinstance(saved, dict):
        raise damaged_error(run.file("config.yaml"), "it has no keys and values")
    if missing := [key for key in ("base_model", "data") if key not in saved]:
        raise damaged_error(run.file("config.yaml"), f"it has no {' and no '.join(missing)}")
    return changes.differences(saved, config)


def _take_over(run: RunDirectory, config: Config) -> None:
    """Let a run go on with a changed configuration: evaluations that it affects are set aside, to be redone."""
    changed = [change for change in differences(run, config) if change.about.changes != "reports"]
    if not changed:
        return
    outdated: list[Path] = []
    for change in changed:
        if change.measured:
            labels = change.about.evaluations or ("*",)
            outdated += [file for label in labels for file in run.path.glob(records.predictions_file(label))]
    if outdated:
        aside = run.file("superseded")
        aside = _next_free(aside) if aside.exists() else aside
        aside.mkdir()
        # Before config.yaml: after a kill in between, the next start sets aside what is left.
        for file in dict.fromkeys(outdated):
            file.rename(aside / file.name)
        why = "; ".join(str(change) for change in changed if change.measured)
        console.print(f"Evaluations are done again ({why}). The earlier ones are kept in {aside}.", markup=False)
    run.write("config.yaml", dump_config(config))


def _ask(run: RunDirectory, changed: Sequence[Change], finished: bool, *, resumable: bool) -> str:
    if not sys.stdin.isatty():
        return "fail"
    from rich.prompt import Prompt
    from rich.text import Text

    state = "finished" if finished else "unfinished"
    why = f" with another configuration ({'; '.join(map(str, changed))})" if changed else ""
    choices = ["resume", "new", "overwrite", "fail"] if resumable else ["new", "overwrite", "fail"]
    question = Text(f"{run.path} has a {state} run{why}. What now?")
    return Prompt.ask(question, choices=choices, default="fail")


def _next_free(path: Path) -> Path:
    number = 2
    while path.with_name(f"{path.name}-{number}").exists():
        number += 1
    return path.with_name(f"{path.name}-{number}")
