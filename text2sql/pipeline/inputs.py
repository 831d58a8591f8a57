"""The fingerprints of what a run is made from: examples, databases, prompt, tokenizer, weights of the base model."""

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
from text2sql.pipeline.given_adapter import adapter_file
from text2sql.runs.inputs import Fingerprint, InputName, fingerprint
from text2sql.sql.files import JOURNALS


def take_fingerprints(config: Config, dataset: Dataset, tokenizer: Any) -> dict[InputName, Fingerprint]:
    """The inputs of a run as they are now.

    Args:
        config: The resolved configuration.
        dataset: Its examples, those that are too long already dropped.
        tokenizer: Of the base model.
    """
    split = dataset.split
    found: dict[InputName, Fingerprint] = {
        "training_examples": _of_examples(split.train),
        "validation_examples": _of_examples(split.validation),
        "test_examples": _of_examples(split.test),
        "prompt": fingerprint(_describe_prompt(config, tokenizer)),
        "tokenizer": fingerprint(_describe_tokenizer(tokenizer)),
    }
    if databases := sorted({example.db for example in split.test if example.db}):
        found["databases"] = fingerprint(map(_digest_database, databases), len(databases))
    # Of a hosted model only the name is known, and that is in the configuration.
    if config.capabilities.runs_locally and (digest := weights_digest(config.trained_model)):
        found["base_weights"] = Fingerprint(digest=digest)
    if (file := adapter_file(config)) is not None and file.is_file():
        with file.open("rb") as weights:
            found["adapter"] = Fingerprint(digest=hashlib.file_digest(weights, "sha256").hexdigest()[:32])
    return found


def _describe_prompt(config: Config, tokenizer: Any) -> list[str]:
    form = prompts.PromptFormat.of(config)
    described = [str(prompts.VERSION), repr(TEMPLATES[form.template])]
    # Runs of models that do not think keep the fingerprint that they have.
    if prompts.is_chat(form) and "think" in str(tokenizer.chat_template):
        described.append(repr(form.turn_start(tokenizer)))
    if prompts.is_chat(form):
        described += _differences(form, tokenizer)
    return described


def _differences(form: prompts.PromptFormat, tokenizer: Any) -> Iterator[str]:
    """In what a model's chats differ from what its chat template makes of the turns; nothing of most models."""
    if left_out := turns_left_out(tokenizer):
        yield f"without {left_out}"
    if EFFORT in (given := thinking_switches(tokenizer.chat_template, thinks=form.thinks)):
        yield f"{EFFORT}={given[EFFORT]}"
    end = prompts.end_of_turn(form, tokenizer)
    if len(end) > 1 and end[-2] in tokenizer.all_special_ids:
        yield f"ended by {end}"


def _of_examples(examples: Sequence[Example]) -> Fingerprint:
    # A database is known by its contents, wherever it is.
    names = [None if field.name == "db" else field.name for field in fields(Example)]
    texts = (json.dumps([name and getattr(example, name) for name in names]) for example in examples)
    return fingerprint(texts, len(examples))


def _digest_database(path: str) -> str:
    digest = hashlib.sha256()
    # What is in a database is in its journals as well.
    for part in (Path(path), *(Path(path + suffix) for suffix in JOURNALS)):
        if part.is_file() and part.stat().st_size:
            with part.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _describe_tokenizer(tokenizer: Any) -> Iterator[str]:
    """What a tokenizer does, which another version of its library does not change: its words, and texts in tokens."""
    yield json.dumps(sorted(vocabulary(tokenizer).items()))
    yield str(getattr(tokenizer, "chat_template", None))
    for example in EXERCISE_QUESTIONS:
        yield json.dumps(list(tokenizer.encode(f"{example.context}\n{example.question}\n{example.answer}")))
