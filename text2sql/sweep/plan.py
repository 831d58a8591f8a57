"""Which runs a sweep is: one for each combination of the values that its keys are given."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from text2sql.config import Config, load_config
from text2sql.errors import UserError

# The key whose values are repetitions of one experiment, not experiments.
SEED = "seed"
# Keys that name a run or its place, which a sweep sets itself.
_OWN = ("name", "output_dir", "on_existing")


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep.

    Attributes:
        values: The value of each key that the sweep varies, as written.
        config: The run's configuration; it resumes what is there.
    """

    values: dict[str, str]
    config: Config

    @property
    def label(self) -> str:
        """The values in words: ``training.batch_size=8 seed=1``."""
        return " ".join(f"{key}={value}" for key, value in self.values.items())

    @property
    def setting(self) -> str:
        """The values but for the seed; empty where the seed alone varies."""
        return " ".join(f"{key}={value}" for key, value in self.values.items() if key != SEED)


def plan_sweep(file: str, overrides: Sequence[str], directory: Path | None = None) -> list[PlannedRun]:
    """The runs of a sweep, the last key varying fastest.

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
        values = _values(text)
        if key in _OWN and len(values) > 1:
            raise UserError(f"{override}: a sweep names its runs itself; vary another key.")
        if len(values) == 1:
            fixed.append(override)
        elif key in varied or len(set(values)) < len(values):
            raise UserError(f"{override}: {key} is given a value twice; each combination is run once.")
        else:
            varied[key] = values
    if not varied:
        raise UserError(
            "No key has several values. Write them with commas, for example seed=0,1,2 "
            "training.learning_rate=1e-3,5e-4; a list that is one value goes in brackets."
        )
    usual = load_config(file, fixed)
    place = directory or usual.directory.with_name(f"{usual.directory.name}-sweep")
    return [
        _planned(file, fixed, dict(zip(varied, values, strict=True)), usual.name, place)
        for values in product(*varied.values())
    ]


def _planned(file: str, fixed: Sequence[str], values: dict[str, str], name: str, place: Path) -> PlannedRun:
    own = re.sub(r"[^A-Za-z0-9._=-]+", "_", ",".join(f"{key}={value}" for key, value in values.items()))
    # A directory with an equals sign would be taken for an override on a command line.
    own = own.replace("=", "-")
    overrides = [f"{key}={value}" for key, value in values.items()]
    named = [f"name={name}-{own}", f"output_dir={place / own}", "on_existing=resume"]
    return PlannedRun(values, load_config(file, [*fixed, *overrides, *named]))


def _values(text: str) -> list[str]:
    """The values between commas that stand in no bracket and no quotes."""
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
