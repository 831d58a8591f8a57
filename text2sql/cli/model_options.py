"""The configuration of `text2sql evaluate` with --model, or with --adapter and --base: no run is needed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from text2sql.cli.arguments import file_and_overrides, load
from text2sql.errors import UserError

if TYPE_CHECKING:
    from text2sql.config import Config


def load_to_evaluate(
    file: str, overrides: list[str] | None, *, adapter: str | None, base: str | None, model: str | None
) -> Config:
    """Load a configuration with another model and a directory of its own; the overrides take precedence.

    Args:
        file: The configuration with the questions.
        overrides: ``key=value`` of the command line.
        adapter: A directory, a Hub id or a ``tinker://`` path of an adapter.
        base: The adapter's base model; None for the one that the adapter names.
        model: A model, instead of adapter and base.

    Raises:
        UserError: The options exclude each other, or the base model is not known.
    """
    from backends.checkpoint_paths import SCHEME
    from text2sql.pipeline.external_adapter import base_of_adapter

    file, overrides = file_and_overrides(file, overrides)
    if model is not None and (adapter or base):
        raise UserError("--model is a whole model; --adapter goes with --base.")
    if base is not None and adapter is None:
        raise UserError("--base is the base model of an --adapter; a model by itself is --model.")
    source = model or adapter or ""
    slug = re.sub(r"[^\w.-]+", "-", source.rstrip("/")).strip("-.") or "model"
    names = [override.partition("=")[2] for override in overrides if override.startswith("name=")]
    name = names[-1] if names else f"evaluate-{slug}"
    # Later values take precedence, so that the user's overrides come last.
    values = [f"name={name}", f"output_dir=runs/{name}"]
    if adapter is not None:
        values += [f"evaluation.adapter={adapter}", "evaluation.baseline=false"]
        values += ["backend=tinker"] if adapter.startswith(SCHEME) else ["backend=local"]
        base = base or base_of_adapter(adapter)
        if base is None and not adapter.startswith(SCHEME):
            raise UserError(f"--adapter: {adapter} does not name its base model; say it with --base.")
    if model or base:
        values += [f"base_model={model or base}", "tinker.base_model=null"]
    return load(file, [*values, *overrides])
