"""Custom losses: functions of log-probabilities, linearised into a weighted cross-entropy with the same gradient.

As in the SDK, the function is differentiated by the log-probabilities, and -dloss/dlogprob are the weights of a
cross-entropy, whose gradient by the parameters is exactly that of the loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

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
    return [
        replace(datum, loss_fn_inputs={name: held for name, held in datum.loss_fn_inputs.items() if name == TARGETS})
        if isinstance(datum, types.Datum)
        # Refused by the check of the data.
        else datum
        for datum in data
    ]


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
        returned: Any = run_loss_handle(loss_fn, list(data), leaves)
    else:
        returned = loss_fn(list(data), leaves)
    loss, metrics = _checked(returned)
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    weighted = []
    for index, (datum, gradient) in enumerate(zip(data, gradients, strict=True)):
        if gradient is None:
            raise ValueError("No gradient computed for logprob tensor")
        if not gradient.isfinite().all():
            raise ValueError(f"The custom loss has a gradient that is not finite at datum {index}.")
        weighted.append(_datum(datum, -gradient))
    return float(loss.detach()), metrics, weighted


def _checked(returned: Any) -> tuple[Tensor, dict[str, float]]:
    """What a custom loss has returned (ValueError if that is no loss with metrics)."""
    loss, metrics = returned if isinstance(returned, tuple | list) and len(returned) == 2 else (returned, None)
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not isinstance(metrics, Mapping):
        got = f"a tensor of shape {list(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise ValueError(
            f"The custom loss must return a tensor with one number and a dict of metrics; its loss is {got} and its "
            f"metrics a {type(metrics).__name__}."
        )
    if not loss.requires_grad:
        raise ValueError("The custom loss depends on no log-probability, or has been detached from them: no gradient.")
    return loss, dict(metrics)


def _datum(datum: types.Datum, weights: Tensor) -> types.Datum:
    """The datum as one of cross-entropy, with these weights."""
    return types.Datum(
        model_input=datum.model_input,
        loss_fn_inputs={
            TARGETS: datum.loss_fn_inputs[TARGETS],
            "weights": types.TensorData.from_torch(weights.float()),
        },
    )
