"""Verbs that the training loop does not use: loading into a client, custom losses by handle, rarer sample options."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest
import torch
from tinker import types

from backends import BackendError
from backends.losses import find_loss
from tests.support.datums import random_datums

ADAM = types.AdamParams(learning_rate=1e-2)
DATA = random_datums(6, 600)
PROMPT = list(range(40, 60))


def ids(prompt: list[int]) -> types.ModelInput:
    return types.ModelInput.from_ints(prompt)


def step(client: Any, data: list[types.Datum] = DATA) -> float:
    loss = client.forward_backward(data, "cross_entropy").result().metrics["loss:sum"]
    client.optim_step(ADAM).result()
    return loss


@pytest.fixture
def service(open_local: Any) -> Any:
    return open_local()


@pytest.fixture
def client(service: Any, tiny_model: str) -> Any:
    return service.create_lora_training_client(tiny_model, rank=4, seed=0).result()


@pytest.fixture
def logits(tiny_model: str) -> torch.Tensor:
    """Of the plain model over PROMPT, [T, V]."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(torch.tensor([PROMPT])).logits[0]


def test_load_state_goes_back(client: Any) -> None:
    step(client)
    path = client.save_state("a").result().path
    expected = [step(client), step(client)]
    # A gradient of weights that are given up.
    client.forward_backward(DATA, "cross_entropy")
    assert client.load_state_with_optimizer(path).result().path == path
    with pytest.raises(ValueError, match="no gradient"):
        client.optim_step(ADAM).result()
    assert [step(client), step(client)] == expected
    client.load_state(path).result()
    # A fresh optimiser takes another first step.
    fresh = [step(client), step(client)]
    assert fresh[0] == expected[0]
    assert fresh[1] != expected[1]


def test_load_state_of_another_shape_is_refused(service: Any, client: Any, tiny_model: str) -> None:
    other = service.create_lora_training_client(tiny_model, rank=8, seed=0).result()
    path = other.save_state("a").result().path
    before = client.forward(DATA, "cross_entropy").result().metrics
    with pytest.raises(BackendError, match="does not fit"):
        client.load_state(path).result()
    assert client.forward(DATA, "cross_entropy").result().metrics == before


def test_custom_loss_by_handle_has_the_exact_gradient(service: Any, client: Any, tiny_model: str) -> None:
    def squared(logprobs: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        loss = (weights * logprobs**2).sum()
        return loss, {"custom/loss:sum": loss, "custom/loss:mean": loss}

    handle = service.create_custom_loss(squared, {"logprobs": 1, "weights": 1}).result()
    output = client.forward_backward_custom(DATA, handle, loss_type_input="logprobs").result()
    assert output.metrics["custom/loss:sum"] == pytest.approx(output.metrics["loss:sum"], rel=1e-5)
    assert output.metrics["custom/loss:mean"] == pytest.approx(output.metrics["loss:sum"] / 6, rel=1e-5)

    model = client.engine.weights._peft
    client.engine.weights._peft.set_adapter(client.model_id)
    total = torch.zeros(())
    # The same loss by plain autograd, through the model.
    for datum in DATA:
        rows = torch.log_softmax(model(torch.tensor([datum.model_input.to_ints()])).logits[0], -1)
        targets = torch.as_tensor(datum.loss_fn_inputs["target_tokens"].to_numpy())
        lp = rows.gather(1, targets[:, None])[:, 0]
        total = total + (datum.loss_fn_inputs["weights"].to_torch() * lp**2).sum()
    expected = torch.autograd.grad(total, list(client.engine.weights.parameters(client.model_id).values()))
    for ours, plain in zip(client.detach_state().result().gradients, expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-5)

    stranger = service.create_custom_loss(squared, {"logprobs": 1, "weights": 1}).result()
    object.__setattr__(stranger, "session_id", "another")
    with pytest.raises(ValueError, match="created in session another"):
        client.forward_backward_custom(DATA, stranger)


def test_custom_loss_must_depend_on_every_datum(client: Any) -> None:
    with pytest.raises(ValueError, match="No gradient computed"):
        client.forward_backward_custom(DATA, lambda data, logprobs: (logprobs[0].sum(), {})).result()
    with pytest.raises(ValueError, match="loss_type_input"):
        client.forward_backward_custom(DATA, lambda data, logprobs: (logprobs[0].sum(), {}), loss_type_input="logits")


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (lambda data, lp: lp[0].sum(), "must return a tensor with one number and a dict"),
        (lambda data, lp: (lp[0], {}), "must return a tensor with one number"),
        (lambda data, lp: (1.0, {}), "its loss is a float"),
        (lambda data, lp: (lp[0].sum().detach(), {}), "no gradient"),
        (lambda data, lp: (lp[0].sum() * float("nan"), {}), "not finite at datum 0"),
    ],
)
def test_what_is_no_custom_loss_is_refused(client: Any, loss: Any, sentence: str) -> None:
    data = random_datums(1, 600)
    with pytest.raises(ValueError, match=sentence):
        client.forward_backward_custom(data, loss).result()
    with pytest.raises(ValueError, match="no gradient has accumulated"):
        client.optim_step(types.AdamParams()).result()


def test_bad_hyperparameters_leave_the_gradient(client: Any) -> None:
    client.forward_backward(random_datums(1, 600), "cross_entropy").result()
    for values in ({"learning_rate": float("inf")}, {"learning_rate": float("nan")}, {"eps": 0}, {"weight_decay": -1}):
        (name,) = values
        with pytest.raises(ValueError, match=name):
            client.optim_step(types.AdamParams(**values)).result()
    assert client.optim_step(types.AdamParams()).result().metrics["grad_norm:mean"] > 0


def test_settings_of_a_loss_are_checked(client: Any) -> None:
    with pytest.raises(ValueError, match="takes no settings"):
        client.forward(DATA, "cross_entropy", {"beta": 1.0})
    with pytest.raises(ValueError, match="finite number"):
        find_loss("ppo").complete({"clip_low_threshold": "x"})


def test_external_weights_are_files_for_plain_peft(service: Any, client: Any, tiny_model: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    step(client)
    path = client.save_weights_external("out").result().path
    assert path == f"tinker://{client.model_id}/external_weights/out"
    urls = service.create_rest_client().get_external_weights_urls(path).result().urls
    files = {name: Path(url2pathname(urlparse(url).path)) for name, url in urls.items()}
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    assert PeftModel.from_pretrained(base, str(files["adapter_config.json"].parent))
    with pytest.raises(ValueError, match="encrypt the files yourself"):
        client.save_weights_external("out2", age_encryption_recipients=["age1x"])


def test_sampling_clients_of_a_training_client(service: Any, client: Any, make_tiny_model: Any) -> None:
    step(client)
    path = client.save_weights_for_sampler("a").result().path
    snapshot = client.save_weights_and_get_sampling_client(kind="inflight").result()
    loaded = client.create_sampling_client(path).result()
    assert loaded.compute_logprobs(ids(PROMPT)).result() == snapshot.compute_logprobs(ids(PROMPT)).result()
    other = service.create_lora_training_client(str(make_tiny_model(seed=1)), rank=4).result()
    with pytest.raises(BackendError, match="was trained on"):
        other.create_sampling_client(path).result()
    with pytest.raises(ValueError, match="stable_reinforce"):
        client.create_sampling_client(path, record_stability_info=True)


@pytest.mark.parametrize(
    "values", [{"rank": 0}, {"rank": 1.5}, {"rank": True}, {"rank": "4"}, {"seed": -1}, {"seed": 2**70}, {"seed": "a"}]
)
def test_rank_and_seed_are_whole_numbers(service: Any, tiny_model: str, values: dict[str, Any]) -> None:
    ((name, value),) = values.items()
    with pytest.raises(ValueError, match=f"{name} is {value!r}; it must be a whole number"):
        service.create_lora_training_client(tiny_model, **{"rank": 2, **values})


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a b", "é", "a\x00", "-a", "a" * 201, None, 5])
def test_what_names_no_checkpoint_is_refused(client: Any, name: Any) -> None:
    for save in (client.save_state, client.save_weights_for_sampler, client.save_weights_external):
        with pytest.raises(ValueError, match=r"[Cc]heckpoint"):
            save(name).result()
    with pytest.raises(ValueError, match="ttl_seconds is '3600'"):
        client.save_state("w", ttl_seconds="3600").result()
    with pytest.raises(ValueError, match="tinker path"):
        client.load_state(name).result()


def test_what_the_local_backend_does_not_have_says_so(service: Any, client: Any, tiny_model: str) -> None:
    with pytest.raises(ValueError, match="only AdamW"):
        service.create_lora_training_client(tiny_model, optimizer=types.optimizer.DimuonOptimizerConfig())
    with pytest.raises(TypeError, match="AdamW"):
        client.optim_step(types.optimizer.DimuonParams(learning_rate=1e-3))
    with pytest.raises(ValueError, match="not both"):
        client.optim_step(ADAM, adam_params=ADAM)
    with pytest.raises(BackendError, match="sample through a server"):
        service.create_sampling_client(base_model=tiny_model).result().get_sampler_handle()


def test_async_twins(service: Any, tiny_model: str) -> None:
    async def program() -> tuple[float, int]:
        client = await service.create_lora_training_client_async(tiny_model, rank=4, seed=0)
        future = await client.forward_backward_async(DATA, "cross_entropy")
        await (await client.optim_step_async(ADAM))
        sampler = await client.save_weights_and_get_sampling_client_async()
        response = await sampler.sample_async(ids(PROMPT), 1, types.SamplingParams(max_tokens=3, temperature=0))
        await service.close()
        return (await future).metrics["loss:sum"], len(response.sequences)

    loss, count = asyncio.run(program())
    assert loss > 0
    assert count == 1


def test_likeliest_rivals_of_sampled_tokens(service: Any, tiny_model: str) -> None:
    sampler = service.create_sampling_client(base_model=tiny_model).result()
    params = types.SamplingParams(max_tokens=5, temperature=0.8, seed=3, stop=[])
    sequence = sampler.sample(ids(PROMPT), 1, params, topk_sample_logprobs=600).result().sequences[0]
    assert len(sequence.topk_logprobs) == 5
    for token, logprob, rivals in zip(sequence.tokens, sequence.logprobs, sequence.topk_logprobs, strict=True):
        assert dict(rivals)[token] == pytest.approx(logprob, abs=1e-4)
        assert rivals == sorted(rivals, key=lambda rival: -rival[1])


def test_last_n_prompt_logprobs(service: Any, tiny_model: str, logits: torch.Tensor) -> None:
    sampler = service.create_sampling_client(base_model=tiny_model).result()
    whole = sampler.compute_logprobs(ids(PROMPT)).result()
    tail = sampler.compute_logprobs(ids(PROMPT), prompt_logprobs_last_n=4).result()
    assert tail[:-4] == [None] * 16
    assert tail[-4:] == pytest.approx(whole[-4:], abs=1e-5)
    response = sampler.sample(
        ids(PROMPT), 1, types.SamplingParams(max_tokens=1), True, topk_prompt_logprobs=2, prompt_logprobs_last_n=4
    ).result()
    assert response.topk_prompt_logprobs[:-4] == [None] * 16
    assert [t for t, _ in response.topk_prompt_logprobs[-1]] == logits[-2].topk(2).indices.tolist()
    for bad in (0, len(PROMPT)):
        with pytest.raises(ValueError, match="prompt_logprobs_last_n"):
            sampler.compute_logprobs(ids(PROMPT), bad)


@pytest.mark.parametrize("sparse", [False, True])
def test_target_prompt_logprobs(service: Any, tiny_model: str, logits: torch.Tensor, sparse: bool) -> None:
    sampler = service.create_sampling_client(base_model=tiny_model).result()
    wanted = torch.full((len(PROMPT) - 1, 2), -1, dtype=torch.int64)
    wanted[4, 0], wanted[-1, 1] = 7, 300
    targets = (
        types.TensorData.from_torch_sparse(wanted, pad_value=-1) if sparse else types.TensorData.from_torch(wanted)
    )
    assert (targets.sparse_crow_indices is not None) == sparse
    params = types.SamplingParams(max_tokens=1)
    found = sampler.sample(ids(PROMPT), 1, params, target_prompt_logprobs=targets).result().target_prompt_logprobs
    assert (found.sparse_crow_indices is not None) == sparse
    logprobs = torch.log_softmax(logits, -1)
    expected = torch.zeros(wanted.shape)
    expected[4, 0], expected[-1, 1] = logprobs[4, 7], logprobs[-2, 300]
    torch.testing.assert_close(found.to_torch(), expected, rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="shape"):
        sampler.sample(ids(PROMPT[1:]), 1, params, target_prompt_logprobs=targets)


def test_alternatives_to_prompt_tokens(service: Any, tiny_model: str, logits: torch.Tensor) -> None:
    sampler = service.create_sampling_client(base_model=tiny_model).result()
    params = types.SamplingParams(max_tokens=1, temperature=0.5, seed=1)
    drawn = sampler.sample(ids(PROMPT), 1, params, prompt_alt_tokens_k=400).result().prompt_alt_tokens
    tokens, logprobs = drawn.tokens.to_torch(), drawn.logprobs.to_torch()
    assert tokens.shape == logprobs.shape == (len(PROMPT) - 1, 400)
    torch.testing.assert_close(logprobs, torch.log_softmax(logits[:-1], -1).gather(1, tokens), rtol=0, atol=1e-4)
    # Log-probabilities of the likeliest token, over positions.
    share = (tokens == logits[:-1].argmax(-1, keepdim=True)).float().mean()
    assert share == pytest.approx(float(torch.softmax(logits[:-1] / 0.5, -1).max(-1).values.mean()), abs=0.03)
    greedy = sampler.sample(
        ids(PROMPT), 1, types.SamplingParams(max_tokens=1, temperature=0), prompt_alt_tokens_k=2
    ).result()
    assert greedy.prompt_alt_tokens.tokens.to_torch()[:, 1].tolist() == logits[:-1].argmax(-1).tolist()
