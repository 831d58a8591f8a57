"""A training client's tensors off the device and back, bit for bit, so that more clients live than fit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backends.local.futures import LocalFuture
from backends.local.step.optim import Optimizer
from backends.local.training import LocalTrainingClient


@dataclass(frozen=True)
class Parked:
    """What a client had on the device: weights, optimiser, gradient."""

    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    gradients: list[Tensor] | None


def park(client: LocalTrainingClient) -> LocalFuture[Parked]:
    """Take a client off the device. It must be unparked before it is used again."""

    def run() -> Parked:
        gradients = client._gradients
        parked = Parked(
            weights=client.engine.adapters.state(client.model_id),
            optimizer=client._optimizer.state(),
            gradients=None if gradients is None else [gradient.cpu() for gradient in gradients],
        )
        client.engine.adapters.remove(client.model_id)
        client._parameters, client._gradients = {}, None
        del client._optimizer
        return parked

    return client.engine.executor.submit(run)


def unpark(client: LocalTrainingClient, parked: Parked) -> LocalFuture[None]:
    """Bring a client back to the device."""

    def run() -> None:
        adapters, device = client.engine.adapters, client.engine.base.device
        adapters.add(client.model_id, client._spec, parked.weights)
        client._parameters = adapters.parameters(client.model_id)
        client._optimizer = Optimizer(client._parameters, client.engine.options)
        if parked.optimizer:
            client._optimizer.load_state({name: torch.clone(value) for name, value in parked.optimizer.items()})
        if parked.gradients is not None:
            client._gradients = [gradient.to(device) for gradient in parked.gradients]

    return client.engine.executor.submit(run)
