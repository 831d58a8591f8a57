"""What a server is given when it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt

from backends.options import LocalOptions


class Limits(BaseModel):
    """How much one server takes on. What exceeds a limit is refused with its name, and harms nobody else."""

    model_config = ConfigDict(extra="forbid")

    queued_requests: PositiveInt = Field(10_000, description="Requests of one user that may wait; more get 429.")
    queued_bytes: PositiveInt = Field(
        1 << 30, description="Bytes of all users' requests that may wait, decompressed, and that may be arriving."
    )
    queued_bytes_per_user: PositiveInt = Field(
        1 << 29, description="Bytes of requests of one user that may wait, and that may be arriving."
    )
    request_bytes: PositiveInt = Field(256 << 20, description="Size of one forward_backward request, decompressed.")
    sample_request_bytes: PositiveInt = Field(8 << 20, description="Size of one request for samples or completions.")
    small_request_bytes: PositiveInt = Field(1 << 20, description="Size of one request of any other kind.")
    datums_per_request: PositiveInt = Field(8192, description="Datums of one forward_backward request.")
    tokens_per_request: PositiveInt = Field(4 << 20, description="Input tokens of one forward_backward request.")
    cells_per_request: PositiveInt = Field(
        1 << 25, description="Values of all tensors of one forward_backward request, sparse ones counted as dense."
    )
    topk_per_request: PositiveInt = Field(
        1 << 22, description="Log-probabilities of alternatives that one sampling request may ask for, in all."
    )
    lora_rank: PositiveInt = Field(512, description="Largest rank of an adapter.")
    sessions_per_user: PositiveInt = Field(1024, description="Sessions that one user may have open at a time.")
    models_per_user: PositiveInt = Field(64, description="Models that one user may have in training at a time.")
    resident_models: PositiveInt = Field(
        8, description="Adapters in training kept on the device; the least recently used ones wait in main memory."
    )
    free_bytes: NonNegativeInt = Field(
        1 << 30, description="Main memory that must be free when a model is created: it may have to wait there."
    )
    free_disk_bytes: NonNegativeInt = Field(
        64 << 20, description="Disk space that must be free when a checkpoint is saved: the database needs some too."
    )
    cached_samplers: PositiveInt = Field(8, description="Sets of sampling weights kept in memory.")
    packed_weights: NonNegativeInt = Field(
        4,
        description="Sets of sampling weights kept packed for the processor besides those in use, each as large as a "
        "base model, while half of main memory is free.",
    )
    snapshots_per_session: PositiveInt = Field(32, description="Unnamed sampling snapshots kept of one session.")
    pairs_per_request: PositiveInt = Field(512, description="Pairs of one request for verdicts.")
    waiting_verdict_requests: NonNegativeInt = Field(
        16, description="Requests for verdicts that may wait while one is carried out."
    )
    stops_per_request: PositiveInt = Field(128, description="Stop texts and stop tokens of one request.")
    samples_per_request: PositiveInt = Field(1024, description="num_samples of one request.")
    connections_per_client: PositiveInt = Field(1024, description="Connections of one client address.")
    header_seconds: PositiveFloat = Field(20.0, description="How long the head of a request may take to arrive.")
    body_idle_seconds: PositiveFloat = Field(60.0, description="How long no byte of an unfinished body may arrive.")
    session_idle_seconds: PositiveFloat = Field(1800.0, description="A session without a sign of life is closed.")
    result_seconds: PositiveFloat = Field(3600.0, description="How long a result can be fetched.")
    fetched_result_seconds: PositiveFloat = Field(120.0, description="How long it can be fetched once more.")
    result_bytes: PositiveInt = Field(1 << 30, description="Results kept in all; beyond it the oldest go first.")
    gap_seconds: PositiveFloat = Field(300.0, description="How long a request waits for one that must come before it.")
    poll_seconds: PositiveFloat = Field(20.0, description="How long a poll for a result is held open.")
    inline_result_bytes: NonNegativeInt = Field(4 << 20, description="Larger results are announced before sent.")


class Address(BaseModel):
    """How clients address the server, where that is not as it listens, how it starts, and what it stands in for."""

    model_config = ConfigDict(extra="forbid")

    allowed_hosts: tuple[str, ...] = Field(
        (), description="Further names in a request's Host: of a proxy, or of this machine in its network."
    )
    without_checkpoints: bool = Field(
        False, description="Start even where every checkpoint that the database lists is missing on the disk."
    )
    stable_reinforce: Literal["refused", "reinforce_kl"] = Field(
        "refused",
        description="The loss of that name, whose formula is not published: refused, or reinforce_kl in its place, "
        "which every answer then says in its metrics.",
    )
    public_url: str = Field(
        "", description="What links to weights begin with, such as https://sql.example; empty: as the request came."
    )


class ServerSettings(BaseModel):
    """A server: what it serves, to whom, and where it keeps its state.

    Attributes:
        base_models: Served name -> where to load it from (the name itself, a directory, a Hub id).
        data: Directory of the checkpoints and of the database.
        keys: API keys; each is a user with a separate namespace. Empty: any key, one namespace, loopback only.
        local: Options of the local backend.
        server: How clients address it.
        limits: How much to take on.
    """

    model_config = ConfigDict(extra="forbid")

    base_models: dict[str, str] = Field(min_length=1)
    data: Path
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    keys: tuple[str, ...] = ()
    local: LocalOptions = LocalOptions()
    server: Address = Address()
    limits: Limits = Limits()
