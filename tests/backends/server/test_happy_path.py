"""What a Tinker script does, through the real SDK."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import tinker
from tinker import types

from tests.support.datums import cross_entropy_datum, random_datums
from tests.support.running import Running

DATA = random_datums(6, 600)
GREEDY = types.SamplingParams(max_tokens=6, temperature=0)
PROMPT = types.ModelInput.from_ints([5, 6, 7])


def test_train_save_sample_resume(service: Any) -> None:
    client = service.create_lora_training_client("tiny", rank=4, seed=5).result()
    assert client.get_info().model_data.model_name == "tiny"
    losses = []
    for _ in range(3):
        forward = client.forward_backward(DATA, "cross_entropy")
        step = client.optim_step(types.AdamParams(learning_rate=1e-2))
        losses.append(forward.result().metrics["loss:sum"])
        assert step.result().metrics["grad_norm:mean"] > 0
    assert losses[2] < losses[0]
    snapshot = client.save_weights_and_get_sampling_client().result()
    state = client.save_state("end", user_metadata={"step": "3"}).result().path
    weights = client.save_weights_for_sampler("end").result().path
    named = service.create_sampling_client(model_path=weights).result()
    sampled = [sampler.sample(PROMPT, 2, GREEDY).result() for sampler in (snapshot, named)]
    assert sampled[0].sequences[0].tokens == sampled[1].sequences[1].tokens
    assert len({s.sequence_id for response in sampled for s in response.sequences}) == 4
    resumed = service.create_training_client_from_state_with_optimizer(state).result()
    ends = [c.forward(DATA, "cross_entropy").result().metrics["loss:sum"] for c in (client, resumed)]
    assert ends[0] == ends[1]


def test_outputs_have_the_shape_of_the_targets(service: Any) -> None:
    client = service.create_lora_training_client("tiny", rank=2).result()
    output = client.forward(DATA, "cross_entropy").result()
    for datum, out in zip(DATA, output.loss_fn_outputs, strict=True):
        logprobs = out["logprobs"].to_numpy()
        assert logprobs.shape == (datum.model_input.length,)
        assert (logprobs < 0).all()  # those of weight 0 too
    total = sum(
        -(d.loss_fn_inputs["weights"].to_numpy() * o["logprobs"].to_numpy()).sum()
        for d, o in zip(DATA, output.loss_fn_outputs, strict=True)
    )
    assert output.metrics["loss:sum"] == pytest.approx(total, rel=1e-5)


def test_prompt_logprobs(service: Any) -> None:
    sampler = service.create_sampling_client(base_model="tiny").result()
    scored = sampler.compute_logprobs(PROMPT).result()
    assert scored[0] is None and len(scored) == 3
    response = sampler.sample(PROMPT, 1, GREEDY, include_prompt_logprobs=True, topk_prompt_logprobs=3).result()
    assert response.prompt_logprobs[1:] == pytest.approx(scored[1:])
    assert response.topk_prompt_logprobs[0] is None and len(response.topk_prompt_logprobs[2]) == 3
    assert np.isfinite(response.sequences[0].logprobs).all()


def test_sampled_logprobs_are_those_of_training(service: Any) -> None:
    """What the sampler says of its tokens, and what forward says of them."""
    client = service.create_lora_training_client("tiny", rank=4, seed=5).result()
    client.forward_backward(DATA, "cross_entropy")
    client.optim_step(types.AdamParams(learning_rate=1e-2)).result()
    sampler = client.save_weights_and_get_sampling_client().result()
    params = types.SamplingParams(max_tokens=10, temperature=1.0, seed=3, stop=[])
    for sequence in sampler.sample(PROMPT, 3, params).result().sequences:
        ids = np.array(PROMPT.to_ints() + sequence.tokens)
        output = client.forward([cross_entropy_datum(ids, np.ones(len(ids) - 1))], "cross_entropy").result()
        scored = output.loss_fn_outputs[0]["logprobs"].to_numpy()[len(PROMPT.to_ints()) - 1 :]
        np.testing.assert_allclose(sequence.logprobs, scored, atol=1e-4)


def test_the_page_and_the_metrics_say_what_is_going_on(server: Running, service: Any) -> None:
    client = service.create_lora_training_client("tiny", rank=2).result()
    client.forward_backward(DATA, "cross_entropy").result()
    with pytest.raises(tinker.RequestFailedError):
        client.forward_backward(DATA, "stable_reinforce").result()
    with server.http() as http:
        page, metrics = http.get("/").text, http.get("/metrics").text
    assert client.model_id in page and "stable_reinforce" in page and "trained" in page
    trained = re.search(r'text2sql_server_tokens_total\{kind="trained"\} (\S+)', metrics)
    assert trained and float(trained[1]) > 0
    assert 'http_requests_total{route="/api/v1/forward_backward",status="200"}' in metrics
    assert 'failed_requests_total{category="user"}' in metrics


def test_a_server_may_stand_in_for_stable_reinforce(start_server: Any) -> None:
    server = start_server(server={"stable_reinforce": "reinforce_kl"})
    service = server.client()
    client = service.create_lora_training_client("tiny", rank=2).result()
    length = DATA[0].model_input.length
    inputs = {name: np.full(length, 0.5, np.float32) for name in ("logprobs", "advantages")}
    data = [types.Datum(DATA[0].model_input, {"target_tokens": DATA[0].loss_fn_inputs["target_tokens"], **inputs})]
    stated = client.forward(data, "reinforce_kl", {"kl_coeff": 0.1}).result().metrics
    found = client.forward(data, "stable_reinforce", {"kl_coeff": 0.1}).result().metrics
    assert found.pop("stable_reinforce_is_reinforce_kl:max") == 1.0 and found == stated
    # As the cookbook's loop asks for it.
    sampler = client.save_weights_and_get_sampling_client(record_stability_info=True).result()
    assert sampler.sample(PROMPT, 1, types.SamplingParams(max_tokens=2, stop=[])).result().sequences
    service.close("success").result()
