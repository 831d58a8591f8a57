"""What the server keeps of sessions, training runs, samplers and checkpoints: one typed record for each table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, JsonValue, PlainSerializer

from backends.checkpoint_paths import Kind


def _decode(text: Any) -> Any:
    # json writes NaN, which is no JSON: clients are given null for it.
    return json.loads(text, parse_constant=lambda _: None) if isinstance(text, str) else text


def _encode(value: Any) -> str | None:
    return json.dumps(value) if value else None


Metadata = Annotated[dict[str, JsonValue] | None, BeforeValidator(_decode), PlainSerializer(_encode)]


class Record(BaseModel):
    """One row; the fields are the columns of `table`. Times are seconds since 1970."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    table: ClassVar[str]


class Session(Record):
    """One client process's session.

    Attributes:
        seen: When it was last heard of.
        finished: How it ended; None while it is open.
    """

    table = "sessions"

    id: str
    owner: str
    created: float
    seen: float
    finished: str | None = None
    display_name: str | None = None
    metadata: Metadata = None


class TrainingRun(Record):
    """One model in training, of this life of the server or an earlier one; never deleted.

    Base model, rank and what is trained are None if the model was to come from a checkpoint that could not be read.
    """

    table = "runs"

    id: str
    session: str
    owner: str
    base_model: str | None = None
    rank: int | None = None
    train_attn: bool | None = None
    train_mlp: bool | None = None
    train_unembed: bool | None = None
    metadata: Metadata = None
    created: float
    used: float


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a new model is to be; None where it comes from a checkpoint that cannot be read."""

    base_model: str | None
    rank: int | None
    train_attn: bool | None
    train_mlp: bool | None
    train_unembed: bool | None
    metadata: dict[str, Any] | None

    @classmethod
    def like(cls, run: TrainingRun | None, metadata: dict[str, Any] | None) -> ModelSpec:
        """What a model from a checkpoint of `run` is to be; None if there is no such checkpoint."""
        if run is None:
            return cls(None, None, None, None, None, metadata)
        return cls(run.base_model, run.rank, run.train_attn, run.train_mlp, run.train_unembed, metadata)


class Sampler(Record):
    """One sampler of saved weights, or of a base model.

    Attributes:
        path: The checkpoint that it samples from; None for the bare model.
        snapshot: Whether that is an unnamed snapshot, which dies with its session.
        inflight_of: The model whose newest snapshot it follows.
        clones: How many further clients have joined it.
    """

    table = "samplers"

    id: str
    session: str
    owner: str
    base_model: str
    path: str | None = None
    snapshot: bool = False
    inflight_of: str | None = None
    clones: int = 0


class Checkpoint(Record):
    """One saved checkpoint.

    Attributes:
        run: Id of its training run.
        size: Bytes of its files.
        public: Whether every user may read it.
        expires: When it is deleted; None for never.
        snapshot: Whether it is an unnamed snapshot, which dies with its session and is not listed.
        deleted: Whether it is gone for its owner, and its files only wait for their turn.
    """

    table = "checkpoints"

    path: str
    run: str
    owner: str
    kind: Kind
    created: float
    size: int
    public: bool = False
    metadata: Metadata = None
    expires: float | None = None
    snapshot: bool = False
    deleted: bool = False
