"""Makes the SDK's deprecated ``*_async`` methods from the methods that they are aliases of."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from tinker import APIFuture

P = ParamSpec("P")
T = TypeVar("T")


def async_return(method: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """A coroutine function that returns what the method returns: for most methods a future, to be awaited itself."""

    @functools.wraps(method)
    async def alias(*args: P.args, **kwargs: P.kwargs) -> T:
        return method(*args, **kwargs)

    return alias


def async_result(method: Callable[P, APIFuture[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """A coroutine function that returns the result of the future which the method returns."""

    @functools.wraps(method)
    async def alias(*args: P.args, **kwargs: P.kwargs) -> T:
        return await method(*args, **kwargs)

    return alias
