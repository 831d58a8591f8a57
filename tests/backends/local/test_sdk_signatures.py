"""The local clients have the public methods of the installed SDK's, with the same parameters: drift fails here."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import tinker

from backends.local.rest import LocalRestClient
from backends.local.sampling import LocalSamplingClient
from backends.local.service import LocalServiceClient
from backends.local.training import LocalTrainingClient
from backends.tinker.client_futures import SDK_RETURNS_FUTURES

CLIENTS = [
    (tinker.ServiceClient, LocalServiceClient),
    (tinker.TrainingClient, LocalTrainingClient),
    (tinker.SamplingClient, LocalSamplingClient),
    (tinker.RestClient, LocalRestClient),
]

ABSENT = {
    "ServiceClient.holder": "the SDK's own connection, deprecated there",
    "SamplingClient.create": "takes the SDK's own connection; ServiceClient.create_sampling_client is the way",
    "SamplingClient.from_sampler_handle": "handles name samplers of a server; get_sampler_handle refuses and says so",
    "SamplingClient.on_queue_state_change": "called by the SDK's own request queue",
}
DIFFERENT = {"ServiceClient.close": "the status may be left out, since nobody but the caller reads it"}


def public(client: type) -> dict[str, Any]:
    return {name: member for name, member in inspect.getmembers(client) if not name.startswith("_")}


def parameters(method: Any) -> list[tuple[str, Any, Any]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]


def cases() -> list[Any]:
    return [
        pytest.param(member, getattr(ours, name, None), f"{theirs.__name__}.{name}", id=f"{theirs.__name__}.{name}")
        for theirs, ours in CLIENTS
        for name, member in public(theirs).items()
    ]


@pytest.mark.parametrize(("theirs", "ours", "name"), cases())
def test_signature_is_the_sdks(theirs: Any, ours: Any, name: str) -> None:
    if name in ABSENT:
        assert ours is None, f"{name} is there after all: take it off the list"
        return
    assert ours is not None, f"{name} is missing"
    # What a later SDK added at the end, an older one lacks.
    expected = parameters(theirs)
    same = (parameters(ours) if SDK_RETURNS_FUTURES else parameters(ours)[: len(expected)]) == expected
    assert same != (name in DIFFERENT), f"{name}: {inspect.signature(ours)}, the SDK has {inspect.signature(theirs)}"
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(inspect.unwrap(theirs))


def test_every_exception_is_still_needed() -> None:
    names = {f"{theirs.__name__}.{name}" for theirs, _ in CLIENTS for name in public(theirs)}
    assert {*ABSENT, *DIFFERENT} <= names
