"""Ordinary OpenAI clients against the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from tinker import types

from tests.support.running import KEY, Running


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def test_completion_is_what_the_sampler_samples(server: Running, service: Any, client: openai.OpenAI) -> None:
    tokenizer = server.state.residency.loaded("tiny").tokenizer
    ids = tokenizer.encode("SELECT name FROM")
    path = service.create_lora_training_client("tiny", rank=2).result().save_weights_for_sampler("w").result().path
    assert {model.id for model in client.models.list()} >= {"tiny", path}
    params = types.SamplingParams(max_tokens=40, temperature=0)
    sampler = service.create_sampling_client(model_path=path).result()
    tokens = sampler.sample(types.ModelInput.from_ints(ids), 1, params).result().sequences[0].tokens
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    arguments: Any = {"model": path, "prompt": "SELECT name FROM", "max_tokens": 40, "temperature": 0}
    whole = client.completions.create(**arguments, logprobs=1)
    assert whole.choices[0].text == text
    assert whole.usage.completion_tokens == len(tokens) == len(whole.choices[0].logprobs.token_logprobs)
    pieces = list(client.completions.create(**arguments, stream=True))
    assert "".join(piece.choices[0].text for piece in pieces) == text
    assert len(pieces) > len(tokens) // 2 and pieces[-1].choices[0].finish_reason in ("stop", "length")
    stop = text[7:9]
    stopped = [client.completions.create(**arguments, stop=stop).choices[0].text]
    stopped.append("".join(p.choices[0].text for p in client.completions.create(**arguments, stop=stop, stream=True)))
    assert stopped == [text.partition(stop)[0]] * 2
    several = client.completions.create(model="tiny", prompt=["a", "b"], n=2, max_tokens=2)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]


def test_chat_needs_a_template(server: Running, client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "How many?"}]
    with pytest.raises(openai.BadRequestError, match="has no chat template"):
        client.chat.completions.create(model="tiny", messages=messages)
    tokenizer = server.state.residency.loaded("tiny").tokenizer
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}sql:"
    try:
        whole = client.chat.completions.create(model="tiny", messages=messages, max_tokens=20, temperature=0)
        stream = client.chat.completions.create(
            model="tiny", messages=messages, max_tokens=20, temperature=0, stream=True
        )
        assert "".join(p.choices[0].delta.content or "" for p in stream) == whole.choices[0].message.content != ""
    finally:
        tokenizer.chat_template = None


def test_errors(server: Running, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="does not offer"):
        client.completions.create(model="gpt-9", prompt="a")
    with pytest.raises(openai.NotFoundError, match="no checkpoint"):
        client.completions.create(model="tinker://nobody:train:0/sampler_weights/w", prompt="a")
    with pytest.raises(openai.BadRequestError, match="prompt has 0 tokens"):
        client.completions.create(model="tiny", prompt="")
    with pytest.raises(openai.UnprocessableEntityError, match="temperature"):
        client.completions.create(model="tiny", prompt="a", temperature=-1)
