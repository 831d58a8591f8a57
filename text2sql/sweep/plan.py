"""The plan of a sweep: one run for each combination of the values of its keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from text2sql.config import Config, load_config
from text2sql.config.yaml import read_yaml
from text2sql.errors import UserError

# The key whose values are repetitions of the same experiment.
SEED = "seed"
# Keys that the sweep sets for each run itself.
_RESERVED_KEYS = ("name", "output_dir", "on_existing")


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep.

    Attributes:
        values: The value of each varied key, as written on the command line.
        config: The run's configuration, which resumes an existing run.
    """

    values: dict[str, str]
    config: Config

    @property
    def label(self) -> str:
        """The values as text: ``training.batch_size=8 seed=1``."""
        return " ".join(f"{key}={value}" for key, value in self.values.items())

    @property
    def setting(self) -> str:
        """The values without the seed; empty where only the seed varies."""
        return " ".join(f"{key}={value}" for key, value in self.values.items() if key != SEED)


def plan_sweep(file: str, overrides: Sequence[str], directory: Path | None = None) -> list[PlannedRun]:
    """Plan the runs of a sweep, with the last key varying fastest.

    Args:
        file: Path or shipped name of a YAML file.
        overrides: ``key=value`` for all runs, and ``key=value,value,...`` for what varies. Commas within brackets,
            braces or quotes are part of a value.
        directory: Where the runs go; None for ``NAME-sweep`` next to where a run of the configuration would.

    Raises:
        UserError: No key has several values, one is given twice, or a configuration is wrong.
    """
    fixed: list[str] = []
    varied: dict[str, list[str]] = {}
    for override in overrides:
        key, _, text = override.partition("=")
        values = _split_values(text)
        if key in _RESERVED_KEYS and len(values) > 1:
            raise UserError(f"{override}: a sweep names its runs itself; vary another key.")
        if len(values) == 1:
            fixed.append(override)
        elif key in varied:
            raise UserError(f"{override}: {key} is varied twice; give all its values in one.")
        elif _repeats(values):
            raise UserError(f"{override}: {key} is given a value twice; each combination is run once.")
        else:
            varied[key] = values
    if not varied:
        raise UserError(
            "No key has several values. Write them with commas, for example seed=0,1,2 "
            "training.learning_rate=1e-3,5e-4; a list that is one value goes in brackets."
        )
    # With the first of the varied values: some of the others may need them.
    base = load_config(file, [*fixed, *(f"{key}={values[0]}" for key, values in varied.items())])
    directory = directory or base.directory.with_name(f"{base.directory.name}-sweep")
    return [
        _plan_run(file, fixed, dict(zip(varied, values, strict=True)), base.name, directory)
        for values in product(*varied.values())
    ]


def _repeats(texts: Sequence[str]) -> bool:
    """Whether two of the texts are one value, as 1e-3 and 0.001 are."""
    try:
        values = [read_yaml(text) for text in texts]
    except ValueError:
        # The configuration of that run is refused with the reason.
        return False
    return any(value in values[:index] for index, value in enumerate(values))


def _plan_run(file: str, fixed: Sequence[str], values: dict[str, str], name: str, directory: Path) -> PlannedRun:
    overrides = [f"{key}={value}" for key, value in values.items()]
    slug = re.sub(r"[^A-Za-z0-9._=-]+", "_", ",".join(overrides))
    # On a command line, a directory with an equals sign would be taken for an override.
    slug = slug.replace("=", "-")
    reserved = [f"name={name}-{slug}", f"output_dir={directory / slug}", "on_existing=resume"]
    return PlannedRun(values, load_config(file, [*fixed, *overrides, *reserved]))


def _split_values(text: str) -> list[str]:
    """Split at the commas outside brackets and quotes."""
    values, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        if character == "," and not depth and not quote:
            values.append("")
        else:
            values[-1] += character
    return values
