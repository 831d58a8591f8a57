"""An adapter from a directory, the Hub or a Tinker server as the tuned model of a run that does not train."""

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
# The files of a PEFT adapter.
ADAPTER_CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def check_adapter(config: Config) -> None:
    """Check that the adapter of a configuration, if it names one, exists and can be used by the backend.

    Raises:
        UserError: There is no such directory or name, or the backend takes no adapter from there.
    """
    adapter = config.evaluation.adapter
    if adapter is None:
        return
    if adapter.startswith(SCHEME):
        if config.capabilities.runs_locally or not config.capabilities.has_weights:
            raise UserError(f"{KEY}: {adapter} is on a server, which backend=tinker asks; this is {config.backend}.")
        try:
            CheckpointPath.parse(adapter)
        except ValueError as error:
            raise UserError(
                f"{KEY}: {adapter} is no path; they look like tinker://RUN/sampler_weights/NAME."
            ) from error
        return
    if not config.capabilities.runs_locally:
        raise UserError(f"{KEY}: {adapter} is no tinker:// path, and other adapters are evaluated with backend=local.")
    directory = expand_user(adapter)
    if directory.is_dir():
        if not (directory / ADAPTER_CONFIG).is_file():
            raise UserError(f"{KEY}: {adapter} holds no adapter: there is no {ADAPTER_CONFIG}.")
    elif refusal := hub_refusal(adapter, ADAPTER_CONFIG):
        raise UserError(f"{KEY}: there is no directory {adapter}, and {refusal.reason}.")


def base_of_adapter(adapter: str) -> str | None:
    """The base model that an adapter names; None if it is on a server or names none.

    Raises:
        UserError: There is no such adapter.
    """
    if adapter.startswith(SCHEME):
        return None
    directory = expand_user(adapter)
    if not directory.is_dir():
        if refusal := hub_refusal(adapter, ADAPTER_CONFIG):
            raise UserError(f"--adapter: there is no directory {adapter}, and {refusal.reason}.")
        directory = _fetch(adapter)
    try:
        named = json.loads((directory / ADAPTER_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--adapter: {adapter} holds no adapter whose {ADAPTER_CONFIG} can be read: {error}."
        ) from error
    return str(named) if named else None


def adapter_file(config: Config) -> Path | None:
    """The file with the weights of the configured adapter; None without an adapter, or where it is on a server."""
    adapter = config.evaluation.adapter
    if adapter is None or adapter.startswith(SCHEME):
        return None
    return _directory(adapter) / WEIGHTS


def adapter_sampler(session: RunSession) -> SamplingClient:
    """Load the adapter that the configuration names.

    Raises:
        BackendError: It cannot be read, or belongs to another base model.
    """
    config, service = session.config, session.service
    adapter = str(config.evaluation.adapter)
    if not adapter.startswith(SCHEME):
        from backends.exporting import open_weights

        weights = open_weights(config.base_model, config.local, directory=_directory(adapter))
        adapter = weights.save_checkpoint(session.run.file("checkpoints"))
    else:
        base_model = service.create_rest_client().get_weights_info_by_tinker_path(adapter).result().base_model
        if base_model != config.trained_model:
            raise BackendError(
                f"{KEY}: {adapter} is of {base_model}, and this run's base model is {config.trained_model}."
            )
    return service.create_sampling_client(model_path=adapter).result()


def _directory(adapter: str) -> Path:
    directory = expand_user(adapter)
    return directory if directory.is_dir() else _fetch(adapter)


def _fetch(name: str) -> Path:
    """Download the adapter of a repository on the Hub into the Hub's cache."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(name, allow_patterns=[ADAPTER_CONFIG, WEIGHTS]))
