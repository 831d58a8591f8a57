"""The weights that a training begins with, where they are another run's and not a new adapter.

The weights alone are taken over; optimiser, schedule and data are the new run's. They are needed until its first
checkpoint: after that the run goes on from its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from pydantic import BaseModel, JsonValue

from backends.checkpoint_paths import SCHEME, CheckpointPath
from backends.exporting import open_weights
from backends.interface import ServiceClient, TrainingClient
from text2sql.config import Config, expand_user
from text2sql.errors import UserError
from text2sql.runs.directory import RunDirectory, load_run_config
from text2sql.runs.records import InitialWeightsRecord
from text2sql.runs.trained_model import finished_checkpoint

KEY = "training.start_from"
# Configuration keys that have to be the same for weights to fit and to mean the same.
ADAPTER_KEYS = (
    "local.method",
    "lora.rank",
    "lora.train_attn",
    "lora.train_mlp",
    "lora.train_unembed",
    "local.lora_alpha",
    "local.rslora",
    "local.dora",
    "local.target_modules",
)
# Configuration keys that have to be the same for a model to be right as often as it was: learning from verdicts needs
# a model that is right now and then.
PROMPT_KEYS = ("prompt.template", "prompt.schema_text")


@dataclass(frozen=True)
class InitialWeights:
    """Saved weights to begin with.

    Attributes:
        path: ``tinker://`` path of the weights.
        checkpoints: The local backend's directory that has them; None where a server has them.
        record: What the run that begins with them records about them.
    """

    path: str
    checkpoints: Path | None
    record: InitialWeightsRecord


def find_initial_weights(config: Config) -> InitialWeights | None:
    """The weights that `training.start_from` names; None if it names none.

    Raises:
        UserError: There is no such run, it has not finished its training, or its weights do not fit.
    """
    source = config.training.start_from
    if source is None:
        return None
    if not config.capabilities.has_weights:
        raise UserError(f"{KEY}: the {config.backend} backend has no weights to begin with.")
    if not source.startswith(SCHEME):
        return _weights_of_run(RunDirectory(expand_user(source)), config)
    if config.capabilities.checkpoints_on_disk:
        raise UserError(
            f"{KEY}: {source} names weights on a server; with backend={config.backend} give the directory of a run."
        )
    try:
        kind = CheckpointPath.parse(source).kind
    except ValueError as error:
        raise UserError(
            f"{KEY}: {source} is no path of a checkpoint; they look like tinker://RUN/weights/NAME."
        ) from error
    if kind != "training":
        raise UserError(
            f"{KEY}: {source} can be sampled from, not trained. Give a training checkpoint, tinker://RUN/weights/NAME; "
            "the checkpoints.jsonl of a run calls it state_path."
        )
    return InitialWeights(source, None, InitialWeightsRecord(checkpoint=source, data=None))


def resumes_from_checkpoint(config: Config) -> bool:
    """Whether the run will go on from one of its own checkpoints."""
    return config.on_existing not in ("overwrite", "new") and bool(RunDirectory(config.directory).checkpoints())


def check_initial_weights(weights: InitialWeights, service: ServiceClient, config: Config) -> None:
    """Check that a server has the weights, and that they fit.

    Raises:
        UserError: It has no such checkpoint for this key, or it is of another model or adapter.
    """
    if weights.checkpoints is not None:
        return
    from tinker import APIStatusError

    try:
        info = service.create_rest_client().get_weights_info_by_tinker_path(weights.path).result()
    except APIStatusError as error:
        raise UserError(f"{KEY}: {weights.path} cannot be had from the server: {error.message}") from error
    known = {"base_model": info.base_model, "lora.rank": info.lora_rank} | {
        f"lora.{name}": getattr(info, name) for name in ("train_attn", "train_mlp", "train_unembed")
    }
    for key, value in known.items():
        if value is not None:
            _compare(key, value, weights.path, config)


def create_client_from(
    weights: InitialWeights, service: ServiceClient, config: Config, run: RunDirectory
) -> TrainingClient:
    """A training client with the weights, and a fresh optimiser.

    Raises:
        BackendError: The checkpoint is damaged, or of another model or adapter.
    """
    if weights.checkpoints is None:
        return service.create_training_client_from_state(weights.path).result()
    saved = open_weights(config.base_model, config.local, checkpoints=weights.checkpoints, path=weights.path)
    copy = saved.save_checkpoint(run.file("checkpoints"), seed=config.seed)
    client = service.create_training_client_from_state(copy).result()
    service.create_rest_client().delete_checkpoint_from_tinker_path(copy).result()
    return client


def _weights_of_run(run: RunDirectory, config: Config) -> InitialWeights:
    try:
        trained_with = load_run_config(run)
        # Read once more below: what is wrong with the file is said with the key.
        run.checkpoints()
    except UserError as error:
        raise UserError(f"{KEY}: {error}") from error
    if trained_with.backend != config.backend:
        raise UserError(
            f"{KEY}: {run.path} was made with backend={trained_with.backend}, and this run has {config.backend}."
        )
    checkpoint = finished_checkpoint(run, trained_with, KEY)
    _compare("base_model", trained_with.trained_model, str(run.path), config)
    for key in ADAPTER_KEYS:
        _compare(key, attrgetter(key)(trained_with), str(run.path), config)
    if config.rl.method is not None:
        _compare_prompts(trained_with, config, run)
    earlier = run.recorded_initial_weights()
    earlier_data = earlier.data if earlier else ()
    record = InitialWeightsRecord(
        run=trained_with.name,
        directory=str(run.path.resolve()),
        checkpoint=checkpoint.state_path,
        step=checkpoint.step,
        # Where the earlier data are not known, it is not known what all of it was trained on.
        data=None if earlier_data is None else tuple(dict.fromkeys([*earlier_data, *trained_with.data.sources])),
    )
    on_disk = run.file("checkpoints") if config.capabilities.checkpoints_on_disk else None
    return InitialWeights(checkpoint.state_path, on_disk, record)


def _compare_prompts(trained_with: Config, config: Config, run: RunDirectory) -> None:
    """Raise UserError if the model was trained to answer other prompts than those that this run has."""
    for key in PROMPT_KEYS:
        trained_value, value = (_to_json(attrgetter(key)(each)) for each in (trained_with, config))
        if trained_value != value:
            raise UserError(
                f"{KEY}: {key} is {trained_value} in {run.path} and {value} in this run, and a model is seldom right, "
                f"and so seldom paid, where it is asked otherwise than it was taught. Set {key} as it is there."
            )


def _to_json(value: object) -> str:
    return json.dumps(value.model_dump(mode="json") if isinstance(value, BaseModel) else value)


def _compare(key: str, trained_value: JsonValue, source: str, config: Config) -> None:
    """Raise UserError if the value that the weights of `source` were trained with is not that of this run."""
    value = config.trained_model if key == "base_model" else attrgetter(key)(config)
    if trained_value == value:
        return
    shown = json.dumps(trained_value)
    raise UserError(
        f"{KEY}: {key} is {shown} in {source} and {json.dumps(value)} in this run, and the weights fit no other. "
        f"Set {key}={shown}"
        + (
            f", or train a new adapter on the merged model: `text2sql export {source} --format merged`, and base_model "
            "set to what it makes."
            if config.capabilities.checkpoints_on_disk
            else "."
        )
    )
