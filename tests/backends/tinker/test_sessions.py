"""Whatever becomes of a piece of work, its session does not outlive it: neither on the server nor in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from backends.server.tables import Session
from tests.support.running import Running
from text2sql.commands.ask import answer_question
from text2sql.config import Config
from text2sql.errors import UserError
from text2sql.pipeline.adapter_download import download_path, download_run
from text2sql.pipeline.run import run_pipeline
from text2sql.runs import session
from text2sql.runs.directory import RunDirectory
from text2sql.runs.session import open_service
from text2sql.training.metrics_log import MetricsLog

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def ends(server: Running) -> Callable[[], list[str | None]]:
    """How the sessions ended that were opened since the last call; None of one that is open."""
    seen = {session.id for session in server.state.database.select(Session, "TRUE")}

    def since() -> list[str | None]:
        sessions = server.state.database.select(Session, "TRUE ORDER BY created")
        new = [session.finished for session in sessions if session.id not in seen]
        seen.update(session.id for session in sessions)
        return new

    return since


def _weights(adapter: Path) -> bytes:
    return (adapter / "adapter_model.safetensors").read_bytes()


def test_a_run_a_download_and_a_question(
    remote_config: Callable[..., Config],
    ends: Callable[[], list[str | None]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = remote_config(evaluation={"baseline": False})
    run = run_pipeline(config)
    # The run, and its download.
    assert set(ends()) == {"success"}
    (run / "adapter").rename(run / "elsewhere")
    download_run(run)
    (checkpoint,) = RunDirectory(run).checkpoints()[-1:]
    for kind, path in (("state", checkpoint.state_path), ("sampler", checkpoint.sampler_path)):
        monkeypatch.setenv("TINKER_BASE_URL", str(config.tinker.base_url))
        download_path(path, tmp_path / kind)
        assert _weights(tmp_path / kind) == _weights(run / "adapter")
    with pytest.raises(UserError, match="exists already"):
        download_path(checkpoint.state_path, tmp_path / "state")
    for base in (False, True):
        try:
            answer_question("How many?", "CREATE TABLE t (a INTEGER)", None, run, base=base, execute=False)
        except UserError as silent:
            # So small a model may write no query.
            assert "The model wrote no" in str(silent)
    assert set(ends()) == {"success"}


@pytest.mark.parametrize("way", ["errored", "interrupted"])
def test_a_run_that_is_broken_off(
    remote_config: Callable[..., Config],
    ends: Callable[[], list[str | None]],
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    error = KeyboardInterrupt if way == "interrupted" else RuntimeError

    def stop(self: MetricsLog, row: object) -> None:
        raise error

    monkeypatch.setattr(MetricsLog, "record", stop)
    with pytest.raises(error):
        run_pipeline(remote_config(evaluation={"baseline": False}))
    assert ends() == [way]


def test_a_server_that_is_gone_is_not_waited_for(
    remote_config: Callable[..., Config], start_server: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No heartbeat is left: `no_session_stays_open` looks."""
    monkeypatch.setattr(session, "CLOSE_SECONDS", 0.2)
    leaving = start_server()
    with open_service(remote_config(tinker={"base_url": leaving.url})) as service:
        service.create_sampling_client(base_model="tiny").result()
        leaving.stop()
