"""The session of a run: its configuration, directory, budget and open backend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from backends import open_backend
from backends.billing import BillingService
from backends.interface import BackendError, ServiceClient, Status
from text2sql.config import Config
from text2sql.console import show_warnings
from text2sql.runs.budget import TokenBudget
from text2sql.runs.directory import RunDirectory
from text2sql.runs.records import SESSIONS, Session

# How long a server has to acknowledge that a session is closed.
CLOSE_SECONDS = 10.0
# HTTP statuses below 500 of transient failures: time-out, conflict, a model that went with a restart, rate limit.
TRANSIENT_STATUSES = (408, 409, 410, 429)


class TransientBackendError(BackendError):
    """A backend failed in a way that may be transient: the same command can be run again, and goes on."""


@dataclass(frozen=True)
class RunSession:
    """What all work for a run is done with.

    Attributes:
        config: The run's resolved configuration.
        run: The run's directory, locked.
        service: The open backend.
        budget: Counts the run's tokens and knows what may be spent.
    """

    config: Config
    run: RunDirectory
    service: ServiceClient
    budget: TokenBudget


def pin_matmul_dtype(config: Config, run: RunDirectory) -> Config:
    """The configuration with `local.matmul: auto` replaced by the dtype that the run began with.

    A run that goes on, or is asked, on another machine then computes as it did before.
    """
    recorded = run.environment()
    if config.local.matmul != "auto" or recorded is None or recorded.matmul is None:
        return config
    local = config.local.model_validate({**config.local.model_dump(), "matmul": recorded.matmul})
    return config.model_copy(update={"local": local})


@contextmanager
def open_service(config: Config, checkpoints: Path | None = None) -> Iterator[ServiceClient]:
    """The configured backend, closed at the end; the model is checked to be offered first.

    Raises:
        BackendError: It cannot be opened, or it failed in the middle of the work; `TransientBackendError` if the
            failure may be transient.
    """
    for logger in config.capabilities.loggers:
        show_warnings(logger)
    service = open_backend(config.backend, config.backend_options, checkpoints=checkpoints)
    # Not before, since the SDK takes seconds to load, and a backend may be refused without it.
    import tinker
    from tinker.lib.retryable_exception import RetryableException

    try:
        service.check_model(config.trained_model)
        yield service
    except (tinker.TinkerError, RetryableException) as error:
        close_service(service, "errored")
        kind = TransientBackendError if _is_transient(error) else BackendError
        raise kind(f"backend: {config.backend} failed ({type(error).__name__}: {error}).") from error
    except BaseException as error:
        close_service(service, "interrupted" if isinstance(error, KeyboardInterrupt) else "errored")
        raise
    close_service(service, "success")


def record_session(run: RunDirectory, config: Config, service: ServiceClient) -> None:
    """Record under which session a service that charges counts the tokens of a run, for `text2sql bill`."""
    if config.capabilities.charges:
        opened = datetime.now(UTC).isoformat(timespec="seconds")
        run.append(SESSIONS, [Session(id=cast(BillingService, service).session_id, opened=opened)])


def close_service(service: ServiceClient, status: Status) -> None:
    """Close the session, waiting at most `CLOSE_SECONDS` for a server to acknowledge."""
    import tinker

    closing = service.close(status)
    if closing is not None:
        try:
            with suppress(tinker.TinkerError, TimeoutError):
                closing.result(CLOSE_SECONDS)
        finally:
            # Otherwise the SDK goes on for five minutes with heartbeats and retries to a server that is away.
            closing.future().cancel()


def _is_transient(error: Exception) -> bool:
    """Whether the same call may succeed later; a request that is wrong stays wrong."""
    import tinker
    from tinker.types import RequestErrorCategory

    if isinstance(error, tinker.RequestFailedError):
        return error.category != RequestErrorCategory.User
    status = getattr(error, "status_code", None)
    return status is None or status in TRANSIENT_STATUSES or status >= 500


def is_model_lost(error: Exception) -> bool:
    """Whether a call failed because the server lost the model in training, for example by a restart.

    Its checkpoints may still be there.
    """
    import tinker
    from tinker.lib.retryable_exception import RetryableException
    from tinker.types import RequestErrorCategory

    if isinstance(error, tinker.RequestFailedError):
        return error.category == RequestErrorCategory.Server
    return isinstance(error, RetryableException) or getattr(error, "status_code", None) == 410


def context_length(service: ServiceClient, model: str) -> int | None:
    """The longest sequence, in tokens, that a model takes; None where the backend does not say."""
    offered = service.get_server_capabilities().supported_models
    return next((m.max_context_length for m in offered if m.model_name == model), None)
