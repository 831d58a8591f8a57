"""What examples of one batch begin with is computed once, and nothing that comes out differs from separate rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tinker import types

from backends.local.model import packed_attention
from backends.local.step import forward_backward
from tests.support.datums import random_datums

VOCABULARY = 600
# Float32, sums in another order.
LOSS, GRADIENT = {"rel": 1e-5}, {"rtol": 1e-3, "atol": 1e-4}


def family(seed: int = 0) -> list[list[int]]:
    """Token sequences that begin alike on several levels: schemas, prompts on them, several answers to a prompt."""
    rng = np.random.default_rng(seed)

    def some(least: int, most: int) -> list[int]:
        return [int(i) for i in rng.integers(0, VOCABULARY, int(rng.integers(least, most)))]

    preamble = some(5, 9)
    rows = []
    for _ in range(2):
        schema = preamble + some(20, 40)
        for _ in range(2):
            prompt = schema + some(3, 25)
            answers = [some(2, 20) for _ in range(int(rng.integers(1, 4)))]
            rows += [prompt + answer for answer in answers]
            # One answer begins another, and one is given twice.
            rows += [prompt + answers[0] + some(1, 5), prompt + answers[0]]
    rows += [some(8, 30) for _ in range(4)]
    return [rows[k] for k in rng.permutation(len(rows))]


def datums(loss: str, seed: int = 0, targets: int = 1) -> list[types.Datum]:
    """A datum of each sequence, scored from anywhere on: the boundary of a beginning, its inside, single tokens."""
    rng = np.random.default_rng(seed)
    data = []
    for ids in family(seed):
        shape = (len(ids) - 1,) if targets == 1 else (len(ids) - 1, targets)
        scored = rng.normal(size=shape).astype(np.float32)
        scored[: int(rng.integers(0, len(ids) - 1))] = 0
        following = np.array(ids[1:])
        if targets > 1:
            following = np.stack([following, *rng.integers(0, VOCABULARY, (targets - 1, len(ids) - 1))], axis=1)
        inputs = {"target_tokens": following}
        if loss == "cross_entropy":
            inputs["weights"] = np.abs(scored)
        else:
            inputs |= {"advantages": scored, "logprobs": rng.normal(-6, 0.5, shape).astype(np.float32)}
        data.append(
            types.Datum(
                model_input=types.ModelInput.from_ints(ids[:-1]),
                loss_fn_inputs={name: types.TensorData.from_numpy(values) for name, values in inputs.items()},
            )
        )
    return data


class Counter:
    """Tokens that the model was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tokens, self.trees = 0, 0
        real = forward_backward.run_micro_batch

        def counted(engine: Any, model: Any, parameters: Any, batch: Any, request: Any) -> Any:
            self.tokens += batch.tokens.numel()
            self.trees += batch.tree is not None
            return real(engine, model, parameters, batch, request)

        monkeypatch.setattr(forward_backward, "run_micro_batch", counted)


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    yield Counter(monkeypatch)


def computed(
    open_local: Any, model: str, calls: list[list[types.Datum]], loss: str, lora: dict[str, Any], **options: Any
) -> tuple[list[float], list[torch.Tensor], dict[str, torch.Tensor]]:
    """Losses, log-probabilities and gradients of calls of forward_backward, of an adapter that is not zero."""
    client = open_local(**options).create_lora_training_client(model, rank=4, seed=5, **lora).result()
    client.forward_backward(random_datums(4, VOCABULARY, seed=9), "cross_entropy").result()
    # So large an eps makes the step proportional to the gradient: rounding stays rounding.
    client.optim_step(types.AdamParams(learning_rate=1.0, eps=1e3)).result()
    outputs = [client.forward_backward(data, loss).result() for data in calls]
    names = list(client.engine.weights.parameters(client.model_id))
    gradients = dict(zip(names, client._state._gradients, strict=True))
    logprobs = [record["logprobs"].to_torch() for output in outputs for record in output.loss_fn_outputs]
    return [output.metrics["loss:sum"] for output in outputs], logprobs, gradients


def assert_equal(found: Any, expected: Any) -> None:
    assert found[0] == pytest.approx(expected[0], **LOSS)
    for one, other in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    for name, gradient in expected[2].items():
        scale = float(gradient.abs().max()) or 1.0
        torch.testing.assert_close(found[2][name] / scale, gradient / scale, **GRADIENT)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"micro_batch_tokens": 60},
        {"micro_batch_tokens": 10_000},
        {"micro_batch_tokens": 1},
        {"unscored_logprobs": True},
        {"gradient_checkpointing": "on"},
        # By one mask over all tokens, as on a GPU.
        {"attention": "eager", "share_prefixes": True},
        {"packing": False, "share_prefixes": True},
    ],
    ids=["auto", "small", "large", "single rows", "every logprob", "recomputed", "eager", "masked"],
)
def test_same_numbers_as_separate_rows(open_local: Any, tiny_model: str, counter: Counter, options: Any) -> None:
    data = datums("cross_entropy")
    expected = computed(
        open_local,
        tiny_model,
        [data],
        "cross_entropy",
        {},
        share_prefixes=False,
        **{name: value for name, value in options.items() if name == "unscored_logprobs"},
    )
    separate, counter.tokens = counter.tokens, 0
    assert not counter.trees
    found = computed(open_local, tiny_model, [data], "cross_entropy", {}, **options)
    assert counter.trees
    assert counter.tokens < (0.95 if options.get("micro_batch_tokens") == 1 else 0.6) * separate
    assert_equal(found, expected)


@pytest.mark.parametrize("arithmetic", [{"matmul": "bfloat16"}, {"dtype": "bfloat16"}, {"dtype": "float16"}])
@pytest.mark.parametrize("options", [{}, {"attention": "eager", "share_prefixes": True}], ids=["auto", "masked"])
def test_sixteen_bits_share_as_well(
    open_local: Any, tiny_model: str, counter: Counter, arithmetic: Any, options: Any
) -> None:
    data = datums("cross_entropy")
    expected = computed(open_local, tiny_model, [data], "cross_entropy", {}, share_prefixes=False, **arithmetic)
    separate, counter.tokens = counter.tokens, 0
    found = computed(open_local, tiny_model, [data], "cross_entropy", {}, **arithmetic, **options)
    assert counter.trees and counter.tokens < 0.6 * separate
    assert found[0] == pytest.approx(expected[0], rel=5e-3)
    one, other = (torch.cat([gradient.flatten() for gradient in each[2].values()]) for each in (found, expected))
    assert float(torch.nn.functional.cosine_similarity(one, other, dim=0)) > 0.998


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_model_that_mixes_what_it_is_to_keep_apart_does_not_share(
    open_local: Any, tiny_model: str, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    def everything(query: Any, key: Any, value: Any, *_: Any) -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)

    monkeypatch.setattr(packed_attention._TreeAttention, "apply", everything)
    client = open_local(dtype=dtype).create_lora_training_client(tiny_model, rank=4).result()
    assert client.engine.base.packing and not client.engine.base.sharing
    # Nor does one that knows nothing of trees.
    monkeypatch.setattr(packed_attention, "_probe", lambda *_: None)
    assert not packed_attention.supports_shared_prefixes(client.engine.base.model)


@pytest.mark.parametrize("loss", ["cross_entropy", "importance_sampling", "ppo", "cispo", "dro"])
@pytest.mark.parametrize("targets", [1, 3])
def test_every_loss(open_local: Any, tiny_model: str, loss: str, targets: int) -> None:
    data = datums(loss, seed=1, targets=targets)
    found, expected = (
        computed(open_local, tiny_model, [data], loss, {}, share_prefixes=shared) for shared in (True, False)
    )
    assert_equal(found, expected)


@pytest.mark.parametrize("adapted", ["train_attn", "train_mlp", "train_unembed"])
def test_each_part_of_the_adapter_alone(open_local: Any, tiny_model: str, adapted: str) -> None:
    lora = {name: name == adapted for name in ("train_attn", "train_mlp", "train_unembed")}
    data = datums("ppo", seed=2)
    found, expected = (
        computed(open_local, tiny_model, [data], "ppo", lora, share_prefixes=shared) for shared in (True, False)
    )
    assert_equal(found, expected)


def test_calls_of_parts_add_up_to_the_whole(open_local: Any, tiny_model: str) -> None:
    data = datums("cross_entropy", seed=3)
    whole = computed(open_local, tiny_model, [data], "cross_entropy", {}, share_prefixes=False)
    parts = computed(open_local, tiny_model, [data[:7], data[7:8], data[8:]], "cross_entropy", {})
    assert_equal(([sum(parts[0])], *parts[1:]), whole)


def test_forward_alone_gives_every_log_probability(open_local: Any, tiny_model: str, counter: Counter) -> None:
    found = []
    for shared in (True, False):
        client = open_local(share_prefixes=shared).create_lora_training_client(tiny_model, rank=4, seed=5).result()
        found.append(
            [
                r["logprobs"].to_torch()
                for r in client.forward(datums("cross_entropy"), "cross_entropy").result().loss_fn_outputs
            ]
        )
    assert counter.trees
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_rows_with_noise_are_each_computed_for_themselves(open_local: Any, tiny_model: str, counter: Counter) -> None:
    computed(open_local, tiny_model, [datums("cross_entropy")], "cross_entropy", {}, neftune_alpha=5.0)
    computed(open_local, tiny_model, [datums("cross_entropy")], "cross_entropy", {}, lora_dropout=0.1)
    assert counter.tokens and not counter.trees


def test_out_of_memory_halves_the_budget_of_shared_rows_too(
    open_local: Any, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = datums("cross_entropy")
    expected = computed(open_local, tiny_model, [data], "cross_entropy", {})
    real, sizes = forward_backward.run_micro_batch, []

    def small(engine: Any, model: Any, parameters: Any, batch: Any, request: Any) -> Any:
        sizes.append(batch.tokens.numel())
        if sizes[-1] > 150:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return real(engine, model, parameters, batch, request)

    monkeypatch.setattr(forward_backward, "run_micro_batch", small)
    assert_equal(computed(open_local, tiny_model, [data], "cross_entropy", {}), expected)
    assert max(sizes) > 150 >= sizes[-1]


@pytest.mark.parametrize("heads", [(4, 4), (6, 2)])
def test_attention_over_a_tree_is_attention_under_its_mask(heads: tuple[int, int]) -> None:
    from backends.planning.prefix_tree import build_segments, sort_by_prefix

    rows = [np.array(ids) for ids in family(4)]
    order, shared = sort_by_prefix(rows)
    tree = build_segments([len(rows[k]) for k in order], shared)
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(1, tree[-1].end, h, 16).transpose(1, 2).requires_grad_() for h in (heads[0], heads[1], heads[1])
    )
    found = packed_attention.attend(torch.nn.Module(), query, key, value, None, tree=tree, scaling=0.2)[0]
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, packed_attention.tree_mask(tree, query), scale=0.2, enable_gqa=True
    ).transpose(1, 2)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(found)
    for one, other in zip(
        *(torch.autograd.grad(x, (query, key, value), weights) for x in (found, expected)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
