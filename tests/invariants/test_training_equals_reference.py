"""The local backend against a plain float32 reference: one sequence at a time, all logits, PEFT and torch alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tinker import types

from tests.support.datums import random_datums
from tests.support.reference import Reference

STEPS = 4
ADAM = types.AdamParams(learning_rate=2e-3, weight_decay=0.1, grad_clip_norm=0.5)


def final_state(service: Any, client: Any) -> dict[str, torch.Tensor]:
    path = client.save_state("final", overwrite=True).result().path
    return service.store.read(path, optimizer=False).weights


@pytest.mark.parametrize("tied", [True, False])
def test_losses_norms_and_weights_after_steps(open_local: Any, make_tiny_model: Any, tied: bool) -> None:
    directory = str(make_tiny_model(tied=tied))
    service = open_local(micro_batch_tokens=64)
    client = service.create_lora_training_client(directory, rank=4, seed=11).result()
    reference = Reference(directory, rank=4, alpha=32, seed=11)
    for step in range(STEPS):
        data = random_datums(9, 600, seed=step)
        output = client.forward_backward(data, "cross_entropy").result()
        norm = client.optim_step(ADAM).result().metrics["grad_norm:mean"]
        expected_loss, expected_norm = reference.step(data)
        assert output.metrics["loss:sum"] == pytest.approx(expected_loss, rel=1e-5)
        assert norm == pytest.approx(expected_norm, rel=1e-4)
    ours, theirs = final_state(service, client), reference.state()
    assert ours.keys() == theirs.keys()
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], atol=2e-5, rtol=1e-4)


def test_forward_gives_every_logprob(open_local: Any, tiny_model: str) -> None:
    client = open_local().create_lora_training_client(tiny_model, rank=4, seed=1).result()
    reference = Reference(tiny_model, rank=4, alpha=32, seed=1)
    data = random_datums(7, 600)
    output = client.forward(data, "cross_entropy").result()
    for datum, record in zip(data, output.loss_fn_outputs, strict=True):
        torch.testing.assert_close(record["logprobs"].to_torch(), reference.logprobs(datum), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("rank", "flags", "count"),
    [
        (8, {}, lambda layer, head: 2 * layer["attn"] + 2 * layer["mlp"] + head),
        (3, {"train_mlp": False, "train_unembed": False}, lambda layer, head: 2 * layer["attn"]),
        (5, {"train_attn": False}, lambda layer, head: 2 * layer["mlp"] + head),
    ],
)
def test_parameter_count_is_tinkers(open_local: Any, tiny_model: str, rank: int, flags: Any, count: Any) -> None:
    """Sum over adapted matrices of rank x (in + out): q, k, v, o; gate, up, down; the output layer."""
    layer = {"attn": 2 * (64 + 64) + 2 * (64 + 32), "mlp": 3 * (64 + 128)}
    service = open_local()
    client = service.create_lora_training_client(tiny_model, rank=rank, seed=0, **flags).result()
    total = sum(tensor.numel() for tensor in final_state(service, client).values())
    assert total == rank * count(layer, 64 + 600)


def test_saved_adapter_in_plain_peft_gives_the_trained_logits(open_local: Any, tiny_model: str, tmp_path: Any) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    service = open_local()
    client = service.create_lora_training_client(tiny_model, rank=4, seed=0).result()
    data = random_datums(6, 600)
    for _ in range(3):
        client.forward_backward(data, "cross_entropy")
        client.optim_step(types.AdamParams(learning_rate=1e-2)).result()
    trained = client.forward(data, "cross_entropy").result()
    path = client.save_weights_for_sampler("export").result().path
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    plain = PeftModel.from_pretrained(base, str(service.store.locate(path))).eval()
    for datum, record in zip(data, trained.loss_fn_outputs, strict=True):
        with torch.no_grad():
            logits = plain(input_ids=torch.tensor([datum.model_input.to_ints()])).logits[0]
        targets = datum.loss_fn_inputs["target_tokens"].to_torch()
        lp = torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
        torch.testing.assert_close(record["logprobs"].to_torch(), lp, atol=1e-5, rtol=1e-5)
