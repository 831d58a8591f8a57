"""Makes every call of the SDK's clients return a future, also in versions where calls block, such as 0.36.

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

# Whether the installed SDK returns futures itself.
SDK_RETURNS_FUTURES = hasattr(APIFuture, "coroutine")
# The methods of the interface that return a future.
FUTURE_METHODS: dict[type, tuple[str, ...]] = {
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
    """The client itself; with an older SDK, a wrapper whose methods, and those of its clients, return futures."""
    return client if SDK_RETURNS_FUTURES else cast(Client, _FutureClient(client))


class _FutureClient:
    """Wraps a client; calls inside of the SDK are not affected."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._methods = next(methods for kind, methods in FUTURE_METHODS.items() if isinstance(client, kind))

    def __reduce__(self) -> tuple[Any, ...]:
        return _FutureClient, (self._client,)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        return _as_future_method(self._client, attribute) if name in self._methods else attribute


def _as_future_method(client: Any, call: Callable[..., Any]) -> Callable[..., APIFuture[Any]]:
    @functools.wraps(call)
    def wrapper(*args: Any, **kwargs: Any) -> APIFuture[Any]:
        done: futures.Future[Any] = futures.Future()
        try:
            returned = call(*args, **kwargs)
        except Exception as error:
            # A blocking call of the SDK failed: the future raises it.
            done.set_exception(error)
            return AwaitableConcurrentFuture(done)
        if isinstance(returned, futures.Future):
            return AwaitableConcurrentFuture(returned)
        if isinstance(returned, AwaitableConcurrentFuture):
            return returned
        if isinstance(returned, APIFuture):
            # The only future of the SDK without a `future()` method.
            waiting: APIFuture[Any] = client.holder.run_coroutine_threadsafe(returned.result_async())
            return waiting
        done.set_result(_FutureClient(returned) if isinstance(returned, tuple(FUTURE_METHODS)) else returned)
        return AwaitableConcurrentFuture(done)

    return wrapper
