"""The messages between a parent and its worker processes: tasks and answers, frozen dataclasses written as JSON.

JSON, because a worker runs what a model wrote: what it answers is data, and nothing in it can be run by the parent.
The types are those that the worker's function declares.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
else:
    # What type checkers call an instance of any dataclass.
    DataclassInstance = Any

T = TypeVar("T", bound=DataclassInstance)
A = TypeVar("A", bound=DataclassInstance)
# What a worker does with a task: a function at the top level of a module, because the worker imports it.
Work = Callable[[T], A]


def work_name(work: Callable[..., Any]) -> str:
    """The function's path, ``module:function``, by which a worker finds it."""
    return f"{work.__module__}:{work.__qualname__}"


@dataclasses.dataclass(frozen=True)
class TaskCodec(Generic[T, A]):
    """Reads the messages of one worker function from JSON.

    Their fields hold what JSON can write; a list comes back as a tuple.

    Attributes:
        task: The type of the function's task.
        answer: The type of its answer.
    """

    task: type[T]
    answer: type[A]

    def read_task(self, data: object) -> T:
        """The inverse of `to_json` for a task."""
        return _from_json(self.task, data)

    def read_answer(self, data: object) -> A:
        """The inverse of `to_json` for an answer."""
        return _from_json(self.answer, data)


def task_codec(work: Work[T, A]) -> TaskCodec[T, A]:
    """The codec of a worker function.

    Raises:
        TypeError: It does not declare frozen dataclasses.
    """
    codec: TaskCodec[T, A] = _codec_from_hints(work)
    return codec


@cache
def _codec_from_hints(work: Callable[..., Any]) -> TaskCodec[Any, Any]:
    hints = get_type_hints(work)
    answer = hints.pop("return", None)
    (task,) = hints.values()
    for kind in (task, answer):
        if not getattr(getattr(kind, "__dataclass_params__", None), "frozen", False):
            raise TypeError(f"{work.__qualname__} takes or returns {kind}, which is no frozen dataclass")
    return TaskCodec(task, answer)


def to_json(message: DataclassInstance) -> dict[str, object]:
    """A task or an answer as JSON has it."""
    return {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}


def _from_json(kind: type[A], data: object) -> A:
    assert isinstance(data, dict)
    return kind(**{name: _tuples(value) for name, value in data.items()})


def _tuples(value: object) -> object:
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    return {key: _tuples(part) for key, part in value.items()} if isinstance(value, dict) else value
