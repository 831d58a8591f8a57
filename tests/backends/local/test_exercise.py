"""The course exercise's program, its steps in their order, written for `tinker.ServiceClient` and given the local one.

Like the exercise it uses what client-creating calls return as the clients themselves.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from tinker import types

from text2sql.data import prompts
from text2sql.data.example import Example
from text2sql.data.sources.bundled import load_bundled

pytestmark = pytest.mark.filterwarnings("ignore:Using .* of the future:FutureWarning")


def format_prompt(example: Example) -> str:
    return f"Table schema:\n{example.context}\nQuestion: {example.question}\nSQL: "


def process_example(example: Example, tokenizer: Any) -> types.Datum:
    prompt_tokens = tokenizer.encode(format_prompt(example), add_special_tokens=True)
    completion_tokens = tokenizer.encode(f" {example.answer}\n\n", add_special_tokens=False)
    tokens = prompt_tokens + completion_tokens
    weights = ([0.0] * len(prompt_tokens) + [1.0] * len(completion_tokens))[1:]
    return types.Datum(
        model_input=types.ModelInput.from_ints(tokens=tokens[:-1]),
        loss_fn_inputs={
            "target_tokens": np.array(tokens[1:], dtype=np.int64),
            "weights": np.array(weights, dtype=np.float32),
        },
    )


def sample_from_model(sampling_client: Any, tokenizer: Any, example: Example) -> str:
    model_input = types.ModelInput.from_ints(tokens=tokenizer.encode(format_prompt(example), add_special_tokens=True))
    params = types.SamplingParams(max_tokens=60, temperature=0.0, stop=["\n\n", "Question:"])
    result = sampling_client.sample(prompt=model_input, sampling_params=params, num_samples=1).result()
    return tokenizer.decode(result.sequences[0].tokens).strip() if result.sequences else ""


def test_the_exercise_runs_and_learns(open_local: Any, tiny_model: str) -> None:
    service_client = open_local()
    training_client = service_client.create_lora_training_client(base_model=tiny_model)
    tokenizer = training_client.get_tokenizer()
    data = load_bundled()[:6]
    before = training_client.save_weights_and_get_sampling_client(name="base-model")
    assert sample_from_model(before, tokenizer, data[0]) != data[0].answer

    processed = [process_example(example, tokenizer) for example in data]
    losses = []
    for epoch in range(60):
        random.Random(epoch).shuffle(processed)
        fwdbwd_future = training_client.forward_backward(processed, "cross_entropy")
        optim_future = training_client.optim_step(types.AdamParams(learning_rate=1e-2))
        fwdbwd_result, _ = fwdbwd_future.result(), optim_future.result()
        logprobs = np.concatenate([output["logprobs"].to_numpy() for output in fwdbwd_result.loss_fn_outputs])
        weights = np.concatenate([datum.loss_fn_inputs["weights"].to_numpy() for datum in processed])
        losses.append(float(-np.dot(logprobs, weights) / weights.sum()))
    assert losses[-1] < 0.05 < losses[0]

    path = training_client.save_weights_for_sampler(name="final").result().path
    after = service_client.create_sampling_client(model_path=path)
    assert [sample_from_model(after, tokenizer, example) for example in data] == [example.answer for example in data]


def test_the_exercise_template_is_the_exercises() -> None:
    example = load_bundled()[0]
    assert prompts.render_prompt(example, prompts.PromptFormat("exercise")) == format_prompt(example)
    assert prompts.render_completion(example, prompts.PromptFormat("exercise")) == f" {example.answer}\n\n"
