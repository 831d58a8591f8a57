"""Every protobuf codec against the SDK's own other half."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tinker import types
from tinker.proto.request_conv import forward_backward_request_to_proto
from tinker.proto.response_conv import deserialize_forward_backward_output, deserialize_sample_response
from tinker.types.forward_backward_input import ForwardBackwardInput
from tinker.types.prompt_alt_tokens import PromptAltTokens
from tinker.types.topk_logprobs import TopkLogprobs

from backends.server import wire

TOKENS = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=12)
FLOATS = st.floats(width=32, allow_nan=False)
NAMES = st.text(min_size=1, max_size=5)


def floats(*shape: int) -> Any:
    size = int(np.prod(shape))
    return st.lists(FLOATS, min_size=size, max_size=size).map(lambda v: np.array(v, dtype=np.float32).reshape(shape))


def topk(length: int, k: int) -> Any:
    return floats(length, k).map(lambda v: TopkLogprobs(np.arange(length * k, dtype=np.int32).reshape(length, k), v))


@st.composite
def datum(draw: Any) -> types.Datum:
    chunks = draw(st.lists(TOKENS, min_size=1, max_size=3))
    length = sum(map(len, chunks))
    model_input = types.ModelInput(chunks=[types.EncodedTextChunk(tokens=chunk) for chunk in chunks])
    inputs: Any = {"target_tokens": np.arange(length), "weights": draw(floats(length))}
    if draw(st.booleans()):
        k = draw(st.integers(1, 4))
        sparse = torch.from_numpy(draw(floats(length, k))) * (torch.arange(length * k).reshape(length, k) % 5 == 0)
        inputs = {"target_tokens": np.arange(length * k).reshape(length, k), "weights": sparse}
    return types.Datum(model_input, inputs)


def same(one: types.TensorData, other: types.TensorData) -> bool:
    return one.dtype == other.dtype and np.array_equal(one.to_numpy(), other.to_numpy(), equal_nan=True)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(datum(), min_size=1, max_size=4),
    NAMES,
    st.integers(1, 2**31 - 1),
    st.dictionaries(NAMES, st.one_of(FLOATS, st.text(max_size=5)), max_size=3),
    st.booleans(),
)
def test_forward_backward_requests(
    data: list[types.Datum], model: str, seq_id: int, config: dict[str, Any], forward_only: bool
) -> None:
    inputs = ForwardBackwardInput(data=data, loss_fn="cross_entropy", loss_fn_config=config)
    request = types.ForwardBackwardRequest(forward_backward_input=inputs, model_id=model, seq_id=seq_id)
    sent = forward_backward_request_to_proto(request)
    sent.forward_only = forward_only
    body = sent.SerializeToString()
    message = wire.parse_forward_backward(body)
    assert (message.model_id, message.seq_id, message.forward_only) == (model, seq_id, forward_only)
    assert wire.peek_order(body[: wire.PEEK_BYTES]) == (model, seq_id)
    assert wire.loss_config(message) == config
    for one, other in zip(data, wire.datums(message), strict=True):
        assert one.model_input.to_ints() == other.model_input.to_ints()
        assert one.loss_fn_inputs.keys() == other.loss_fn_inputs.keys()
        assert all(same(value, other.loss_fn_inputs[name]) for name, value in one.loss_fn_inputs.items())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([(), (2,), (3,)])), max_size=6).flatmap(
        lambda shapes: st.tuples(*(floats(rows, *rest) for rows, rest in shapes))
    ),
    st.dictionaries(NAMES, st.floats(allow_nan=False), max_size=3),
)
def test_forward_backward_outputs(arrays: tuple[np.ndarray, ...], metrics: dict[str, float]) -> None:
    outputs = [
        {"logprobs": types.TensorData.from_numpy(a), "ids": types.TensorData.from_numpy(np.arange(len(a)))}
        for a in arrays
    ]
    output = types.ForwardBackwardOutput("ArrayRecord", outputs, metrics)
    back = deserialize_forward_backward_output(wire.forward_backward_body(output))
    assert back.metrics == metrics
    for one, other in zip(outputs, back.loss_fn_outputs, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert other[name].to_numpy().shape == value.to_numpy().shape and same(value, other[name])


@st.composite
def response(draw: Any) -> types.SampleResponse:
    length, k = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    maybe = lambda strategy: draw(st.one_of(st.none(), strategy))  # noqa: E731
    sequences = []
    for _ in range(draw(st.integers(0, 3))):
        count = draw(st.integers(1, 5))
        sequences.append(
            types.SampledSequence(
                stop_reason=draw(st.sampled_from(["stop", "length"])),
                sequence_id="x",
                tokens_np=np.arange(count, dtype=np.int32),
                logprobs_np=draw(floats(count)),
                topk_logprobs_np=maybe(topk(count, k)),
            )
        )
    alternatives = maybe(floats(length, k))
    return types.SampleResponse(
        sequences=sequences,
        prompt_logprobs_np=maybe(floats(length)),
        topk_prompt_logprobs_np=maybe(topk(length, k)),
        target_prompt_logprobs=maybe(floats(length, k).map(types.TensorData.from_numpy)),
        prompt_cache_hit_tokens=draw(st.integers(0, 100)),
        prompt_alt_tokens=None
        if alternatives is None
        else PromptAltTokens(
            tokens=types.TensorData.from_numpy(np.arange(length * k).reshape(length, k)),
            logprobs=types.TensorData.from_numpy(alternatives),
        ),
    )


@settings(max_examples=60, deadline=None)
@given(response())
def test_sample_responses(sent: types.SampleResponse) -> None:
    back = deserialize_sample_response(wire.sample_body(sent))
    assert back.prompt_cache_hit_tokens == sent.prompt_cache_hit_tokens
    assert back.prompt_logprobs == sent.prompt_logprobs
    assert back.topk_prompt_logprobs == sent.topk_prompt_logprobs
    for one, other in zip(sent.sequences, back.sequences, strict=True):
        assert (one.tokens, one.logprobs, one.stop_reason) == (other.tokens, other.logprobs, other.stop_reason)
        assert one.topk_logprobs == other.topk_logprobs
    if sent.target_prompt_logprobs is None:
        assert back.target_prompt_logprobs is None
    else:
        assert same(sent.target_prompt_logprobs, back.target_prompt_logprobs)
    assert (back.prompt_alt_tokens is None) == (sent.prompt_alt_tokens is None)
    if sent.prompt_alt_tokens is not None:
        assert same(sent.prompt_alt_tokens.tokens, back.prompt_alt_tokens.tokens)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_sentence(body: bytes) -> None:
    wire.peek_order(body)
    try:
        wire.datums(wire.parse_forward_backward(body))
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("agent", "version"),
    [
        ("AsyncTinker/Python 0.38.0", "0.38.0"),
        ("Tinker/Python 0.7.1", "0.7.1"),
        ("python-httpx/0.28", None),
        ("", None),
    ],
)
def test_versions(agent: str, version: str | None) -> None:
    assert wire.sdk_version({"user-agent": agent}) == version
    wire.require_protobuf({"user-agent": agent, "content-type": "application/x-protobuf"})
    with pytest.raises(ValueError, match=f"tinker {version} sends" if version else "this request is"):
        wire.require_protobuf({"user-agent": agent, "content-type": "application/json; charset=utf-8"})
