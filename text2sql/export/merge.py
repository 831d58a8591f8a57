"""Merging of an adapter without a run, such as a downloaded one, into its base model."""

from __future__ import annotations

import json
from pathlib import Path

import text2sql
from backends.exporting import open_weights
from backends.options import LocalOptions
from backends.saved_weights import Probe
from text2sql.config import Config
from text2sql.data import prompts
from text2sql.data.exercise_questions import EXERCISE_QUESTIONS
from text2sql.errors import UserError
from text2sql.export.record import ExportRecord
from text2sql.export.run import PROBES, announce, writing_directory


def merge_adapter(adapter: Path, base_model: str, target: Path, dtype: str) -> Path:
    """Write a base model with an adapter merged in, and measure what rounding to a dtype changes.

    An output layer that is tied to the input embeddings is untied first, as an adapter changes only one of the two.

    Args:
        adapter: Directory of the adapter.
        base_model: Hub id, directory or packaged name.
        target: Directory to create.
        dtype: Dtype of the merged weights.

    Returns:
        The directory.

    Raises:
        UserError: The directory is there already, or cannot be written; nothing is kept.
        BackendError: The adapter or the base model cannot be read, or they do not fit.
    """
    if target.exists():
        raise UserError(f"--output: {target} exists already; give another directory, or remove it first.")
    form = prompts.PromptFormat.of(Config())
    tokenizer = prompts.load_tokenizer(base_model)
    probes = [
        Probe(prompts.render_prompt(example, form, tokenizer), prompts.render_completion(example, form))
        for example in EXERCISE_QUESTIONS[:PROBES]
    ]
    weights = open_weights(base_model, LocalOptions(), directory=adapter)
    with writing_directory(target) as aside:
        saved = weights.save_merged(aside, dtype, probes)
        fields = {"format": "merged", "text2sql": text2sql.__version__, "run": adapter.resolve().name}
        record = ExportRecord.model_validate({**fields, **vars(saved)})
        (aside / "export.json").write_text(json.dumps(record.to_json(), indent=2) + "\n", encoding="utf-8")
    announce(target, record)
    return target
