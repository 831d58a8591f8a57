"""A future from every call, also with an SDK whose calls wait, or return another kind of future, as 0.36 does.

The interface's `Future` is what the SDK returns since 0.38.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent import futures
from typing import Any, TypeVar, cast

import tinker
from tinker.lib.public_interfaces.api_future import APIFuture, AwaitableConcurrentFuture

Client = TypeVar("Client", tinker.ServiceClient, tinker.TrainingClient, tinker.SamplingClient, tinker.RestClient)

# Whether the installed SDK does so by itself.
GIVEN = hasattr(APIFuture, "coroutine")
# The calls of the interface that return a future.
CALLS: dict[type, tuple[str, ...]] = {
    tinker.ServiceClient: (
        "create_lora_training_client",
        "create_training_client_from_state",
        "create_training_client_from_state_with_optimizer",
        "create_sampling_client",
    ),
    tinker.TrainingClient: (
        "forward",
        "forward_backward",
        "forward_backward_custom",
        "optim_step",
        "save_state",
        "save_weights_for_sampler",
        "save_weights_external",
        "save_weights_and_get_sampling_client",
    ),
    tinker.SamplingClient: ("sample", "compute_logprobs"),
    tinker.RestClient: (
        "list_checkpoints",
        "get_weights_info_by_tinker_path",
        "delete_checkpoint_from_tinker_path",
        "get_external_weights_urls",
    ),
}


def give_futures(client: Client) -> Client:
    """The same client; with an older SDK one around it, whose calls, and those of clients it makes, return futures."""
    return client if GIVEN else cast(Client, _WithFutures(client))


class _WithFutures:
    """Stands around a client: what the SDK calls of its own, it finds as it was."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._calls = next(calls for kind, calls in CALLS.items() if isinstance(client, kind))

    def __reduce__(self) -> tuple[Any, ...]:
        return _WithFutures, (self._client,)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return _returning_future(self._client, found) if name in self._calls else found


def _returning_future(client: Any, call: Callable[..., Any]) -> Callable[..., APIFuture[Any]]:
    @functools.wraps(call)
    def returning(*args: Any, **kwargs: Any) -> APIFuture[Any]:
        done: futures.Future[Any] = futures.Future()
        try:
            returned = call(*args, **kwargs)
        except Exception as error:
            # The SDK waited for the client itself; whoever asks for the result learns why there is none.
            done.set_exception(error)
            return AwaitableConcurrentFuture(done)
        if isinstance(returned, futures.Future):
            return AwaitableConcurrentFuture(returned)
        if isinstance(returned, AwaitableConcurrentFuture):
            return returned
        if isinstance(returned, APIFuture):
            # Of the SDK's own kinds this one alone has no `future()`.
            waiting: APIFuture[Any] = client.holder.run_coroutine_threadsafe(returned.result_async())
            return waiting
        done.set_result(_WithFutures(returned) if isinstance(returned, tuple(CALLS)) else returned)
        return AwaitableConcurrentFuture(done)

    return returning
