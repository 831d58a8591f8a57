"""The local REST client: lists and deletes the checkpoints of this machine, with the methods of `tinker.RestClient`.

Everything is answered at once from the checkpoint directory. What only an account at the hosted service has (projects,
billing, publishing, audit logs) is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Literal, NoReturn, Protocol, TypeVar

from tinker import types

from backends.checkpoint_paths import LONGEST_TTL_SECONDS, SCHEME, CheckpointPath
from backends.interface import BackendError
from backends.local.async_aliases import async_result
from backends.local.checkpoints.store import CheckpointStore, Stored, group_by_run
from backends.local.futures import LocalFuture, run_now
from backends.local.weights.lora import LoraSpec

Scope = Literal["owned", "accessible"]
AuditEvent = Literal["all", "checkpoints", "projects", "teams", "organizations"]
OWNER = "local"


T = TypeVar("T")


class Service(Protocol):
    """The part of the service client that the REST client uses."""

    session_id: str
    store: CheckpointStore

    def get_server_capabilities(self) -> types.GetServerCapabilitiesResponse:
        """The available models."""
        ...

    def copy_weights(
        self, path: str, *, ttl_seconds: int | None = None, weights_access_token: str | None = None
    ) -> LocalFuture[str]:
        """Copy a checkpoint into a new training run."""
        ...


class LocalRestClient:
    """Manages the checkpoints of one directory; created by `LocalServiceClient.create_rest_client`."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._store = service.store

    def get_server_capabilities(self) -> LocalFuture[types.GetServerCapabilitiesResponse]:
        """The models that work without the Hub, and those in memory."""
        return run_now(self._service.get_server_capabilities)

    # Training runs and sessions

    def get_training_run(
        self, training_run_id: types.ModelID, access_scope: Scope = "owned"
    ) -> LocalFuture[types.TrainingRun]:
        """A training run that has checkpoints here (BackendError if there is none)."""

        def find() -> types.TrainingRun:
            checkpoints = self._store.entries(training_run_id)
            if not checkpoints:
                raise BackendError(f"There is no training run {training_run_id} in {self._store.root}.")
            return _training_run(training_run_id, checkpoints)

        return run_now(find)

    def get_training_run_by_tinker_path(
        self, tinker_path: str, access_scope: Scope = "owned"
    ) -> LocalFuture[types.TrainingRun]:
        """The training run of a checkpoint."""
        return self.get_training_run(CheckpointPath.parse(tinker_path).run, access_scope)

    def list_training_runs(
        self, limit: int = 20, offset: int = 0, access_scope: Scope = "owned", project_id: str | None = None
    ) -> LocalFuture[types.TrainingRunsResponse]:
        """The training runs that have checkpoints here, the latest first."""

        def find() -> types.TrainingRunsResponse:
            training_runs = [_training_run(*run) for run in group_by_run(self._store.entries())]
            return types.TrainingRunsResponse(
                training_runs=training_runs[offset : offset + limit],
                cursor=types.Cursor(offset=offset, limit=limit, total_count=len(training_runs)),
            )

        return run_now(find)

    def get_session(self, session_id: str, access_scope: Scope = "owned") -> LocalFuture[types.GetSessionResponse]:
        """The training runs of a session, that is, of one service client."""

        def find() -> types.GetSessionResponse:
            session_runs = [run for run, _ in group_by_run(self._store.entries()) if _session(run) == session_id]
            if not session_runs and session_id != self._service.session_id:
                raise BackendError(f"There is no session {session_id} in {self._store.root}.")
            return types.GetSessionResponse(training_run_ids=session_runs, sampler_ids=[])

        return run_now(find)

    def list_sessions(
        self, limit: int = 20, offset: int = 0, access_scope: Scope = "owned"
    ) -> LocalFuture[types.ListSessionsResponse]:
        """The sessions that have checkpoints here, the latest first."""

        def find() -> types.ListSessionsResponse:
            sessions = list(dict.fromkeys(_session(run) for run, _ in group_by_run(self._store.entries())))
            return types.ListSessionsResponse(sessions=sessions[offset : offset + limit])

        return run_now(find)

    # Checkpoints

    def list_checkpoints(self, training_run_id: types.ModelID) -> LocalFuture[types.CheckpointsListResponse]:
        """A training run's checkpoints, the latest first."""
        return run_now(
            lambda: types.CheckpointsListResponse(
                checkpoints=[stored.describe() for stored in self._store.entries(training_run_id)]
            )
        )

    def list_user_checkpoints(self, limit: int = 100, offset: int = 0) -> LocalFuture[types.CheckpointsListResponse]:
        """All checkpoints, the latest first."""

        def find() -> types.CheckpointsListResponse:
            entries = self._store.entries()
            return types.CheckpointsListResponse(
                checkpoints=[stored.describe() for stored in entries[offset : offset + limit]],
                cursor=types.Cursor(offset=offset, limit=limit, total_count=len(entries)),
            )

        return run_now(find)

    def get_weights_info_by_tinker_path(self, tinker_path: str) -> LocalFuture[types.WeightsInfoResponse]:
        """Base model and adapter of a checkpoint."""

        def find() -> types.WeightsInfoResponse:
            manifest = self._store.get(tinker_path).manifest
            lora = manifest.spec if isinstance(manifest.spec, LoraSpec) else None
            return types.WeightsInfoResponse(
                base_model=manifest.base_model,
                is_lora=lora is not None,
                lora_rank=lora.rank if lora else None,
                train_unembed=lora.train_unembed if lora else None,
                train_mlp=lora.train_mlp if lora else None,
                train_attn=lora.train_attn if lora else None,
            )

        return run_now(find)

    def delete_checkpoint_from_tinker_path(self, tinker_path: str) -> LocalFuture[None]:
        """Delete the checkpoint that the path names."""
        return run_now(self._store.delete, tinker_path)

    def delete_checkpoint(self, training_run_id: types.ModelID, checkpoint_id: str) -> LocalFuture[None]:
        """Delete a training run's checkpoint; its id is ``weights/NAME`` or ``sampler_weights/NAME``."""
        return run_now(self._store.delete, f"{SCHEME}{training_run_id}/{checkpoint_id}")

    def set_checkpoint_ttl_from_tinker_path(self, tinker_path: str, ttl_seconds: int | None) -> LocalFuture[None]:
        """Let a checkpoint expire after `ttl_seconds`, or never (None)."""
        return run_now(self._store.set_ttl, tinker_path, ttl_seconds)

    def copy_weights(
        self,
        path: str,
        destination_project_id: str | None = None,
        *,
        ttl_seconds: int | None = None,
        weights_access_token: str | None = None,
    ) -> LocalFuture[str]:
        """Copy a checkpoint into a new training run; returns its path. There are no projects here."""
        if destination_project_id is not None:
            _refuse("copy_weights(destination_project_id=…)", "there are no projects on this machine")
        return self._service.copy_weights(path, ttl_seconds=ttl_seconds, weights_access_token=weights_access_token)

    def get_external_weights_urls(self, tinker_path: str) -> LocalFuture[types.ExternalWeightsUrlsResponse]:
        """``file://`` addresses of the files that `save_weights_external` wrote.

        Raises:
            ValueError: The path is of another kind of checkpoint.
        """
        if CheckpointPath.parse(tinker_path).kind != "external":
            raise ValueError(f"{tinker_path!r} is not a tinker://RUN/external_weights/NAME.")

        def find() -> types.ExternalWeightsUrlsResponse:
            stored = self._store.get(tinker_path)
            return types.ExternalWeightsUrlsResponse(
                urls={file.name: file.resolve().as_uri() for file in sorted(stored.directory.iterdir())},
                expires=stored.expires_at or datetime.now(UTC) + timedelta(seconds=LONGEST_TTL_SECONDS),
            )

        return run_now(find)

    def get_current_checkpoint_storage_usage(
        self, project_id: str | None = None
    ) -> LocalFuture[types.CurrentCheckpointStorageUsageResponse]:
        """Bytes on this machine's disk, at no cost."""

        def find() -> types.CurrentCheckpointStorageUsageResponse:
            sizes = [stored.describe().size_bytes or 0 for stored in self._store.entries()]
            usage = types.CurrentCheckpointStorageUsageItem(
                user_name=OWNER, checkpoint_count=len(sizes), size_bytes=sum(sizes), size_gigabytes=sum(sizes) / 1e9
            )
            return types.CurrentCheckpointStorageUsageResponse(data=[usage])

        return run_now(find)

    # What only the hosted service has

    def publish_checkpoint_from_tinker_path(self, tinker_path: str) -> LocalFuture[None]:
        """Refused: publishing is the hosted service's."""
        return _refused("publish_checkpoint_from_tinker_path", "there is nobody to publish to; share its directory")

    def unpublish_checkpoint_from_tinker_path(self, tinker_path: str) -> LocalFuture[None]:
        """Refused: publishing is the hosted service's."""
        return _refused("unpublish_checkpoint_from_tinker_path", "nothing here is published")

    def assign_session_project(self, session_id: str, project_id: str) -> LocalFuture[None]:
        """Refused: projects are the hosted service's."""
        return _refused("assign_session_project", "there are no projects on this machine")

    def export_session_trace(self, session_id: str) -> LocalFuture[str]:
        """Refused: traces are the hosted service's."""
        return _refused("export_session_trace", "no trace is recorded; use torch.profiler")

    def get_sampler(self, sampler_id: str) -> LocalFuture[types.GetSamplerResponse]:
        """Refused: local sampling clients live in their process, without an id."""
        return _refused("get_sampler", "local sampling clients have no id; ask the client itself")

    def search_sessions(self, request: types.SessionSearchRequest) -> LocalFuture[types.SessionSearchResponse]:
        """Refused: sessions have no names here."""
        return _refused("search_sessions", "sessions have no names here; use list_sessions")

    def whoami(self) -> LocalFuture[types.WhoamiResponse]:
        """Refused: there is no account."""
        return _refused("whoami", "there is no account on this machine")

    def get_audit_log(
        self, event_type: AuditEvent = "all", day: date | None = None
    ) -> LocalFuture[types.AuditLogResponse]:
        """Refused: audit logs are the hosted service's."""
        return _refused("get_audit_log", "there is no account on this machine")

    def get_billing_usage(
        self, starting_on: datetime | str, ending_before: datetime | str
    ) -> LocalFuture[types.BillingUsageResponse]:
        """Refused: there is nothing to bill."""
        return _refused("get_billing_usage", "nothing is billed on this machine")

    def get_telemetry(self) -> None:
        """None: nothing is reported to anybody."""
        return None

    get_training_run_async = async_result(get_training_run)
    get_training_run_by_tinker_path_async = async_result(get_training_run_by_tinker_path)
    list_training_runs_async = async_result(list_training_runs)
    get_session_async = async_result(get_session)
    list_sessions_async = async_result(list_sessions)
    list_checkpoints_async = async_result(list_checkpoints)
    list_user_checkpoints_async = async_result(list_user_checkpoints)
    delete_checkpoint_async = async_result(delete_checkpoint)
    delete_checkpoint_from_tinker_path_async = async_result(delete_checkpoint_from_tinker_path)
    set_checkpoint_ttl_from_tinker_path_async = async_result(set_checkpoint_ttl_from_tinker_path)
    copy_weights_async = async_result(copy_weights)
    get_external_weights_urls_async = async_result(get_external_weights_urls)
    get_current_checkpoint_storage_usage_async = async_result(get_current_checkpoint_storage_usage)
    publish_checkpoint_from_tinker_path_async = async_result(publish_checkpoint_from_tinker_path)
    unpublish_checkpoint_from_tinker_path_async = async_result(unpublish_checkpoint_from_tinker_path)
    assign_session_project_async = async_result(assign_session_project)
    export_session_trace_async = async_result(export_session_trace)
    get_sampler_async = async_result(get_sampler)
    search_sessions_async = async_result(search_sessions)
    get_audit_log_async = async_result(get_audit_log)
    get_billing_usage_async = async_result(get_billing_usage)


def _session(run: str) -> str:
    return run.partition(":")[0]


def _training_run(run: str, checkpoints: list[Stored]) -> types.TrainingRun:
    """A training run by its checkpoints, the latest first."""
    latest, manifest = checkpoints[0], checkpoints[0].manifest

    def latest_of(kind: str) -> types.Checkpoint | None:
        return next((stored.describe() for stored in checkpoints if stored.kind == kind), None)

    return types.TrainingRun(
        training_run_id=run,
        base_model=manifest.base_model,
        model_owner=OWNER,
        is_lora=manifest.spec.method == "lora",
        lora_rank=manifest.spec.rank,
        last_request_time=latest.time,
        last_checkpoint=latest_of("training"),
        last_sampler_checkpoint=latest_of("sampler"),
        user_metadata=manifest.listing.run_metadata,
    )


def _refuse(what: str, why: str) -> NoReturn:
    raise BackendError(f"{what} is not available on the local backend: {why}.")


def _refused(what: str, why: str) -> LocalFuture[T]:
    refusal: Callable[[str, str], T] = _refuse
    return run_now(refusal, what, why)
