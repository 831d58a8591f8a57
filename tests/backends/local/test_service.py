"""The service client: what can be opened, what is refused, order, optimiser rules, quantised bases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tinker
import torch
from tinker import types

from backends import BackendError, open_backend
from backends.options import LocalOptions
from tests.support.datums import random_datums


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(BackendError, match='Did you mean "local"'):
        open_backend("locl")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda:7"}, "no such GPU"),
        ({"device": "abacus"}, "not a device"),
        ({"device": "mps"}, "not available"),
    ],
)
def test_absent_devices_are_refused(tiny_model: str, options: dict[str, Any], message: str) -> None:
    service = open_backend("local", LocalOptions(**options))
    with pytest.raises(BackendError, match=message):
        service.create_lora_training_client(tiny_model).result()
    service.close()


def test_nf4_is_refused_on_mps(tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.local.model.load.pick_device", lambda wanted: torch.device("mps"))
    service = open_backend("local", LocalOptions(quantization="nf4"))
    with pytest.raises(BackendError, match=r"bitsandbytes has no MPS kernels.*quantization=none"):
        service.create_lora_training_client(tiny_model).result()
    service.close()


def test_models_that_are_not_there(open_local: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Else it retries for most of a minute.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BackendError, match=r"base_model: there is no directory .*HF_HUB_OFFLINE"):
        open_local().create_sampling_client(base_model="nobody/nothing").result()
    (tmp_path / "empty").mkdir()
    with pytest.raises(BackendError, match="not of a model"):
        open_local().create_sampling_client(base_model=str(tmp_path / "empty")).result()


def test_a_gated_model_asks_for_a_token(open_local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def gated(*arguments: Any, **options: Any) -> Any:
        raise OSError("You are trying to access a gated repo.\nMake sure to have access to it. 401 Client Error.")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *arguments, **options: None)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", gated)
    with pytest.raises(BackendError, match=r"is gated.*licence.*HF_TOKEN"):
        open_local().create_sampling_client(base_model="meta-llama/Llama-3.2-1B").result()


def test_bad_adapters_are_refused(open_local: Any, tiny_model: str) -> None:
    service = open_local()
    with pytest.raises(ValueError, match="rank"):
        service.create_lora_training_client(tiny_model, rank=0)
    with pytest.raises(ValueError, match="train_mlp"):
        service.create_lora_training_client(tiny_model, train_mlp=False, train_attn=False, train_unembed=False)


def test_seed_fixes_the_adapter(open_local: Any, tiny_model: str) -> None:
    data = random_datums(3, 600)
    norms = []
    for seed in (1, 1, 2, None, None):
        client = open_local().create_lora_training_client(tiny_model, rank=4, seed=seed).result()
        client.forward_backward(data, "cross_entropy")
        norms.append(client.optim_step(types.AdamParams()).result().metrics["grad_norm:mean"])
    assert norms[0] == norms[1]
    assert len(set(norms)) == 4


def test_optimiser_needs_a_gradient_and_good_numbers(open_local: Any, tiny_model: str) -> None:
    client = open_local().create_lora_training_client(tiny_model, rank=4, seed=0).result()
    with pytest.raises(ValueError, match="no gradient has accumulated"):
        client.optim_step(types.AdamParams()).result()
    for bad in ({"learning_rate": -1}, {"beta1": 1.0}, {"eps": -1e-9}, {"learning_rate": float("nan")}):
        client.forward_backward(random_datums(2, 600), "cross_entropy")
        with pytest.raises(ValueError, match="must be"):
            client.optim_step(types.AdamParams(**bad)).result()


def test_learning_rate_zero_changes_nothing(open_local: Any, tiny_model: str) -> None:
    client = open_local().create_lora_training_client(tiny_model, rank=4, seed=0).result()
    data = random_datums(3, 600)
    first = client.forward_backward(data, "cross_entropy").result().metrics
    client.optim_step(types.AdamParams(learning_rate=0))
    assert client.forward(data, "cross_entropy").result().metrics == pytest.approx(first, rel=1e-6)


def test_a_closed_backend_says_so(open_local: Any, tiny_model: str) -> None:
    service = open_local()
    client = service.create_lora_training_client(tiny_model, rank=4, seed=0).result()
    service.close()
    with pytest.raises((tinker.TinkerError, RuntimeError)):
        client.forward(random_datums(2, 600), "cross_entropy").result()


def test_info_and_capabilities(open_local: Any, tiny_model: str) -> None:
    service = open_local()
    client = service.create_lora_training_client(tiny_model, rank=4, seed=0).result()
    info = client.get_info()
    assert (info.model_id, info.lora_rank, info.model_data.model_name) == (client.model_id, 4, tiny_model)
    names = [model.model_name for model in service.get_server_capabilities().supported_models]
    assert {tiny_model, "smollm2-135m-instruct"} <= set(names)
    assert service.describe().compute_dtype == "float32"


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_quantised_base_trains_and_samples(open_local: Any, tiny_model: str, quantization: str) -> None:
    pytest.importorskip("bitsandbytes")
    service = open_local(quantization=quantization, dtype="float32")
    client = service.create_lora_training_client(tiny_model, rank=8, seed=0).result()
    data = random_datums(6, 600)
    losses = []
    for _ in range(8):
        losses.append(client.forward_backward(data, "cross_entropy").result().metrics["loss:sum"])
        client.optim_step(types.AdamParams(learning_rate=1e-2)).result()
    assert losses[-1] < 0.7 * losses[0]
    sampler = client.save_weights_and_get_sampling_client().result()
    prompt = types.ModelInput.from_ints([5, 6, 7])
    params = types.SamplingParams(max_tokens=4, temperature=0, stop=[])
    assert len(sampler.sample(prompt, 1, params).result().sequences[0].tokens) == 4


@pytest.mark.parametrize("sampled_before", [False, True], ids=["at once", "after sampling"])
def test_nf4_equals_its_dequantised_weights(
    open_local: Any, tiny_model: str, tmp_path: Path, sampled_before: bool
) -> None:
    """Training on the 4-bit base is training on the weights that those bits stand for, whatever was done before.

    (Where the processor multiplies bfloat16, bitsandbytes would pack the weights for inference, rounded.)
    """
    functional = pytest.importorskip("bitsandbytes.functional")
    from transformers import AutoModelForCausalLM

    service = open_local(quantization="nf4", dtype="float32")
    quantised = service.create_lora_training_client(tiny_model, rank=4, seed=3).result()
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    plain = dict(model.named_modules())
    found = 0
    with torch.no_grad():
        for name, module in quantised.engine.base.model.named_modules():
            weight = getattr(module, "weight", None)
            if name.endswith("base_layer") and hasattr(weight, "quant_state"):
                values = functional.dequantize_4bit(weight.data, weight.quant_state)
                found += 1
                plain[name.removesuffix(".base_layer")].weight.copy_(values.float())
    # Seven matrices in each of two layers; the output layer stays as it is.
    assert found == 14
    model.save_pretrained(tmp_path / "dequantised")
    quantised.get_tokenizer().save_pretrained(tmp_path / "dequantised")
    dequantised = open_local().create_lora_training_client(str(tmp_path / "dequantised"), rank=4, seed=3).result()
    clients = (quantised, dequantised)
    prompt, params = types.ModelInput.from_ints([5, 6, 7]), types.SamplingParams(max_tokens=8, temperature=0, stop=[])
    for step in range(3):
        data = random_datums(4, 600, seed=step)
        if sampled_before:
            samplers = [client.save_weights_and_get_sampling_client().result() for client in clients]
            answers = [sampler.sample(prompt, 1, params).result().sequences[0] for sampler in samplers]
            assert answers[0].tokens == answers[1].tokens
            assert answers[0].logprobs == pytest.approx(answers[1].logprobs, abs=1e-4)
        losses = [client.forward_backward(data, "cross_entropy").result().metrics["loss:sum"] for client in clients]
        steps = [client.optim_step(types.AdamParams(learning_rate=1e-3, eps=1e-8)).result() for client in clients]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        norms = [step.metrics["grad_norm:mean"] for step in steps]
        assert norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_bfloat16_base_keeps_float32_adapters(open_local: Any, tiny_model: str) -> None:
    service = open_local(dtype="bfloat16")
    client = service.create_lora_training_client(tiny_model, rank=4, seed=0).result()
    data = random_datums(6, 600)
    first = client.forward_backward(data, "cross_entropy").result().metrics["loss:sum"]
    client.optim_step(types.AdamParams(learning_rate=1e-2)).result()
    second = client.forward(data, "cross_entropy").result().metrics["loss:sum"]
    exact = open_local().create_lora_training_client(tiny_model, rank=4, seed=0).result()
    assert first == pytest.approx(exact.forward(data, "cross_entropy").result().metrics["loss:sum"], rel=0.02)
    assert second < first
    assert all(p.dtype == torch.float32 for p in client.engine.weights.parameters(client.model_id).values())
