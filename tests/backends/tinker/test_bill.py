"""Money: a limit by the published list, the sessions of a run, and the service's bill beside its own count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backends.billing import Bill
from backends.interface import BackendError
from backends.planning.prices import fetch_list
from backends.tinker.bill import read_bill
from tests.support.hosted_service import HostedService, event, serving
from tests.support.running import KEY, Running
from tests.support.tiny_runs import judge_by_words, read_jsonl, tiny_config
from text2sql.commands.bill import print_bill
from text2sql.config import Config, dump_config
from text2sql.errors import UserError
from text2sql.pipeline.preflight import check_run
from text2sql.pipeline.run import run_pipeline
from text2sql.runs.budget import BudgetReached
from text2sql.runs.directory import RunDirectory
from text2sql.runs.records import SESSIONS, USAGE, Session, Usage

BEGIN = datetime(2026, 11, 1, 10, 40, tzinfo=UTC)
HOUR = "2026-11-01T10:00:00Z"
# As the service's list over loopback has it.
TRAIN = 3000


@pytest.fixture
def hosted() -> Iterator[HostedService]:
    fetch_list.cache_clear()
    with serving() as service:
        yield service
    fetch_list.cache_clear()


def bill(hosted: HostedService, *sessions: str, hours: int = 1) -> Bill:
    return read_bill(hosted.url, KEY, sessions, BEGIN, BEGIN + timedelta(hours=hours))


def test_the_bill_is_that_of_the_sessions_alone(hosted: HostedService) -> None:
    hosted.events = [
        event("a", HOUR, "training", 0.5, token_count=100),
        event("a", HOUR, "sampling_prefill", 0.25, token_count=30, cached=False),
        event("b", HOUR, "sampling_prefill", 0.125, token_count=20, cached=True),
        event("b", HOUR, "sampling_sample", None, token_count=7),
        event("b", HOUR, "checkpoint", None, count=3),
        event("c", HOUR, "training", 9.0, token_count=999),
        event(None, HOUR, "storage", 9.0, gigabyte_hours=4.0),
    ]
    found = bill(hosted, "a", "b")
    assert found == Bill(train=100, prefill=50, cached=20, sample=7, checkpoints=3, dollars=0.875, unpriced=7)
    assert bill(hosted, "d") == Bill()


def test_a_long_run_is_asked_for_in_windows_that_meet(hosted: HostedService) -> None:
    late = "2026-11-30T09:00:00Z"
    hosted.events = [event("a", HOUR, "training", 1.0, token_count=1), event("a", late, "training", 1.0, token_count=1)]
    assert bill(hosted, "a", hours=24 * 30).train == 2
    asked = [query for path, query in hosted.asked if path.endswith("/events")]
    assert [query["starting_on"][:13] for query in asked] == ["2026-11-01T10", "2026-11-15T10", "2026-11-29T10"]
    assert [query["ending_before"] for query in asked[:-1]] == [query["starting_on"] for query in asked[1:]]
    assert all(query["starting_on"][14:] == "00:00Z" for query in asked)


@pytest.mark.parametrize(("status", "reason"), [(404, "keeps no bills"), (403, "does not show its bills")])
def test_a_service_without_bills_says_so(hosted: HostedService, status: int, reason: str) -> None:
    hosted.status = status
    with pytest.raises(BackendError, match=reason):
        bill(hosted, "a")


def test_the_command_puts_both_counts_side_by_side(
    hosted: HostedService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(tmp_path, backend="tinker", tinker={"base_url": hosted.url, "price_list": hosted.price_list})
    config = config.model_copy(update={"base_model": "tiny"})
    run = RunDirectory(config.directory)
    run.path.mkdir()
    run.write("config.yaml", dump_config(config))
    with pytest.raises(UserError, match="does not say under which session"):
        print_bill(run.path)
    now = datetime.now(UTC)
    run.append(SESSIONS, [Session(id="mine", opened=now.isoformat())])
    run.append(USAGE, [Usage(stage="train", train=1_000_000, prefill=20, sample=30)])
    print_bill(run.path)
    assert "billed nothing for this run yet" in " ".join(capsys.readouterr().out.split())
    hour = f"{now:%Y-%m-%dT%H}:00:00Z"
    hosted.events = [
        event("mine", hour, "training", 2999.0, token_count=999_000),
        event("mine", hour, "sampling_sample", None, token_count=31),
    ]
    print_bill(run.path)
    out = " ".join(capsys.readouterr().out.split())
    assert "1,000,000" in out and "999,000" in out and "$2,999.00" in out and "$3,000.08" in out
    assert "no price yet for 31" in out and hosted.price_list in out


def test_what_costs_nothing_has_no_bill(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    RunDirectory(config.directory).path.mkdir()
    RunDirectory(config.directory).write("config.yaml", dump_config(config))
    with pytest.raises(UserError, match="charges nothing"):
        print_bill(config.directory)


def test_a_limit_holds_by_the_published_list(
    hosted: HostedService,
    remote_config: Callable[..., Config],
    server: Running,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Through the real SDK, on our server: the run stops before it would have spent more at the listed prices."""
    judge_by_words(monkeypatch)
    monkeypatch.setattr("text2sql.report.page.write_report", lambda path: path / "report.html")
    sections = {"evaluation": {"baseline": False}}
    listed = {"prices": None, "price_list": hosted.price_list}
    with pytest.raises(BudgetReached):
        run_pipeline(remote_config(tinker={**listed, "max_cost": TRAIN * 8e-4}, **sections))
    run = RunDirectory(remote_config().directory)
    spent = sum(row.train for row in run.usage())
    assert 0 < spent * TRAIN / 1e6 <= TRAIN * 8e-4
    run_pipeline(remote_config(tinker={**listed, "max_cost": 1e6}, on_existing="resume", **sections))
    summary = run.summary()
    assert summary and summary.cost.prices and hosted.price_list in str(summary.cost.prices.source)
    usage, prices = summary.cost.usage, summary.cost.prices
    # What this server had read before is charged at the price for it.
    assert prices.cached_prefill == 200.1
    counted = usage.train * TRAIN + (usage.prefill - (usage.cached or 0)) * 1000.5 + (usage.cached or 0) * 200.1
    assert summary.cost.dollars == pytest.approx((counted + usage.sample * 2000) / 1e6)
    first, second = (row["id"] for row in read_jsonl(run.path / SESSIONS))
    assert first != second and {first, second} <= {session["id"] for session in _sessions(server)}
    with pytest.raises(BackendError, match="keeps no bills"):
        print_bill(run.path)


def _sessions(server: Running) -> list[dict[str, str]]:
    import httpx

    answer = httpx.get(f"{server.url}/api/v1/sessions", headers={"X-API-Key": KEY}, params={"limit": 100})
    return [{"id": session} for session in answer.json()["sessions"]]


def test_a_limit_without_a_price_is_refused_before_data_are_read(
    hosted: HostedService, remote_config: Callable[..., Config]
) -> None:
    hosted.models = [{**hosted.models[0], "train": None}]
    config = remote_config(
        tinker={"prices": None, "price_list": hosted.price_list, "max_cost": 1.0}, data={"source": "nowhere"}
    )
    with pytest.raises(UserError, match=r'tinker\.max_cost: no price of "tiny" is known. Set tinker\.prices\.train'):
        check_run(config, ["train"])
