"""What decoding holds of keys and values: never more than there is memory for, and what was predicted."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from backends.local.decode import decoder
from backends.planning.decode_plan import first_batch_positions
from tests.support.sampling import greedy_by_hand, ids, params, some


class Watched:
    """What the decoders hold after every step.

    Attributes:
        limit: Columns that there is memory for.
        most: The columns held at the worst moment.
        together: Sequences that were decoded at once.
    """

    def __init__(self, model: Any) -> None:
        config = model.config
        self._column = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
        self.limit, self.most, self.together = 10**6, 0, 0

    def memory(self) -> SimpleNamespace:
        """Of which one half may be used."""
        return SimpleNamespace(available=2 * self.limit * self._column)

    def note(self, held: decoder.Decoder) -> None:
        rows = [row for row in held._rows if row is not None]
        prefixes = {id(prefix): prefix for row in rows for prefix in row.prefixes}.values()
        tensors = [t for prefix in prefixes for pair in prefix.kv for t in pair]
        if rows:
            tensors += [t for layer in held._layers for t in (layer.key_buffer, layer.value_buffer)]
        self.most = max(self.most, sum(tensor.nbytes for tensor in tensors) // self._column)
        self.together = max(self.together, len(rows))


@pytest.fixture
def watched(model: Any, monkeypatch: pytest.MonkeyPatch) -> Watched:
    found = Watched(model)

    def watch(real: Callable[..., Any]) -> Callable[..., Iterator[None]]:
        def steps(self: decoder.Decoder, *arguments: Any) -> Any:
            work = real(self, *arguments)
            while True:
                try:
                    next(work)
                except StopIteration as end:
                    found.note(self)
                    return end.value
                found.note(self)
                yield

        return steps

    for name in ("admit", "step"):
        monkeypatch.setattr(decoder.Decoder, name, watch(getattr(decoder.Decoder, name)))
    monkeypatch.setattr("psutil.virtual_memory", found.memory)
    return found


SHARING = [some(100, 0) + some(5, 1 + k) for k in range(12)]
APART = [some(105, 20 + k) for k in range(12)]


@pytest.mark.parametrize(("prompts", "together"), [(SHARING, 12), (APART, 5)])
def test_as_many_are_decoded_together_as_memory_has_room_for(
    open_local: Any, tiny_model: str, model: Any, watched: Watched, prompts: list[list[int]], together: int
) -> None:
    """Twelve copies of 105 tokens with answers of 9 take 1,356 columns, a beginning held once and the rest 256."""
    watched.limit = 600
    client = open_local().create_sampling_client(base_model=tiny_model).result()
    futures = [client.sample(ids(prompt), 1, params(max_tokens=9)) for prompt in prompts]
    for prompt, future in zip(prompts, futures, strict=True):
        assert future.result().sequences[0].tokens == greedy_by_hand(model, prompt, 9)
    assert watched.together == together
    assert watched.most <= watched.limit


def test_samples_of_one_prompt_count_it_once(open_local: Any, tiny_model: str, watched: Watched) -> None:
    client = open_local().create_sampling_client(base_model=tiny_model).result()
    for limit, together in ((300 + 8 * 8, 8), (300 + 8 * 8 - 1, 7)):
        watched.limit, watched.most, watched.together = limit, 0, 0
        client.sample(ids(some(300, 3)), 8, params(max_tokens=9, temperature=1, seed=1)).result()
        assert watched.together == together and watched.most <= limit


@pytest.mark.parametrize("seed", range(6))
def test_no_mixture_holds_more_than_there_is_memory_for(
    open_local: Any, tiny_model: str, watched: Watched, seed: int
) -> None:
    """Families, samples, answers of all lengths that may end early, and calls that come while others are decoded."""
    draw = random.Random(seed)
    watched.limit = draw.choice([400, 700, 1500])
    client = open_local(sample_batch_size=24).create_sampling_client(base_model=tiny_model).result()
    schemas = [some(draw.randrange(20, 150), k) for k in range(3)]

    def call() -> Any:
        prompt = draw.choice([[], *schemas]) + some(draw.randrange(1, 60), draw.randrange(10**6))
        how = params(
            max_tokens=draw.randrange(1, 100), temperature=1, seed=draw.randrange(99), stop=some(40, draw.randrange(99))
        )
        return client.call(ids(prompt), draw.randrange(1, 7), how)

    first, late = [call() for _ in range(8)], [call() for _ in range(8)]
    calls, turns = [*first, *late], iter(range(10**6))
    client.sampling_job(first, lambda room: [late.pop()] if late and next(turns) % 4 == 0 else []).run()
    assert not late and all(len(c.future.result().sequences) == c.num_samples for c in calls)
    assert watched.most <= watched.limit
    assert watched.together > 1


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize(
    ("prompts", "samples"), [(SHARING, 1), (APART[:4], 8), ([SHARING[0], *APART[:3]], 2), ([some(9, 5)], 1)]
)
def test_a_decode_holds_what_the_estimate_says(
    open_local: Any, tiny_model: str, watched: Watched, prompts: list[list[int]], samples: int, copies: bool
) -> None:
    """Answers that go on to their ends: at most what is predicted, and five sixths of it at least."""
    client = open_local(packing=False if copies else "auto").create_sampling_client(base_model=tiny_model).result()
    futures = [client.sample(ids(prompt), samples, params(max_tokens=80, temperature=1, seed=2)) for prompt in prompts]
    assert all(future.result() for future in futures)
    predicted = first_batch_positions([tuple(prompt) for prompt in prompts], samples, 80, 64, sharing=not copies)
    assert 5 / 6 * predicted <= watched.most <= predicted
