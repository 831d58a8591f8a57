"""Routes that the program which starts the server adds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class JsonService:
    """A function from JSON to JSON behind a route, for users with a key, on a thread of the server's process.

    Attributes:
        path: Of the route, which is a POST.
        answer: From a request's body to what its answer holds; it ends soon once the event is set, with whatever.
            ValueError is answered with 400 and its sentence.
        waiting: Requests that may wait while one is carried out; one more gets 429.
    """

    path: str
    answer: Callable[[bytes, threading.Event], Any]
    waiting: int
