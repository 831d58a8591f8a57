"""What a training begins with where that is not a new adapter: the weights that another run has trained.

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
from text2sql.runs.records import StartRecord
from text2sql.training.early_stopping import choose_checkpoint

KEY = "training.start_from"
# What has to be the same for weights to fit and to mean the same.
SHAPE = (
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
# What has to be the same for a model to be right as often as it was, which learning from verdicts begins with.
ASKED = ("prompt.template", "prompt.schema_text")


@dataclass(frozen=True)
class Start:
    """Saved weights.

    Attributes:
        path: Their ``tinker://`` path.
        checkpoints: The local backend's directory that has them; None where a server does.
        record: What the run that begins with them keeps of it.
    """

    path: str
    checkpoints: Path | None
    record: StartRecord


def find_start(config: Config) -> Start | None:
    """The weights that `training.start_from` names; None if it names none.

    Raises:
        UserError: There is no such run, it has not finished its training, or its weights do not fit.
    """
    given = config.training.start_from
    if given is None:
        return None
    if not config.capabilities.has_weights:
        raise UserError(f"{KEY}: the {config.backend} backend has no weights to begin with.")
    if not given.startswith(SCHEME):
        return _of_run(RunDirectory(expand_user(given)), config)
    if config.capabilities.checkpoints_on_disk:
        raise UserError(
            f"{KEY}: {given} names weights on a server; with backend={config.backend} give the directory of a run."
        )
    try:
        kind = CheckpointPath.parse(given).kind
    except ValueError as error:
        raise UserError(
            f"{KEY}: {given} is no path of a checkpoint; they look like tinker://RUN/weights/NAME."
        ) from error
    if kind != "training":
        raise UserError(
            f"{KEY}: {given} can be sampled from, not trained. Give a training checkpoint, tinker://RUN/weights/NAME; "
            "the checkpoints.jsonl of a run calls it state_path."
        )
    return Start(given, None, StartRecord(checkpoint=given, data=None))


def has_begun(config: Config) -> bool:
    """Whether the run will go on from one of its own checkpoints."""
    return config.on_existing not in ("overwrite", "new") and bool(RunDirectory(config.directory).checkpoints())


def check_start(start: Start, service: ServiceClient, config: Config) -> None:
    """See to it that a server has the weights, and that they fit.

    Raises:
        UserError: It has no such checkpoint for this key, or it is of another model or adapter.
    """
    if start.checkpoints is not None:
        return
    from tinker import APIStatusError

    try:
        info = service.create_rest_client().get_weights_info_by_tinker_path(start.path).result()
    except APIStatusError as error:
        raise UserError(f"{KEY}: {start.path} cannot be had from the server: {error.message}") from error
    told = {"base_model": info.base_model, "lora.rank": info.lora_rank} | {
        f"lora.{name}": getattr(info, name) for name in ("train_attn", "train_mlp", "train_unembed")
    }
    for key, there in told.items():
        if there is not None:
            _compare(key, there, start.path, config)


def begin(start: Start, service: ServiceClient, config: Config, run: RunDirectory) -> TrainingClient:
    """A training client with the weights, and a fresh optimiser.

    Raises:
        BackendError: The checkpoint is damaged, or of another model or adapter.
    """
    if start.checkpoints is None:
        return service.create_training_client_from_state(start.path).result()
    weights = open_weights(config.base_model, config.local, checkpoints=start.checkpoints, path=start.path)
    own = weights.save_checkpoint(run.file("checkpoints"), seed=config.seed)
    client = service.create_training_client_from_state(own).result()
    service.create_rest_client().delete_checkpoint_from_tinker_path(own).result()
    return client


def _of_run(run: RunDirectory, config: Config) -> Start:
    try:
        theirs = load_run_config(run)
        checkpoints = run.checkpoints()
    except UserError as error:
        raise UserError(f"{KEY}: {error}") from error
    if theirs.backend != config.backend:
        raise UserError(f"{KEY}: {run.path} was made with backend={theirs.backend}, and this run has {config.backend}.")
    summary = run.summary()
    if not (summary and summary.training and checkpoints):
        raise UserError(f"{KEY}: the training in {run.path} has not finished; run its command again first.")
    _compare("base_model", theirs.trained_model, str(run.path), config)
    for key in SHAPE:
        _compare(key, attrgetter(key)(theirs), str(run.path), config)
    if config.rl.method is not None:
        _compare_prompts(theirs, config, run)
    chosen = choose_checkpoint(checkpoints, theirs.training)
    earlier = run.recorded_start()
    before = earlier.data if earlier else ()
    record = StartRecord(
        run=theirs.name,
        directory=str(run.path.resolve()),
        checkpoint=chosen.state_path,
        step=chosen.step,
        # Where the earlier data are not known, it is not known what all of it was trained on.
        data=None if before is None else tuple(dict.fromkeys([*before, *theirs.data.sources])),
    )
    on_disk = run.file("checkpoints") if config.capabilities.checkpoints_on_disk else None
    return Start(chosen.state_path, on_disk, record)


def _compare_prompts(theirs: Config, config: Config, run: RunDirectory) -> None:
    """Raise UserError if the model was taught to answer other prompts than those that it would be asked."""
    for key in ASKED:
        there, here = (_plain(attrgetter(key)(own)) for own in (theirs, config))
        if there != here:
            raise UserError(
                f"{KEY}: {key} is {there} in {run.path} and {here} in this run, and a model is seldom right, and so "
                f"seldom paid, where it is asked otherwise than it was taught. Set {key} as it is there."
            )


def _plain(value: object) -> str:
    return json.dumps(value.model_dump(mode="json") if isinstance(value, BaseModel) else value)


def _compare(key: str, there: JsonValue, place: str, config: Config) -> None:
    """Raise UserError if what the weights were trained with is not what this run has."""
    here = config.trained_model if key == "base_model" else attrgetter(key)(config)
    if there == here:
        return
    there, here = json.dumps(there), json.dumps(here)
    raise UserError(
        f"{KEY}: {key} is {there} in {place} and {here} in this run, and the weights fit no other. Set {key}={there}"
        + (
            f", or train a new adapter on the merged model: `text2sql export {place} --format merged`, and base_model "
            "set to what it makes."
            if config.capabilities.checkpoints_on_disk
            else "."
        )
    )
