"""The SDK's deprecated ``*_async`` methods, made from the methods that they are twins of."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from tinker import APIFuture

P = ParamSpec("P")
T = TypeVar("T")


def submitted(method: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    """A coroutine function that gives what the method returns: for most verbs a future, which is awaited in turn."""

    @functools.wraps(method)
    async def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        return method(*args, **kwargs)

    return twin


def awaited(method: Callable[P, APIFuture[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """A coroutine function that waits for the future which the method returns."""

    @functools.wraps(method)
    async def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        return await method(*args, **kwargs)

    return twin
