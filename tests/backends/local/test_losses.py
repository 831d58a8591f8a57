"""Each loss against its formula, written out in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tinker import types

from backends.losses import LOSSES, Loss, find_loss

RNG = np.random.default_rng(3)
LENGTH = 14
IDS = RNG.integers(0, 600, LENGTH + 1)
ADVANTAGES = np.where(RNG.uniform(size=LENGTH) < 0.4, 0, RNG.normal(size=LENGTH)).astype(np.float32)
NOISE = RNG.normal(scale=0.8, size=LENGTH).astype(np.float32)


def clip(ratio: Any, low: Any, high: Any) -> Any:
    return np.minimum(np.maximum(ratio, low), high)


FORMULAS = {
    "importance_sampling": lambda lp, q, a, c: -np.exp(lp - q) * a,
    "ppo": lambda lp, q, a, c: (
        -np.minimum(
            np.exp(lp - q) * a,
            clip(np.exp(lp - q), c.get("clip_low_threshold", 0.8), c.get("clip_high_threshold", 1.2)) * a,
        )
    ),
    "cispo": lambda lp, q, a, c: (
        -(clip(np.exp(lp - q), c.get("clip_low_threshold", 0), c.get("clip_high_threshold", 4)) * lp * a)
    ),
    "dro": lambda lp, q, a, c: -(lp * a - 0.5 * c.get("beta", 0.05) * (lp - q) ** 2),
}


@pytest.fixture
def client(open_local: Any, tiny_model: str) -> Any:
    return open_local().create_lora_training_client(tiny_model, rank=4, seed=2).result()


def datum(inputs: dict[str, np.ndarray]) -> types.Datum:
    arrays = {"target_tokens": IDS[1:], **inputs}
    return types.Datum(
        model_input=types.ModelInput.from_ints(IDS[:-1].tolist()),
        loss_fn_inputs={name: types.TensorData.from_numpy(array) for name, array in arrays.items()},
    )


def logprobs(client: Any) -> np.ndarray:
    output = client.forward([datum({})], "cross_entropy").result()
    return output.loss_fn_outputs[0]["logprobs"].to_numpy().astype(np.float64)


CLIPS = {"clip_low_threshold": 0.5, "clip_high_threshold": 1.7}


@pytest.mark.parametrize(
    ("name", "config"),
    [*((name, {}) for name in FORMULAS), ("ppo", CLIPS), ("cispo", CLIPS), ("dro", {"beta": 0.3})],
)
def test_value_is_the_formula(client: Any, name: str, config: dict[str, float]) -> None:
    lp = logprobs(client)
    q = (lp + NOISE).astype(np.float32)
    output = client.forward_backward([datum({"logprobs": q, "advantages": ADVANTAGES})], name, config).result()
    assert output.metrics["loss:sum"] == pytest.approx(FORMULAS[name](lp, q, ADVANTAGES, config).sum(), rel=1e-4)


@pytest.mark.parametrize("name", ["ppo", "cispo"])
def test_thresholds_of_each_token_go_before_the_calls(client: Any, name: str) -> None:
    lp = logprobs(client)
    low, high = np.full(LENGTH, 0.6, np.float32), RNG.uniform(1.1, 2, LENGTH).astype(np.float32)
    inputs = {
        "logprobs": (lp + NOISE).astype(np.float32),
        "advantages": ADVANTAGES,
        "clip_low_threshold": low,
        "clip_high_threshold": high,
    }
    output = client.forward([datum(inputs)], name, {"clip_high_threshold": 99}).result()
    expected = FORMULAS[name](
        lp, inputs["logprobs"], ADVANTAGES, {"clip_low_threshold": low, "clip_high_threshold": high}
    )
    assert output.metrics["loss:sum"] == pytest.approx(expected.sum(), rel=1e-4)


def test_on_policy_gradients_agree(open_local: Any, tiny_model: str) -> None:
    """At r = 1 importance sampling, PPO and CISPO all have the policy gradient: cross-entropy weighted by A."""
    norms = []
    for name in ("cross_entropy", "importance_sampling", "ppo", "cispo"):
        client = open_local().create_lora_training_client(tiny_model, rank=4, seed=2).result()
        q = logprobs(client).astype(np.float32)
        inputs = {"weights": ADVANTAGES} if name == "cross_entropy" else {"logprobs": q, "advantages": ADVANTAGES}
        client.forward_backward([datum(inputs)], name)
        norms.append(client.optim_step(types.AdamParams()).result().metrics["grad_norm:mean"])
    assert norms == pytest.approx([norms[0]] * 4, rel=1e-3)


# The slope of each loss in lp, written out.
SLOPES = {
    "importance_sampling": lambda lp, q, a: -np.exp(lp - q) * a,
    "ppo": lambda lp, q, a: np.where(np.exp(lp - q) * a <= clip(np.exp(lp - q), 0.8, 1.2) * a, -np.exp(lp - q) * a, 0),
    "cispo": lambda lp, q, a: -clip(np.exp(lp - q), 0, 4) * a,
    "dro": lambda lp, q, a: -(a - 0.05 * (lp - q)),
    "reinforce_kl": lambda lp, q, a: -(a - 0.01 * (lp - q)),
}


@pytest.mark.parametrize("name", SLOPES)
def test_off_policy_gradient_is_the_formulas(name: str) -> None:
    """Ratios far from 1 on both sides, so that clips bind; through lp all gradients go."""
    lp, q, a = (RNG.normal(scale=1.5, size=200) for _ in range(3))
    current = torch.tensor(lp, requires_grad=True)
    inputs = {"logprobs": torch.tensor(q), "advantages": torch.tensor(a)}
    (slope,) = torch.autograd.grad(find_loss(name).formula(current, inputs, LOSSES[name].complete({})).sum(), current)
    np.testing.assert_allclose(slope.numpy(), SLOPES[name](lp, q, a), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("masked", [False, True])
def test_gspo_is_the_papers(masked: bool) -> None:
    """Sequences of 3, 5 and 4 positions, one of them clipped; each written out by itself."""
    lengths, low, high = (3, 5, 4), 0.8, 1.3
    lp, q = (RNG.normal(scale=0.4, size=12) for _ in range(2))
    a = np.repeat([1.5, -0.7, 0.4], lengths)
    lp[8:] += 1.0
    mask = (RNG.random(12) < 0.7).astype(float) if masked else np.ones(12)
    expected, slope = np.zeros(12), np.zeros(12)
    for start, length in zip((0, 3, 8), lengths, strict=True):
        at = slice(start, start + length)
        count = mask[at].sum()
        ratio = np.exp(((lp - q)[at] * mask[at]).sum() / count)
        expected[at] = -np.minimum(ratio * a[at], np.clip(ratio, low, high) * a[at])
        binds = ratio * a[start] > np.clip(ratio, low, high) * a[start]
        slope[at] = 0.0 if binds else -length * a[start] * ratio * mask[at] / count
    current = torch.tensor(lp[:, None], requires_grad=True)
    inputs = {"logprobs": torch.tensor(q[:, None]), "advantages": torch.tensor(a[:, None])}
    inputs |= {"sequence_ratio_mask": torch.tensor(mask[:, None])} if masked else {}
    inputs["sequence"] = torch.tensor(np.repeat([0, 1, 2], lengths))
    settings = {"clip_low_threshold": low, "clip_high_threshold": high}
    loss = find_loss("gspo").formula(current, inputs, settings)
    (found,) = torch.autograd.grad(loss.sum(), current)
    np.testing.assert_allclose(loss.detach().numpy()[:, 0], expected, rtol=1e-9)
    np.testing.assert_allclose(found.numpy()[:, 0], slope, rtol=1e-9, atol=1e-12)
    assert (slope == 0).any()


def test_gspo_does_not_depend_on_what_stands_beside(client: Any) -> None:
    data = [datum({"logprobs": NOISE * scale, "advantages": ADVANTAGES}) for scale in (1.0, 0.5, 2.0)]
    together = client.forward(data, "gspo").result().metrics["loss:sum"]
    alone = sum(client.forward([each], "gspo").result().metrics["loss:sum"] for each in data)
    assert together == pytest.approx(alone, rel=1e-5)


def test_missing_weights_are_ones(client: Any) -> None:
    ones = client.forward([datum({"weights": np.ones(LENGTH, np.float32)})], "cross_entropy").result()
    none = client.forward([datum({})], "cross_entropy").result()
    assert none.metrics == ones.metrics


@pytest.mark.parametrize("name", ["stable_reinforce", "custom", "nonsense"])
def test_what_is_not_available_says_why(client: Any, name: str) -> None:
    with pytest.raises(ValueError, match=r"not available.*Available: cross_entropy"):
        client.forward([datum({})], name)


def _sparse(columns: list[int], shape: list[int]) -> types.TensorData:
    rows = [0] + [len(columns)] * shape[0]
    return types.TensorData(
        data=columns, dtype="int64", shape=shape, sparse_crow_indices=rows, sparse_col_indices=columns
    )


BAD: dict[str, Any] = {
    "no data": ([], "No data provided"),
    "length": ([datum({"target_tokens": IDS[:5]})], "target_tokens of shape"),
    "weights": ([datum({"weights": np.ones(3, np.float32)})], "weights of shape"),
    "nan": ([datum({"weights": np.full(LENGTH, np.nan, np.float32)})], "not finite"),
    "target id": ([datum({"target_tokens": IDS[1:] + 10**8})], "outside 0..599"),
    "float targets": ([datum({"target_tokens": IDS[1:].astype(np.float32)})], "target_tokens of type float32"),
    "negative target": ([datum({"target_tokens": IDS[1:] * 0 - 100})], "target_tokens outside 0..599"),
    "no targets": ([datum({"target_tokens": np.ones((LENGTH, 0), np.int64)})], "target_tokens of shape"),
    "one number": (
        [datum({"target_tokens": np.array(1)})],
        "target_tokens of shape",
    ),
    "infinite": ([datum({"weights": np.full(LENGTH, np.inf, np.float32)})], "weights that is not finite"),
    "no tensor of that shape": (
        [types.Datum(datum({}).model_input, {"target_tokens": _sparse([9], [LENGTH, 2])})],
        "target_tokens that is no sparse tensor",
    ),
    "input id beyond 64 bits": (
        [types.Datum(model_input=types.ModelInput.from_ints([2**70]), loss_fn_inputs={"target_tokens": [1]})],
        "model_input outside 0..599",
    ),
    "no datum": ([{"target_tokens": [1]}], "Datum 0 is of type dict"),
    "second": ([datum({}), datum({"target_tokens": IDS[1:] + 10**8})], "Datum 1"),
    "empty": ([types.Datum(model_input=types.ModelInput.empty(), loss_fn_inputs={"target_tokens": []})], "0 tokens"),
    "long": (
        [types.Datum(model_input=types.ModelInput.from_ints([1] * 513), loss_fn_inputs={"target_tokens": [1] * 513})],
        "513",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_is_refused_by_place(client: Any, case: str) -> None:
    data, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        client.forward_backward(data, "cross_entropy")
    # No part of it counts, and the client goes on.
    with pytest.raises(ValueError, match="no gradient has accumulated"):
        client.optim_step(types.AdamParams()).result()
    assert client.forward([datum({})], "cross_entropy").result()


INPUTS = {"logprobs": NOISE, "advantages": ADVANTAGES, "weights": np.ones(LENGTH, np.float32)}


@pytest.mark.parametrize("name", LOSSES)
def test_a_missing_input_is_named(client: Any, name: str) -> None:
    for missing in ("target_tokens", *LOSSES[name].required):
        given = datum({other: INPUTS[other] for other in LOSSES[name].required})
        del given.loss_fn_inputs[missing]
        with pytest.raises(ValueError, match=f"Datum 0 lacks the loss input '{missing}', which {name} needs"):
            client.forward_backward([given], name)


@pytest.mark.parametrize("value", [True, None, "0.8", float("nan")])
def test_a_setting_is_a_finite_number(client: Any, value: Any) -> None:
    given = datum({name: INPUTS[name] for name in ("logprobs", "advantages")})
    with pytest.raises(ValueError, match=r"clip_low_threshold=.*finite number"):
        client.forward_backward([given], "ppo", {"clip_low_threshold": value})
    with pytest.raises(ValueError, match=r"clip_low_threshold=2 above clip_high_threshold=1\.2"):
        client.forward_backward([given], "ppo", {"clip_low_threshold": 2})


@pytest.mark.parametrize("name", LOSSES)
def test_an_input_that_no_loss_takes_is_refused_by_name(client: Any, name: str) -> None:
    """`weight` for `weights` would train on the whole prompt, in silence."""
    given = {other: INPUTS[other] for other in LOSSES[name].required}
    data = [datum(given), datum({**given, "weight": np.ones(LENGTH, np.float32)})]
    hint = f"Did you mean 'weights'. {name} takes {', '.join(('target_tokens', *LOSSES[name].inputs))}"
    for call in (client.forward, client.forward_backward):
        with pytest.raises(ValueError, match=f"Datum 1 has the loss input 'weight', which no loss takes. {hint}"):
            call(data, name)


@pytest.mark.parametrize("name", LOSSES)
def test_an_input_of_another_loss_has_no_effect(client: Any, name: str) -> None:
    """Programs pass one list of data to several losses: rollouts to cross_entropy, or a mask that gspo takes."""
    own = {other: INPUTS[other] for other in LOSSES[name].required}
    others = {other: array for other, array in INPUTS.items() if other not in LOSSES[name].inputs}
    mask = {"sequence_ratio_mask": np.ones(LENGTH, np.float32)} if name != "gspo" else {}
    plain = client.forward([datum(own)], name).result().metrics
    assert client.forward([datum({**own, **others, **mask})], name).result().metrics == plain


def test_a_new_loss_is_one_entry(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its inputs, default, scored positions and settings are used without another change."""
    cubed = Loss(
        "cubed",
        lambda lp, inputs, settings: settings["scale"] * inputs["share"] * lp**3,
        optional={"share": 1.0},
        scored_by="share",
        settings={"scale": 2.0},
    )
    monkeypatch.setitem(LOSSES, "cubed", cubed)
    lp, share = logprobs(client), (ADVANTAGES != 0).astype(np.float32)
    whole = client.forward_backward([datum({})], "cubed").result().metrics["loss:sum"]
    part = client.forward_backward([datum({"share": share})], "cubed", {"scale": 3}).result()
    assert whole == pytest.approx((2 * lp**3).sum(), rel=1e-4)
    assert part.metrics["loss:sum"] == pytest.approx((3 * share * lp**3).sum(), rel=1e-4)
    assert (part.loss_fn_outputs[0]["logprobs"].to_numpy() != 0).tolist() == (share != 0).tolist()
    with pytest.raises(ValueError, match="Did you mean 'share'"):
        client.forward([datum({"shares": share})], "cubed")
