"""Clients as an older SDK has them, whose calls are waited for, and what stands around them here."""

from __future__ import annotations

import pickle
from concurrent import futures
from types import SimpleNamespace
from typing import Any

import pytest
from tinker.lib.public_interfaces.api_future import APIFuture, AwaitableConcurrentFuture

from backends.tinker import client_futures


class OwnFuture(APIFuture[str]):
    """The SDK's own, which has no `future()` there."""

    async def result_async(self, timeout: float | None = None) -> str:
        return "awaited"

    def result(self, timeout: float | None = None) -> str:
        raise AssertionError("waited for on the caller's thread")

    def future(self) -> Any:
        raise AttributeError


class Older:
    """A client whose calls return a client, three kinds of future, a plain value, or raise."""

    name = "older"
    holder = SimpleNamespace(run_coroutine_threadsafe=lambda awaited: AwaitableConcurrentFuture(_run(awaited)))

    def create(self) -> Older:
        return Older()

    def sample(self, answer: str) -> futures.Future[str]:
        done: futures.Future[str] = futures.Future()
        done.set_result(answer)
        return done

    def save(self) -> AwaitableConcurrentFuture[str]:
        return AwaitableConcurrentFuture(self.sample("saved"))

    def train(self) -> OwnFuture:
        return OwnFuture()

    def fail(self) -> Any:
        raise ValueError("no such model")

    def again(self) -> Any:
        """A call that makes use of another one, as it is in the SDK."""
        return self.create().name


def _run(awaited: Any) -> futures.Future[Any]:
    done: futures.Future[Any] = futures.Future()
    try:
        awaited.send(None)
    except StopIteration as end:
        done.set_result(end.value)
    return done


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(client_futures, "SDK_RETURNS_FUTURES", False)
    monkeypatch.setattr(client_futures, "FUTURE_METHODS", {Older: ("create", "sample", "save", "train", "fail")})
    return client_futures.give_futures(Older())


def test_every_call_returns_a_future_of_what_it_returned(client: Any) -> None:
    for call, expected in (
        (lambda: client.sample("x"), "x"),
        (client.save, "saved"),
        (client.train, "awaited"),
        (lambda: client.create().result().sample("y"), "y"),
    ):
        coming = call()
        assert coming.result(1) == coming.future().result(1) == expected


def test_what_a_call_raises_is_the_futures(client: Any) -> None:
    coming = client.fail()
    with pytest.raises(ValueError, match="no such model"):
        coming.result()


def test_all_else_is_the_clients_own(client: Any) -> None:
    assert client.name == "older" and client.again() == "older"
    assert pickle.loads(pickle.dumps(client)).sample("z").result() == "z"


def test_a_newer_sdk_is_left_alone() -> None:
    older = Older()
    assert client_futures.SDK_RETURNS_FUTURES is hasattr(APIFuture, "coroutine")
    if client_futures.SDK_RETURNS_FUTURES:
        assert client_futures.give_futures(older) is older
