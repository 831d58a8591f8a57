"""Which samplers there are, whose they are, and what each samples from."""

from __future__ import annotations

from backends.server.checkpoint_registry import Checkpoints
from backends.server.database import Database
from backends.server.errors import ApiError
from backends.server.tables import Sampler, TrainingRun


class Samplers:
    """The samplers in the database.

    Args:
        database: Where they are recorded.
        checkpoints: What they sample from.
        snapshots_per_session: How many unnamed snapshots of one session are kept.
    """

    def __init__(self, database: Database, checkpoints: Checkpoints, snapshots_per_session: int) -> None:
        self._database = database
        self._checkpoints = checkpoints
        self._snapshots_per_session = snapshots_per_session

    def add(
        self,
        owner: str,
        session: str,
        seq_id: int,
        *,
        base_model: str,
        path: str | None,
        snapshot: bool = False,
        inflight_of: str | None = None,
    ) -> str:
        """Record a sampler of a session, once however often it is asked for; returns its id.

        Args:
            owner: Whose.
            session: Id of the session.
            seq_id: Number of the sampler in the session.
            base_model: Name of a served base model.
            path: The checkpoint that it samples from; None for the bare model.
            snapshot: Whether that is an unnamed snapshot.
            inflight_of: The model whose newest snapshot it follows.
        """
        sampler = Sampler(
            id=f"{session}:sample:{seq_id}",
            session=session,
            owner=owner,
            base_model=base_model,
            path=path,
            snapshot=snapshot,
            inflight_of=inflight_of,
        )
        self._database.insert(sampler)
        return sampler.id

    def add_snapshot(self, run: TrainingRun, base_model: str, seq_id: int, path: str, kind: str) -> str:
        """Record a sampler of a snapshot of a model that has just been saved; returns its id.

        The samplers of kind "inflight" of one model all move on to the newest snapshot.
        """
        inflight = kind == "inflight"
        if inflight:
            self._database.execute("UPDATE samplers SET path = ? WHERE inflight_of = ?", path, run.id)
        sampler = self.add(
            run.owner,
            run.session,
            seq_id,
            base_model=base_model,
            path=path,
            snapshot=True,
            inflight_of=run.id if inflight else None,
        )
        self._checkpoints.delete_snapshots(run.session, keep=self._snapshots_per_session)
        return sampler

    def find(self, owner: str, sampler_id: str) -> Sampler:
        """A sampler (ApiError with 404 if there is none)."""
        sampler = self._database.find(Sampler, "id = ? AND owner = ?", sampler_id, owner)
        if sampler is None:
            raise ApiError(404, f"There is no sampler {sampler_id}.")
        return sampler

    def join(self, owner: str, sampler_id: str) -> int:
        """Count one more client of a sampler; returns its number (ApiError with 404 if there is no such sampler)."""
        self.find(owner, sampler_id)
        self._database.execute("UPDATE samplers SET clones = clones + 1 WHERE id = ?", sampler_id)
        return self.find(owner, sampler_id).clones

    def weights_of(self, owner: str, sampler_id: str) -> tuple[str, str | None]:
        """Base model and checkpoint of a sampler, as they are now (ValueError if the checkpoint was deleted)."""
        sampler = self.find(owner, sampler_id)
        if sampler.path is not None:
            self._checkpoints.readable(sampler.path, owner)
        return sampler.base_model, sampler.path
