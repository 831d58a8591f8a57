"""The capabilities of each backend, as data: programs test these, never the name of a backend.

`BACKENDS` is the only list of backends. It can be read without opening a backend, and without importing torch or the
Tinker SDK, so configurations are checked and runs are planned against it. A service client carries the same record as
its attribute `capabilities`.

A new backend is a module whose opener takes ``(options, *, checkpoints)``, one entry here and, if it has options, a
class in `backends.options`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a program must know of a backend in order to use it.

    Attributes:
        title: Name of the backend in reports, for example ``Tinker API``.
        has_weights: It trains a real model. Otherwise its results say nothing about models, and it has no weights to
            export or to begin another training with.
        runs_locally: The tensors are on this machine: `LocalOptions` apply, and time and memory are this machine's.
        checkpoints_on_disk: ``tinker://`` paths name files in the directory that `open_backend` is given. They stay
            until somebody deletes them, and they are gone with that directory. Otherwise a server keeps them, and
            deletes them when their time to live is over.
        charges: Tokens cost money, by `TinkerOptions.prices`, and a run may be limited by `TinkerOptions.max_cost`.
        may_lose_model: A call can fail because the server has lost the model in training, for example by a restart;
            its checkpoints may still be there to go on from.
        batches_sampling: Calls of `SamplingClient.sample` that wait are decoded together, in one batch. What is
            sampled in the same company comes out the same, to the last bit. Otherwise each call is answered alone.
        streams: Its sampling clients implement `StreamingSamplingClient`.
        loggers: Names of the loggers whose warnings the user of a long run should see.
    """

    title: str
    has_weights: bool
    runs_locally: bool
    checkpoints_on_disk: bool
    charges: bool
    may_lose_model: bool
    batches_sampling: bool
    streams: bool
    loggers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Backend:
    """One entry of `BACKENDS`.

    Attributes:
        opener: ``module:function`` that returns the service client; the module is imported when it is called.
        capabilities: What the service client can do.
        preflight: ``module:function`` that refuses options and base models that are not available, without slow
            imports; None if there is nothing to check.
    """

    opener: str
    capabilities: Capabilities
    preflight: str | None = None


BACKENDS: dict[str, Backend] = {
    "local": Backend(
        "backends.local.service:open_local",
        Capabilities(
            title="local backend",
            has_weights=True,
            runs_locally=True,
            checkpoints_on_disk=True,
            charges=False,
            may_lose_model=False,
            batches_sampling=True,
            streams=True,
        ),
        preflight="backends.local.preflight:check_local",
    ),
    "tinker": Backend(
        "backends.tinker.opening:open_remote",
        Capabilities(
            title="Tinker API",
            has_weights=True,
            runs_locally=False,
            checkpoints_on_disk=False,
            charges=True,
            may_lose_model=True,
            batches_sampling=False,
            streams=False,
            # The SDK warns of queues that pause and of connections that are lost.
            loggers=("tinker",),
        ),
        preflight="backends.tinker.preflight:check_remote",
    ),
    "fake": Backend(
        "backends.fake:FakeServiceClient",
        Capabilities(
            title="scripted backend",
            has_weights=False,
            runs_locally=False,
            checkpoints_on_disk=True,
            charges=False,
            may_lose_model=False,
            batches_sampling=True,
            streams=True,
        ),
    ),
}


def capabilities_of(recorded: object) -> Capabilities | None:
    """The capabilities of the backend that the record of an earlier run names; None if it does not exist any more."""
    backend = BACKENDS.get(str(recorded))
    return backend.capabilities if backend else None
