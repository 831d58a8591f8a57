"""Weights that nobody trains here: an adapter from a directory, the Hub or a Tinker server, as a run's tuned model."""

from __future__ import annotations

import json
from pathlib import Path

from backends.base_models import hub_refusal
from backends.checkpoint_paths import SCHEME, CheckpointPath
from backends.interface import BackendError, SamplingClient
from text2sql.config import Config, expand_user
from text2sql.errors import UserError
from text2sql.runs.session import RunSession

KEY = "evaluation.adapter"
# What describes a PEFT adapter, and what it consists of.
DESCRIPTION, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def check_adapter(config: Config) -> None:
    """See that the adapter of a configuration, if it names one, can be had where the run computes.

    Raises:
        UserError: There is no such directory or name, or the backend takes no adapter from such a place.
    """
    given = config.evaluation.adapter
    if given is None:
        return
    if given.startswith(SCHEME):
        if config.capabilities.runs_locally or not config.capabilities.has_weights:
            raise UserError(f"{KEY}: {given} is on a server, which backend=tinker asks; this is {config.backend}.")
        try:
            CheckpointPath.parse(given)
        except ValueError as error:
            raise UserError(f"{KEY}: {given} is no path; they look like tinker://RUN/sampler_weights/NAME.") from error
        return
    if not config.capabilities.runs_locally:
        raise UserError(f"{KEY}: {given} is no tinker:// path, and other adapters are evaluated with backend=local.")
    directory = expand_user(given)
    if directory.is_dir():
        if not (directory / DESCRIPTION).is_file():
            raise UserError(f"{KEY}: {given} holds no adapter: there is no {DESCRIPTION}.")
    elif refusal := hub_refusal(given, DESCRIPTION):
        raise UserError(f"{KEY}: there is no directory {given}, and {refusal.reason}.")


def base_of_adapter(given: str) -> str | None:
    """The base model that an adapter names; None of one that is on a server or names none.

    Raises:
        UserError: There is no such adapter.
    """
    if given.startswith(SCHEME):
        return None
    directory = expand_user(given)
    if not directory.is_dir():
        if refusal := hub_refusal(given, DESCRIPTION):
            raise UserError(f"--adapter: there is no directory {given}, and {refusal.reason}.")
        directory = _fetch(given)
    try:
        named = json.loads((directory / DESCRIPTION).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"--adapter: {given} holds no adapter whose {DESCRIPTION} can be read: {error}.") from error
    return str(named) if named else None


def adapter_file(config: Config) -> Path | None:
    """The file of an adapter's weights on this machine; None where it is on a server, or there is none."""
    given = config.evaluation.adapter
    if given is None or given.startswith(SCHEME):
        return None
    return _directory(given) / WEIGHTS


def adapter_sampler(session: RunSession) -> SamplingClient:
    """The adapter that the configuration names, ready to answer.

    Raises:
        BackendError: It cannot be read, or is of another base model.
    """
    config, service = session.config, session.service
    given = str(config.evaluation.adapter)
    if not given.startswith(SCHEME):
        from backends.exporting import open_weights

        weights = open_weights(config.base_model, config.local, directory=_directory(given))
        given = weights.save_checkpoint(session.run.file("checkpoints"))
    else:
        there = service.create_rest_client().get_weights_info_by_tinker_path(given).result().base_model
        if there != config.trained_model:
            raise BackendError(f"{KEY}: {given} is of {there}, and this run's base model is {config.trained_model}.")
    return service.create_sampling_client(model_path=given).result()


def _directory(given: str) -> Path:
    directory = expand_user(given)
    return directory if directory.is_dir() else _fetch(given)


def _fetch(name: str) -> Path:
    """The adapter of a repository on the Hub, in the Hub's cache."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, allow_patterns=[DESCRIPTION, WEIGHTS]))
