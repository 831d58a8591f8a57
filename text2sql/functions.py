"""Functions that a configuration names by their path."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def find_function(path: str) -> Callable[..., Any]:
    """The function of a path ``package.module:function``.

    Raises:
        ImportError: There is no such module.
        AttributeError: It has no such function.
        TypeError: What it has is no function.
    """
    module, _, name = path.partition(":")
    found = getattr(import_module(module), name)
    if not callable(found):
        raise TypeError(f"{name} is no function")
    return found
