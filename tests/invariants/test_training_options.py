"""Each training option against the library or the formula that defines it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tinker import types

from backends import BackendError
from backends.local.step.micro_batches import MicroBatch, make_micro_batches, make_rows
from backends.local.step.noise import Noise
from backends.losses import LOSSES
from tests.support.datums import cross_entropy_datum, random_datums
from tests.support.reference import Reference

ADAM = types.AdamParams(learning_rate=2e-3, weight_decay=0.1, grad_clip_norm=0.5)
BATCHES = [random_datums(7, 600, seed=step) for step in range(4)]


def train(client: Any, batches: list[list[types.Datum]] = BATCHES) -> list[float]:
    losses = []
    for data in batches:
        losses.append(client.forward_backward(data, "cross_entropy").result().metrics["loss:sum"])
        client.optim_step(ADAM).result()
    return losses


def plain_logprobs(model: Any, datum: types.Datum) -> torch.Tensor:
    with torch.no_grad():
        rows = torch.log_softmax(model(torch.tensor([datum.model_input.to_ints()])).logits[0], -1)
    return rows.gather(1, datum.loss_fn_inputs["target_tokens"].to_torch()[:, None])[:, 0]


@pytest.mark.parametrize(
    ("options", "peft"),
    [
        ({"rslora": True}, {"use_rslora": True}),
        ({"dora": True}, {"use_dora": True}),
        ({"target_modules": ["q_proj", "v_proj"]}, {"target_modules": ["q_proj", "v_proj"]}),
    ],
    ids=["rslora", "dora", "target_modules"],
)
def test_adapter_options_equal_plain_peft(open_local: Any, tiny_model: str, options: Any, peft: Any) -> None:
    """Losses and weights of the steps; then the saved adapter in plain PEFT, and a sampling client."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    service = open_local(micro_batch_tokens=64, **options)
    client = service.create_lora_training_client(tiny_model, rank=4, seed=11).result()
    reference = Reference(tiny_model, rank=4, alpha=32, seed=11, **peft)
    losses = train(client)
    assert losses == pytest.approx([reference.step(data)[0] for data in BATCHES], rel=1e-4)
    ours, theirs = client.engine.weights.state(client.model_id), reference.state()
    assert ours.keys() == theirs.keys()
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], atol=1e-4, rtol=1e-3)
    path = client.save_weights_for_sampler("a").result().path
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    saved = PeftModel.from_pretrained(base, str(service.store.locate(path))).eval()
    datum = BATCHES[0][0]
    trained = client.forward([datum], "cross_entropy").result().loss_fn_outputs[0]["logprobs"].to_torch()
    torch.testing.assert_close(plain_logprobs(saved, datum), trained, atol=1e-4, rtol=1e-4)
    sampler = service.create_sampling_client(path).result()
    scored = sampler.compute_logprobs(datum.model_input).result()[1:]
    assert scored == pytest.approx(trained[: len(scored)].tolist(), abs=1e-4)
    again = service.create_training_client_from_state(path).result()
    assert again.forward([datum], "cross_entropy").result().loss_fn_outputs[0]["logprobs"].tolist() == trained.tolist()


def test_lora_plus_equals_pefts(open_local: Any, tiny_model: str) -> None:
    from peft.optimizers import create_loraplus_optimizer

    def optimizer(model: Any) -> torch.optim.Optimizer:
        adamw = {"betas": (0.9, 0.95), "eps": 1e-12, "loraplus_weight_decay": 0.1, "weight_decay": 0.1}
        return create_loraplus_optimizer(model, torch.optim.AdamW, lr=2e-3, loraplus_lr_ratio=8.0, **adamw)

    client = open_local(lora_plus_ratio=8).create_lora_training_client(tiny_model, rank=4, seed=11).result()
    reference = Reference(tiny_model, rank=4, alpha=32, seed=11, optimizer=optimizer)
    assert train(client) == pytest.approx([reference.step(data)[0] for data in BATCHES], rel=1e-5)
    ours, theirs = client.engine.weights.state(client.model_id), reference.state()
    for key in ours:
        torch.testing.assert_close(ours[key], theirs[key], atol=2e-5, rtol=1e-4)


def micro_batch(*lengths: int, packing: bool = False) -> MicroBatch:
    data = [cross_entropy_datum(np.arange(n + 1), np.ones(n)) for n in lengths]
    rows = make_rows(data, LOSSES["cross_entropy"], 600, 512)
    return make_micro_batches(rows, 10_000, score_all=True, device=torch.device("cpu"), packing=packing)[0]


def test_neftune_noise_is_the_papers() -> None:
    """Uniform in ±alpha / sqrt(L D), a function of its place alone, nothing on padding, the same when packed."""
    noise = Noise((1, 2, 0), neftune_alpha=5.0)
    like = torch.zeros(1, 1, 64)
    made = noise.embedding_noise(micro_batch(300, 40), like)
    assert made.shape == (2, 300, 64)
    for place, length in ((0, 300), (1, 40)):
        bound = 5.0 / math.sqrt(length * 64)
        own = made[place, :length]
        assert 0.99 * bound < float(own.abs().max()) <= bound
        assert float(own.std()) == pytest.approx(bound / math.sqrt(3), rel=0.03)
        assert abs(float(own.mean())) < 0.05 * bound
    assert not made[1, 40:].any()
    packed = noise.embedding_noise(micro_batch(300, 40, packing=True), like)
    assert torch.equal(packed, torch.cat([made[0], made[1, :40]])[None])
    assert torch.equal(noise.embedding_noise(micro_batch(300), like)[0], made[0])
    assert not torch.equal(Noise((1, 3, 0), 5.0).embedding_noise(micro_batch(300), like)[0], made[0])


def test_neftune_trains_on_the_noisy_embeddings(open_local: Any, tiny_model: str) -> None:
    client = open_local(neftune_alpha=5).create_lora_training_client(tiny_model, rank=4, seed=3).result()
    data = BATCHES[0]
    reference = Reference(tiny_model, rank=4, alpha=32, seed=3)
    expected = 0.0
    for row in make_rows(data, LOSSES["cross_entropy"], 600, 512):
        embedded = reference.model.get_input_embeddings()(row.tokens[None])
        alone = make_micro_batches([row], 10_000, score_all=True, device=torch.device("cpu"))[0]
        noise = Noise((3, 0, 0), 5.0).embedding_noise(alone, embedded)
        lp = torch.log_softmax(reference.model(inputs_embeds=embedded + noise).logits[0], -1)
        expected -= float((row.inputs["weights"] * lp.gather(1, row.targets)).sum().detach())
    clean = client.forward(data, "cross_entropy").result().metrics["loss:sum"]
    noisy = client.forward_backward(data, "cross_entropy").result().metrics["loss:sum"]
    assert noisy == pytest.approx(expected, rel=1e-5)
    assert clean == pytest.approx(float(reference.loss(data).detach()), rel=1e-5)
    assert clean != pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "options",
    [{}, {"gradient_checkpointing": "on"}, {"dora": True}, {"method": "full"}, {"neftune_alpha": 5.0}],
    ids=["lora", "recomputed", "dora", "full", "neftune"],
)
def test_packed_rows_do_not_see_each_other(open_local: Any, tiny_model: str, options: dict[str, Any]) -> None:
    """Losses, log-probabilities and weights of rows end to end, as they are where rows are padded, or alone."""
    found = []
    for packing, tokens in (("auto", 128), (False, 128), (True, 100_000), ("auto", 1)):
        service = open_local(packing=packing, micro_batch_tokens=tokens, **options)
        client = service.create_lora_training_client(tiny_model, rank=4, seed=3).result()
        losses = train(client)
        scored = client.forward(BATCHES[0], "cross_entropy").result().loss_fn_outputs
        found.append((losses, torch.cat([row["logprobs"].to_torch() for row in scored])))
    for losses, logprobs in found[1:]:
        assert losses == pytest.approx(found[0][0], rel=1e-5)
        torch.testing.assert_close(logprobs, found[0][1], rtol=1e-4, atol=1e-4)


def test_rows_are_padded_where_attention_has_a_window(open_local: Any, tiny_model: str, tmp_path: Path) -> None:
    """Row by row, attention would look past the window."""
    from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=600, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_positiembedding_noise=512, sliding_window=4,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(tmp_path)
    client = open_local().create_lora_training_client(str(tmp_path), rank=4, seed=3).result()
    reference = Reference(str(tmp_path), rank=4, alpha=32, seed=3)
    expected = float(reference.loss(BATCHES[0]).detach())
    assert client.forward(BATCHES[0], "cross_entropy").result().metrics["loss:sum"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(BackendError, match="has a window"):
        open_local(packing=True).create_lora_training_client(str(tmp_path), rank=4).result()


def test_packing_needs_a_kernel_and_liger_a_gpu(open_local: Any, tiny_model: str) -> None:
    eager = {"packing": True, "attention": "eager"}
    for options, message in ((eager, "flash_attention_2"), ({"liger": True}, "CUDA GPU, not cpu")):
        with pytest.raises(BackendError, match=message):
            open_local(**options).create_lora_training_client(tiny_model, rank=4).result()


@pytest.mark.slow
def test_compiled_training_equals_plain(open_local: Any, tiny_model: str) -> None:
    losses = [
        train(open_local(compile=compile_).create_lora_training_client(tiny_model, rank=4, seed=3).result())
        for compile_ in (False, True)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{"liger": True}, {"attention": "flash_attention_2", "packing": True}])
def test_kernels_of_the_gpu_follow_the_plain_step(tiny_model: str, options: dict[str, Any]) -> None:
    pytest.importorskip("liger_kernel" if "liger" in options else "flash_attn")
    from backends import open_backend
    from backends.options import LocalOptions

    losses = []
    for chosen in ({}, options):
        service = open_backend("local", LocalOptions(device="cuda", dtype="bfloat16", **chosen))
        losses.append(train(service.create_lora_training_client(tiny_model, rank=4, seed=3).result()))
        service.close()
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.parametrize("options", [{"neftune_alpha": 5.0}, {"lora_dropout": 0.2}], ids=["neftune", "dropout"])
def test_noise_is_the_same_after_a_resume(open_local: Any, tiny_model: str, options: Any) -> None:
    straight = train(open_local(**options).create_lora_training_client(tiny_model, rank=4, seed=3).result())
    first = open_local(**options)
    client = first.create_lora_training_client(tiny_model, rank=4, seed=3).result()
    losses = train(client, BATCHES[:2])
    path = client.save_state("half").result().path
    again = open_local(**options).create_training_client_from_state_with_optimizer(path).result()
    assert losses + train(again, BATCHES[2:]) == straight


def test_dropout_is_for_training_alone(open_local: Any, tiny_model: str) -> None:
    client = open_local(lora_dropout=0.5).create_lora_training_client(tiny_model, rank=4, seed=3).result()
    plain = open_local().create_lora_training_client(tiny_model, rank=4, seed=3).result()
    for each in (client, plain):
        train(each, BATCHES[:1])
    data = BATCHES[1]
    training = [client.forward_backward(data, "cross_entropy").result().metrics["loss:sum"] for _ in range(2)]
    scoring = [client.forward(data, "cross_entropy").result().metrics["loss:sum"] for _ in range(2)]
    assert training[0] != training[1]
    assert scoring[0] == scoring[1]
    assert scoring[0] not in training


def test_eight_bit_adamw_follows_and_resumes(open_local: Any, tiny_model: str) -> None:
    """Near the exact AdamW, by way of bitsandbytes; resumed as if never interrupted; refused for the other's state."""
    pytest.importorskip("bitsandbytes")
    options = {"optimizer": "paged_adamw_8bit"}
    exact = open_local().create_lora_training_client(tiny_model, rank=64, seed=3).result()
    expected = train(exact)
    service = open_local(**options)
    straight = service.create_lora_training_client(tiny_model, rank=64, seed=3).result()
    losses = train(straight)
    assert losses == pytest.approx(expected, rel=0.02)
    assert losses[1:] != expected[1:]
    client = service.create_lora_training_client(tiny_model, rank=64, seed=3).result()
    train(client, BATCHES[:2])
    path = client.save_state("half").result().path
    again = open_local(**options).create_training_client_from_state_with_optimizer(path).result()
    assert train(again, BATCHES[2:]) == pytest.approx(losses[2:], rel=1e-6)
    with pytest.raises(BackendError, match=r"another local\.optimizer"):
        open_local().create_training_client_from_state_with_optimizer(path).result()


class FullReference:
    """Hugging Face and torch: every weight by AdamW."""

    def __init__(self, directory: str) -> None:
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        self.adamw = torch.optim.AdamW(self.model.parameters(), lr=2e-3, betas=(0.9, 0.95), eps=1e-12, weight_decay=0.1)

    def step(self, data: list[types.Datum]) -> float:
        total = torch.zeros(())
        for datum in data:
            rows = torch.log_softmax(self.model(torch.tensor([datum.model_input.to_ints()])).logits[0], -1)
            lp = rows.gather(1, datum.loss_fn_inputs["target_tokens"].to_torch()[:, None])[:, 0]
            total = total - (datum.loss_fn_inputs["weights"].to_torch() * lp).sum()
        self.adamw.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)
        self.adamw.step()
        return float(total.detach())


@pytest.mark.parametrize("tied", [True, False])
def test_full_fine_tuning_equals_plain_adamw(open_local: Any, make_tiny_model: Any, tied: bool) -> None:
    directory = str(make_tiny_model(tied=tied))
    client = open_local(method="full", micro_batch_tokens=64).create_lora_training_client(directory, seed=0).result()
    reference = FullReference(directory)
    assert train(client) == pytest.approx([reference.step(data) for data in BATCHES], rel=1e-5)
    ours = client.engine.weights.state(client.model_id)
    for key, parameter in reference.model.named_parameters():
        torch.testing.assert_close(ours[key], parameter.detach(), atol=1e-4, rtol=1e-3)
    assert client.get_info().is_lora is False


def test_full_checkpoints_are_models(open_local: Any, tiny_model: str) -> None:
    """An ordinary Hugging Face directory; resumed to the digit; a snapshot that training does not move."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    service = open_local(method="full")
    client = service.create_lora_training_client(tiny_model, seed=0).result()
    train(client, BATCHES[:2])
    state = client.save_state("half").result().path
    weights = client.save_weights_for_sampler("half").result().path
    snapshot = client.save_weights_and_get_sampling_client().result()
    datum = BATCHES[0][0]
    trained = client.forward([datum], "cross_entropy").result().loss_fn_outputs[0]["logprobs"].to_torch()
    rest = train(client, BATCHES[2:])
    directory = service.store.locate(weights)
    plain = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    torch.testing.assert_close(plain_logprobs(plain, datum), trained, atol=1e-5, rtol=1e-5)
    assert AutoTokenizer.from_pretrained(directory)("SELECT")["input_ids"]
    others = [open_service.create_sampling_client(weights).result() for open_service in (service, open_local())]
    for sampler in (snapshot, *others):
        scored = sampler.compute_logprobs(datum.model_input).result()[1:]
        assert scored == pytest.approx(trained[: len(scored)].tolist(), abs=1e-5)
    again = open_local(method="full").create_training_client_from_state_with_optimizer(state).result()
    assert train(again, BATCHES[2:]) == rest
    info = service.create_rest_client().get_weights_info_by_tinker_path(state).result()
    assert (info.is_lora, info.lora_rank) == (False, None)
    for method, path in (("lora", state), ("full", lora_state(open_local, tiny_model))):
        with pytest.raises(BackendError, match=r"was trained with local\.method="):
            open_local(method=method).create_training_client_from_state(path).result()


def lora_state(open_local: Any, model: str) -> str:
    return open_local().create_lora_training_client(model, rank=2).result().save_state("lora").result().path


def test_full_clients_share_nothing(open_local: Any, tiny_model: str) -> None:
    service = open_local(method="full")
    one, two = (service.create_lora_training_client(tiny_model, seed=0).result() for _ in range(2))
    base = service.create_sampling_client(base_model=tiny_model).result()
    before = base.compute_logprobs(BATCHES[0][0].model_input).result()
    alone = train(one)
    assert train(two) == alone
    assert base.compute_logprobs(BATCHES[0][0].model_input).result() == before


def test_modules_that_are_not_there_are_named(open_local: Any, tiny_model: str) -> None:
    service = open_local(target_modules=["q_proj", "w_pack"])
    with pytest.raises(BackendError, match=r"target_modules.*w_pack"):
        service.create_lora_training_client(tiny_model).result()
