"""The configuration of an evaluation whose model the command line names: any model, or any adapter, without a run."""

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
    """A configuration with another model, in a separate directory; what the overrides say goes before.

    Args:
        file: The configuration with the questions.
        overrides: ``key=value`` of the command line.
        adapter: A directory, a Hub id or a ``tinker://`` path.
        base: Its base model; what the adapter names itself if None.
        model: A model, in place of adapter and base.

    Raises:
        UserError: The options do not go together, or nobody says what the base model is.
    """
    from backends.checkpoint_paths import SCHEME
    from text2sql.pipeline.external_adapter import base_of_adapter

    file, given = file_and_overrides(file, overrides)
    if model is not None and (adapter or base):
        raise UserError("--model is a whole model; --adapter goes with --base.")
    if base is not None and adapter is None:
        raise UserError("--base is the base model of an --adapter; a model by itself is --model.")
    named = model or adapter or ""
    place = re.sub(r"[^\w.-]+", "-", named.rstrip("/")).strip("-.") or "model"
    called = [override.partition("=")[2] for override in given if override.startswith("name=")]
    name = called[-1] if called else f"evaluate-{place}"
    # In the order of precedence, the last first.
    values = [f"name={name}", f"output_dir=runs/{name}"]
    if adapter is not None:
        values += [f"evaluation.adapter={adapter}", "evaluation.baseline=false"]
        values += ["backend=tinker"] if adapter.startswith(SCHEME) else ["backend=local"]
        base = base or base_of_adapter(adapter)
        if base is None and not adapter.startswith(SCHEME):
            raise UserError(f"--adapter: {adapter} does not name its base model; say it with --base.")
    if model or base:
        values += [f"base_model={model or base}", "tinker.base_model=null"]
    return load(file, [*values, *given])
