"""Ways of doing the same training that must end in the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tinker import types

from tests.support.datums import random_datums

Train = Callable[[Any], None]
# Float32, sums in another order.
TOLERANCE = {"atol": 3e-6, "rtol": 1e-4}
BATCHES = [random_datums(8, 600, seed=s) for s in range(3)]


def weights_of(service: Any, client: Any) -> dict[str, torch.Tensor]:
    path = client.save_state("end").result().path
    return service.store.read(path, optimizer=True).weights


def train(client: Any, batches: list[list[types.Datum]], parts: int = 1) -> list[float]:
    losses = []
    for data in batches:
        size = -(-len(data) // parts)
        futures = [client.forward_backward(data[i : i + size], "cross_entropy") for i in range(0, len(data), size)]
        step = client.optim_step(types.AdamParams(learning_rate=1e-2, eps=1e-8))
        losses.append(sum(future.result().metrics["loss:sum"] for future in futures))
        step.result()
    return losses


def run(open_local: Any, model: str, parts: int = 1, **options: Any) -> tuple[list[float], dict[str, torch.Tensor]]:
    service = open_local(**options)
    client = service.create_lora_training_client(model, rank=4, seed=5).result()
    losses = train(client, BATCHES, parts)
    return losses, weights_of(service, client)


@pytest.fixture
def plain(open_local: Any, tiny_model: str) -> tuple[list[float], dict[str, torch.Tensor]]:
    return run(open_local, tiny_model, micro_batch_tokens=10_000)


@pytest.mark.parametrize(
    ("parts", "options"),
    [
        (4, {"micro_batch_tokens": 10_000}),
        (1, {"micro_batch_tokens": 1}),
        (1, {"micro_batch_tokens": 70}),
        (1, {"gradient_checkpointing": "on"}),
        (1, {"unscored_logprobs": True}),
        (1, {"attention": "eager"}),
    ],
    ids=["parts", "one row at a time", "budget", "recomputed activations", "every logprob", "eager attention"],
)
def test_same_losses_and_weights(open_local: Any, tiny_model: str, plain: Any, parts: int, options: Any) -> None:
    losses, weights = run(open_local, tiny_model, parts, **options)
    assert losses == pytest.approx(plain[0], rel=1e-5)
    for key, tensor in weights.items():
        torch.testing.assert_close(tensor, plain[1][key], **TOLERANCE)


def test_repeated_run_is_bitwise_equal(open_local: Any, tiny_model: str, plain: Any) -> None:
    losses, weights = run(open_local, tiny_model, micro_batch_tokens=10_000)
    assert losses == plain[0]
    assert all(torch.equal(weights[key], plain[1][key]) for key in weights)


def test_resumed_equals_straight_bitwise(open_local: Any, tiny_model: str, plain: Any) -> None:
    first = open_local(micro_batch_tokens=10_000)
    client = first.create_lora_training_client(tiny_model, rank=4, seed=5).result()
    losses = train(client, BATCHES[:1])
    path = client.save_state("middle").result().path
    first.close()
    second = open_local(micro_batch_tokens=10_000)
    client = second.create_training_client_from_state_with_optimizer(path).result()
    losses += train(client, BATCHES[1:])
    assert losses == plain[0]
    weights = weights_of(second, client)
    assert all(torch.equal(weights[key], plain[1][key]) for key in weights)


def test_weights_without_optimizer_start_adam_anew(open_local: Any, tiny_model: str) -> None:
    service = open_local()
    client = service.create_lora_training_client(tiny_model, rank=4, seed=5).result()
    train(client, BATCHES[:1])
    path = client.save_state("middle").result().path
    fresh = service.create_training_client_from_state(path).result()
    again = service.create_training_client_from_state_with_optimizer(path).result()
    # The same weights before the step.
    assert train(fresh, BATCHES[:1]) == train(again, BATCHES[:1])
    # Another step was taken.
    assert train(fresh, BATCHES[1:2]) != train(again, BATCHES[1:2])


def test_interleaved_clients_do_not_touch_each_other(open_local: Any, tiny_model: str, plain: Any) -> None:
    service = open_local(micro_batch_tokens=10_000)
    ours = service.create_lora_training_client(tiny_model, rank=4, seed=5).result()
    other = service.create_lora_training_client(tiny_model, rank=7, seed=9, train_mlp=False).result()
    losses = []
    for k, data in enumerate(BATCHES):
        future = ours.forward_backward(data, "cross_entropy")
        other.forward_backward(BATCHES[-k], "cross_entropy")
        ours.optim_step(types.AdamParams(learning_rate=1e-2, eps=1e-8))
        other.optim_step(types.AdamParams(learning_rate=3e-2))
        ours.save_weights_and_get_sampling_client()
        losses.append(future.result().metrics["loss:sum"])
    assert losses == plain[0]
    weights = weights_of(service, ours)
    assert all(torch.equal(weights[key], plain[1][key]) for key in weights)


def test_sampling_between_steps_changes_nothing(open_local: Any, tiny_model: str, plain: Any) -> None:
    service = open_local(micro_batch_tokens=10_000)
    client = service.create_lora_training_client(tiny_model, rank=4, seed=5).result()
    params = types.SamplingParams(max_tokens=5, temperature=0)
    losses = []
    for data in BATCHES:
        losses += train(client, [data])
        sampler = client.save_weights_and_get_sampling_client().result()
        sampler.sample(types.ModelInput.from_ints([1, 2, 3]), 1, params).result()
    assert losses == plain[0]
    weights = weights_of(service, client)
    assert all(torch.equal(weights[key], plain[1][key]) for key in weights)


def test_custom_loss_equals_cross_entropy(open_local: Any, tiny_model: str) -> None:
    def negative_sum(data: list[types.Datum], logprobs: list[torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        weights = [datum.loss_fn_inputs["weights"].to_torch() for datum in data]
        loss = -sum((w * lp).sum() for w, lp in zip(weights, logprobs, strict=True))
        return loss, {"examples:sum": float(len(data))}  # type: ignore[return-value]

    ends = []
    for custom in (False, True):
        service = open_local()
        client = service.create_lora_training_client(tiny_model, rank=4, seed=5).result()
        if custom:
            output = client.forward_backward_custom(BATCHES[0], negative_sum).result()
            assert output.metrics["examples:sum"] == 8
        else:
            output = client.forward_backward(BATCHES[0], "cross_entropy").result()
        client.optim_step(types.AdamParams(learning_rate=1e-2, eps=1e-8)).result()
        ends.append((output.metrics["loss:sum"], weights_of(service, client)))
    assert ends[0][0] == pytest.approx(ends[1][0], rel=1e-6)
    for key, tensor in ends[0][1].items():
        torch.testing.assert_close(tensor, ends[1][1][key], **TOLERANCE)


def test_several_targets_per_position(open_local: Any, tiny_model: str) -> None:
    """K targets with weights are K single-target losses added up."""
    service = open_local()
    client = service.create_lora_training_client(tiny_model, rank=4, seed=5).result()
    rng = np.random.default_rng(0)
    tokens, targets = rng.integers(0, 600, 12), rng.integers(0, 600, (12, 3))
    weights = rng.uniform(0, 1, (12, 3)).astype(np.float32)

    def loss(target: np.ndarray, weight: np.ndarray) -> float:
        inputs = {"target_tokens": types.TensorData.from_numpy(target), "weights": types.TensorData.from_numpy(weight)}
        datum = types.Datum(model_input=types.ModelInput.from_ints(tokens.tolist()), loss_fn_inputs=inputs)
        output = client.forward_backward([datum], "cross_entropy").result()
        assert output.loss_fn_outputs[0]["logprobs"].to_numpy().shape == target.shape
        return output.metrics["loss:sum"]

    singles = sum(loss(targets[:, k].copy(), weights[:, k].copy()) for k in range(3))
    assert loss(targets, weights) == pytest.approx(singles, rel=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_chance_decides_how_the_same_training_is_done(open_local: Any, tiny_model: str, seed: int) -> None:
    """Order of the rows, calls, token budgets, recomputation and restarts, drawn at random: the same three steps."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 14, 3)
    batches = [random_datums(int(n), 600, seed=100 * seed + k, longest=60) for k, n in enumerate(sizes)]
    # With a tiny eps, Adam would blow the rounding of gradients near zero up to whole steps.
    adam = types.AdamParams(learning_rate=1e-2, eps=1e-4, grad_clip_norm=1.0)

    def step(client: Any, calls: list[list[types.Datum]]) -> tuple[list[float], list[torch.Tensor]]:
        futures = [client.forward_backward(call, "cross_entropy") for call in calls]
        norm = client.optim_step(adam).result().metrics["grad_norm:mean"]
        outputs = [future.result() for future in futures]
        loss = sum(output.metrics["loss:sum"] for output in outputs)
        return [loss, norm], [record["logprobs"].to_torch() for o in outputs for record in o.loss_fn_outputs]

    def drawn() -> dict[str, Any]:
        return {
            "micro_batch_tokens": int(rng.integers(1, 300)),
            "gradient_checkpointing": str(rng.choice(["on", "off"])),
            "unscored_logprobs": bool(rng.integers(2)),
        }

    straight = open_local(micro_batch_tokens=10_000)
    one = straight.create_lora_training_client(tiny_model, rank=4, seed=seed).result()
    service = open_local(**drawn())
    other = service.create_lora_training_client(tiny_model, rank=4, seed=seed).result()
    for k, data in enumerate(batches):
        (loss, norm), logprobs = step(one, [data])
        order = rng.permutation(len(data)).tolist()
        ends = sorted(int(end) for end in rng.integers(1, len(data) + 1, rng.integers(0, 3)))
        calls = [[data[i] for i in part] for part in np.split(order, ends) if len(part)]
        numbers, scattered = step(other, calls)
        assert numbers == pytest.approx([loss, norm], rel=1e-4)
        for i, found in zip(order, scattered, strict=True):
            scored = data[i].loss_fn_inputs["weights"].to_torch() != 0
            torch.testing.assert_close(found[scored], logprobs[i][scored], atol=1e-5, rtol=1e-4)
        if rng.integers(2):
            path = other.save_state(f"after-{k}").result().path
            service = open_local(**drawn())
            other = service.create_training_client_from_state_with_optimizer(path).result()
    expected, weights = weights_of(straight, one), weights_of(service, other)
    for key, tensor in weights.items():
        torch.testing.assert_close(tensor, expected[key], atol=1e-4, rtol=0)
