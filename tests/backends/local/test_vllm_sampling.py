"""Sampling through an engine outside: the same tokens, log-probabilities and stops; what fails is a sentence."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tinker import types

from backends.interface import BackendError
from backends.local import vllm_client
from backends.local.preflight import check_local
from backends.options import LocalOptions
from tests.backends.local.test_sampling import PROMPTS, ids, params
from tests.support.datums import random_datums
from tests.support.fake_vllm import FakeVllm, serving


@pytest.fixture
def fake(tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeVllm]:
    monkeypatch.setattr(vllm_client, "RETRY_DELAYS", (0.01, 0.01))
    with serving(FakeVllm(tiny_model)) as started:
        yield started


@pytest.fixture
def clients(open_local: Any, fake: FakeVllm, tiny_model: str) -> Callable[..., tuple[Any, Any, Any]]:
    """A training client after a step, and its sampling clients: outside, and here by the same weights."""

    def make(**options: Any) -> tuple[Any, Any, Any]:
        service = open_local(sampler=fake.url, **options)
        training = service.create_lora_training_client(tiny_model, rank=4, seed=1, train_unembed=False).result()
        _step(training)
        outside = training.save_weights_and_get_sampling_client().result()
        path = training.save_weights_for_sampler("same").result().path
        here = open_local().create_sampling_client(path).result()
        return training, outside, here

    return make


def _step(training: Any) -> None:
    training.forward_backward(random_datums(4, 600, seed=0), "cross_entropy")
    training.optim_step(types.AdamParams(learning_rate=0.05, eps=1e-8)).result()


def _sampled(client: Any, prompt: list[int], count: int = 1, **values: Any) -> list[types.SampledSequence]:
    return client.sample(ids(prompt), count, params(**values)).result().sequences


def test_greedy_answers_are_ours(clients: Any, fake: FakeVllm, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "text2sql.local"):
        _, outside, here = clients()
        futures = [(p, outside.sample(ids(p), 1, params())) for p in PROMPTS]
        for prompt, future in futures:
            theirs, ours = future.result().sequences[0], _sampled(here, prompt)[0]
            assert theirs.tokens == ours.tokens and theirs.stop_reason == ours.stop_reason == "length"
            np.testing.assert_allclose(theirs.logprobs, ours.logprobs, atol=1e-4)
    # One comparison for all, and one for each prompt; the weights were given once.
    assert len(fake.completions) == len(PROMPTS) + 1 and len(fake.adapters) == 1
    assert "nats from ours in the mean of 16 tokens" in caplog.text


def test_the_difference_is_on_record(clients: Any, open_local: Any, fake: FakeVllm, tiny_model: str) -> None:
    service = open_local(sampler=f"{fake.url}/v1/")
    client = service.create_sampling_client(base_model=tiny_model).result()
    _sampled(client, PROMPTS[0])
    address, difference = service.describe().sampler
    assert address == fake.url and 0 < difference < 1e-4
    assert not fake.adapters and fake.completions[0]["model"] == "base"


def test_samples_come_with_their_own_logprobs_and_seeds_repeat(clients: Any, fake: FakeVllm) -> None:
    _, outside, here = clients()
    first, again = (_sampled(outside, PROMPTS[0], 3, temperature=1.0, seed=5) for _ in range(2))
    assert [s.tokens for s in first] == [s.tokens for s in again]
    assert len({tuple(s.tokens) for s in first}) == 3
    for sequence in first:
        scored = here.compute_logprobs(ids([*PROMPTS[0], *sequence.tokens])).result()[len(PROMPTS[0]) :]
        np.testing.assert_allclose(sequence.logprobs, scored, atol=1e-4)
    assert len(_sampled(outside, PROMPTS[1], 2)) == 2


def test_stops_and_limits_mean_the_same(clients: Any, tiny_tokenizer: Any) -> None:
    _, outside, here = clients()
    wholes = [(prompt, _sampled(here, prompt, max_tokens=30)[0].tokens) for prompt in PROMPTS]
    # Part of a character is written in more than one way.
    found = [(p, whole, tiny_tokenizer.decode([token]).strip()) for p, whole in wholes for token in whole[4:]]
    prompt, whole, text = next(item for item in found if item[2] and item[2].isascii())
    for stop in ([text], [whole[4]], text, None, [text, "never"]):
        theirs, ours = (_sampled(client, prompt, max_tokens=30, stop=stop)[0] for client in (outside, here))
        assert (theirs.tokens, theirs.stop_reason) == (ours.tokens, ours.stop_reason), stop
    assert _sampled(outside, prompt, max_tokens=30, stop=[text])[0].stop_reason == "stop"
    with pytest.raises(ValueError, match="token id outside"):
        outside.sample(ids([10**6]), 1, params()).result()


def test_a_snapshot_stays_what_it_was_and_goes_with_its_client(clients: Any, fake: FakeVllm) -> None:
    training, outside, here = clients()
    before = _sampled(outside, PROMPTS[0])[0].tokens
    _step(training)
    later = training.save_weights_and_get_sampling_client().result()
    after = _sampled(later, PROMPTS[0])[0].logprobs
    assert _sampled(outside, PROMPTS[0])[0].tokens == before == _sampled(here, PROMPTS[0])[0].tokens
    assert not np.allclose(after, _sampled(here, PROMPTS[0])[0].logprobs) and len(fake.adapters) == 2
    places = [Path(place) for place in fake.adapters.values()]
    del outside, later
    gc.collect()
    assert not fake.adapters and not any(place.exists() for place in places)


def test_what_an_engine_counts_otherwise_is_computed_here(clients: Any, fake: FakeVllm) -> None:
    _, outside, here = clients()
    assert outside.compute_logprobs(ids(PROMPTS[1])).result()[1:] == pytest.approx(
        here.compute_logprobs(ids(PROMPTS[1])).result()[1:], abs=1e-5
    )
    for values in ({"top_k": 3, "temperature": 1.0, "seed": 1}, {"top_p": 0.5, "temperature": 1.0, "seed": 1}):
        assert _sampled(outside, PROMPTS[1], **values)[0].tokens == _sampled(here, PROMPTS[1], **values)[0].tokens
    assert list(outside.stream(ids(PROMPTS[1]), params())) == _sampled(here, PROMPTS[1])[0].tokens
    assert not fake.completions


def test_logprobs_before_temperature_are_refused_where_it_matters(clients: Any, fake: FakeVllm) -> None:
    fake.raw_logprobs = True
    _, outside, _ = clients()
    with pytest.raises(BackendError, match=r"before temperature, and temperature 0\.5 .*processed_logprobs"):
        _sampled(outside, PROMPTS[0], temperature=0.5)
    fake.raw_logprobs = False
    assert len(_sampled(outside, PROMPTS[0], temperature=0.5)) == 1


def test_a_temperature_that_comes_later_is_checked_too(clients: Any, fake: FakeVllm) -> None:
    fake.raw_logprobs = True
    _, outside, _ = clients()
    _sampled(outside, PROMPTS[0], temperature=1.0)
    with pytest.raises(BackendError, match="before temperature"):
        _sampled(outside, PROMPTS[0], temperature=0.5)


def test_an_engine_that_stumbles_or_was_started_again_goes_on(clients: Any, fake: FakeVllm) -> None:
    _, outside, here = clients()
    ours = _sampled(here, PROMPTS[0])[0].tokens
    assert _sampled(outside, PROMPTS[0])[0].tokens == ours
    fake.busy = 2
    assert _sampled(outside, PROMPTS[0])[0].tokens == ours
    fake.restart()
    assert _sampled(outside, PROMPTS[0])[0].tokens == ours


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"dynamic": False}, r"loads no adapters while it runs.*VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, --enable-lora"),
        ({"max_rank": 2}, r"does not take the adapter \(500: LoRA rank 4 is greater.*--max-lora-rank 4 or more"),
        ({"token_ids": False}, r"gives no token ids with their log-probabilities.*return_token_ids"),
        ({"max_length": 24}, r"refuses a prompt of 20 tokens with 16 to come \(400: .*maximum context.*max-model-len"),
        ({"busy": 10}, r"nobody answers at http://127\.0\.0\.1.*nothing that was sampled before is lost"),
    ],
)
def test_what_an_engine_will_not_do_is_one_sentence(
    clients: Any, fake: FakeVllm, fault: dict[str, Any], message: str
) -> None:
    _, outside, _ = clients()
    for name, value in fault.items():
        setattr(fake, name, value)
    with pytest.raises(BackendError, match=message):
        _sampled(outside, PROMPTS[1])


def test_calls_that_wait_together_hear_of_a_failure_once(clients: Any, fake: FakeVllm) -> None:
    _, outside, _ = clients()
    fake.max_rank = 2
    futures = [outside.sample(ids(prompt), 1, params()) for prompt in PROMPTS * 4]
    for future in futures:
        with pytest.raises(BackendError, match="does not take the adapter"):
            future.result()
    asked = fake.refused
    assert asked < len(futures)
    fake.max_rank = 64
    assert _sampled(outside, PROMPTS[0])


def test_another_model_behind_the_address(open_local: Any, make_tiny_model: Any, tiny_model: str) -> None:
    with serving(FakeVllm(str(make_tiny_model(seed=7)))) as stranger:
        client = open_local(sampler=stranger.url).create_sampling_client(base_model=tiny_model).result()
        with pytest.raises(BackendError, match=r"has another model than .*it serves base, whose .* nats from ours"):
            _sampled(client, PROMPTS[0])


def test_another_tokenizer_behind_the_address(open_local: Any, fake: FakeVllm, tiny_model: str) -> None:
    class Shouting:
        eos_token_id = None

        def decode(self, tokens: list[int], **options: Any) -> str:
            return " ".join(f"<{token}>" for token in tokens)

    fake.tokenizer = Shouting()
    client = open_local(sampler=fake.url).create_sampling_client(base_model=tiny_model).result()
    with pytest.raises(BackendError, match="has another tokenizer than"):
        _sampled(client, PROMPTS[0])


def test_a_directory_that_cannot_be_written(clients: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    _, outside, _ = clients(sampler_directory=str(tmp_path / "file" / "adapters"))
    with pytest.raises(BackendError, match=r"local\.sampler_directory: the adapter cannot be written"):
        _sampled(outside, PROMPTS[0])


def test_adapters_are_written_where_the_engine_reads(clients: Any, fake: FakeVllm, tmp_path: Path) -> None:
    _, outside, _ = clients(sampler_directory=str(tmp_path / "adapters"))
    _sampled(outside, PROMPTS[0])
    (place,) = map(Path, fake.adapters.values())
    assert place.parent == tmp_path / "adapters" and (place / "adapter_model.safetensors").is_file()


def test_an_engine_that_is_down_is_found_before_a_run(
    fake: FakeVllm, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_local(LocalOptions(sampler=fake.url), tiny_model)
    fake.busy = 100
    with pytest.raises(BackendError, match="nobody answers at"):
        check_local(LocalOptions(sampler=fake.url), tiny_model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "localhost:8000"}, "must be an address such as"),
        ({"sampler": "http://user:secret@host"}, "must hold no password"),
        ({"sampler": "http://a", "dora": True}, "sampler cannot be had with dora"),
        ({"sampler": "http://a", "method": "full"}, "sampler is about adapters"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LocalOptions(**options)
