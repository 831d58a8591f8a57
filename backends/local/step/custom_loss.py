"""Custom losses: functions of log-probabilities, linearised into a weighted cross-entropy with the same gradient.

As in the SDK, the function is differentiated by the log-probabilities, and -dloss/dlogprob are the weights of a
cross-entropy, whose gradient by the parameters is exactly that of the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import tinker
import torch
from tinker import types
from tinker.lib.public_interfaces.custom_loss import check_loss_inputs, run_loss_handle
from torch import Tensor

from backends.losses import TARGETS

if TYPE_CHECKING:
    from backends.interface import CustomLoss


def check_handle(handle: tinker.LossHandle, data: Sequence[types.Datum], session: str) -> None:
    """Refuse a traced loss that is not of this session, or does not fit the data.

    Raises:
        ValueError: The handle was created in another session, or a datum lacks an input that it reads.
    """
    if handle.session_id != session:
        raise ValueError(f"LossHandle {handle.name!r} was created in session {handle.session_id}, not in {session}.")
    check_loss_inputs(handle, list(data))


def strip_inputs(data: Sequence[types.Datum]) -> list[types.Datum]:
    """The data for a forward pass of cross-entropy, without the inputs that only the function reads."""
    return [_datum(datum, torch.ones(_shape(datum))) for datum in data]


def linearize(
    loss_fn: CustomLoss | tinker.LossHandle, data: Sequence[types.Datum], logprobs: Sequence[Tensor]
) -> tuple[float, dict[str, float], list[types.Datum]]:
    """The loss at these log-probabilities, and data whose cross-entropy has the same gradient.

    Args:
        loss_fn: The function, or a traced one.
        data: Its first argument.
        logprobs: Log-probabilities of each datum's targets, ``[T]`` or ``[T, K]``.

    Returns:
        The loss, the metrics that the function returned, and the data.

    Raises:
        ValueError: The loss does not depend on every datum's log-probabilities.
    """
    leaves = [lp.requires_grad_() for lp in logprobs]
    if isinstance(loss_fn, tinker.LossHandle):
        loss, metrics = run_loss_handle(loss_fn, list(data), leaves)
    else:
        loss, metrics = loss_fn(list(data), leaves)
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    weighted = []
    for datum, gradient in zip(data, gradients, strict=True):
        if gradient is None:
            raise ValueError("No gradient computed for logprob tensor")
        weighted.append(_datum(datum, -gradient))
    return float(loss.detach()), metrics, weighted


def _shape(datum: types.Datum) -> list[int]:
    targets = datum.loss_fn_inputs[TARGETS]
    return targets.shape or [len(targets.data)]


def _datum(datum: types.Datum, weights: Tensor) -> types.Datum:
    """The datum as one of cross-entropy, with these weights."""
    return types.Datum(
        model_input=datum.model_input,
        loss_fn_inputs={
            TARGETS: datum.loss_fn_inputs[TARGETS],
            "weights": types.TensorData.from_torch(weights.float()),
        },
    )
