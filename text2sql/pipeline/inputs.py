"""The fingerprints of a run's inputs: examples, databases, prompt, tokenizer, weights of the base model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from backends.base_models import weights_digest
from backends.chat_template import turns_left_out
from backends.tokenizer import vocabulary
from text2sql.config import Config
from text2sql.config.templates import TEMPLATES
from text2sql.data import prompts
from text2sql.data.chats import EFFORT, thinking_switches
from text2sql.data.dataset import Dataset
from text2sql.data.example import Example
from text2sql.data.exercise_questions import EXERCISE_QUESTIONS
from text2sql.pipeline.external_adapter import adapter_file
from text2sql.runs.inputs import Fingerprint, InputName, fingerprint
from text2sql.sql.files import JOURNALS


def take_fingerprints(config: Config, dataset: Dataset, tokenizer: Any) -> dict[InputName, Fingerprint]:
    """Compute the fingerprints of a run's inputs.

    Args:
        config: The resolved configuration.
        dataset: The examples, without those that are too long.
        tokenizer: The tokenizer of the base model.
    """
    split = dataset.split
    fingerprints: dict[InputName, Fingerprint] = {
        "training_examples": _examples_fingerprint(split.train),
        "validation_examples": _examples_fingerprint(split.validation),
        "test_examples": _examples_fingerprint(split.test),
        "prompt": fingerprint(_describe_prompt(config, tokenizer)),
        "tokenizer": fingerprint(_describe_tokenizer(tokenizer)),
    }
    if databases := sorted({example.db for example in split.test if example.db}):
        fingerprints["databases"] = fingerprint(map(_digest_database, databases), len(databases))
    # Of a hosted model only the name is known, which the configuration has.
    if config.capabilities.runs_locally and (digest := weights_digest(config.trained_model)):
        fingerprints["base_weights"] = Fingerprint(digest=digest)
    if (file := adapter_file(config)) is not None and file.is_file():
        with file.open("rb") as weights:
            fingerprints["adapter"] = Fingerprint(digest=hashlib.file_digest(weights, "sha256").hexdigest()[:32])
    return fingerprints


def _describe_prompt(config: Config, tokenizer: Any) -> list[str]:
    form = prompts.PromptFormat.of(config)
    parts = [str(prompts.VERSION), repr(TEMPLATES[form.template])]
    # Added only for models that think, so that the fingerprints of earlier runs of other models stay valid.
    if prompts.is_chat(form) and "think" in str(tokenizer.chat_template):
        parts.append(repr(form.turn_start(tokenizer)))
    if prompts.is_chat(form):
        parts += _template_differences(form, tokenizer)
    return parts


def _template_differences(form: prompts.PromptFormat, tokenizer: Any) -> Iterator[str]:
    """How our chats differ from what the model's chat template makes of the turns; for most models not at all."""
    if left_out := turns_left_out(tokenizer):
        yield f"without {left_out}"
    if EFFORT in (options := thinking_switches(tokenizer.chat_template, thinks=form.thinks)):
        yield f"{EFFORT}={options[EFFORT]}"
    end = prompts.end_of_turn(form, tokenizer)
    if len(end) > 1 and end[-2] in tokenizer.all_special_ids:
        yield f"ended by {end}"


def _examples_fingerprint(examples: Sequence[Example]) -> Fingerprint:
    # The path of a database may change; its contents have a fingerprint of their own.
    names = [None if field.name == "db" else field.name for field in fields(Example)]
    texts = (json.dumps([name and getattr(example, name) for name in names]) for example in examples)
    return fingerprint(texts, len(examples))


def _digest_database(path: str) -> str:
    digest = hashlib.sha256()
    # Journals hold a part of the contents.
    for part in (Path(path), *(Path(path + suffix) for suffix in JOURNALS)):
        if part.is_file() and part.stat().st_size:
            with part.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _describe_tokenizer(tokenizer: Any) -> Iterator[str]:
    """The behaviour of a tokenizer, whatever its library's version: vocabulary, chat template, and encoded texts."""
    yield json.dumps(sorted(vocabulary(tokenizer).items()))
    yield str(getattr(tokenizer, "chat_template", None))
    for example in EXERCISE_QUESTIONS:
        yield json.dumps(list(tokenizer.encode(f"{example.context}\n{example.question}\n{example.answer}")))
