"""Models that are no Llamas: trained and sampled as plain PyTorch does it, or refused by the name of the key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tinker import types

from backends.interface import BackendError
from backends.local.model import packed_attention
from backends.local.model.architecture_traits import cache_argument
from backends.local.weights.targets import shortest_names
from scripts import check_architectures
from scripts.check_architectures import ARCHITECTURES, check, make_model

# A fused input projection, a window without PyTorch's kernel, two kinds of state, experts, and two rotary embeddings.
FAST = ("GPT-2", "Gemma-2", "LFM2", "Granite-4-H", "Mixtral", "Phi-3, Phi-4 (long rope)")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in ARCHITECTURES]
)
def test_every_architecture_trains_and_samples_as_plain_pytorch_does(name: str) -> None:
    found = check(name)
    assert not found.wrong, found


def test_every_architecture_is_in_the_table_of_the_documentation() -> None:
    page = check_architectures.PAGE.read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows[1:]] == list(ARCHITECTURES)


@pytest.fixture
def model(tmp_path: Path) -> Callable[[str], str]:
    """Makes a tiny model of an architecture; returns its directory."""

    def make(name: str) -> str:
        make_model(name, tmp_path / "model")
        return str(tmp_path / "model")

    return make


@pytest.mark.parametrize(
    ("name", "adapted"),
    [
        ("GPT-2", ["c_attn", "c_proj", "c_fc", "lm_head"]),
        ("OPT", ["k_proj", "v_proj", "q_proj", "out_proj", "fc1", "fc2", "lm_head"]),
        # Mamba's output projection is read past the adapter, and shares its name with no other layer here.
        (
            "Granite-4-H",
            ["in_proj", "input_linear", "output_linear", "q_proj", "k_proj", "v_proj", "o_proj", "lm_head"],
        ),
    ],
)
def test_the_flags_adapt_what_they_say(
    name: str, adapted: list[str], model: Callable[[str], str], open_local: Callable[..., Any]
) -> None:
    directory, service = model(name), open_local()
    facts = service.describe_training(directory, 4, train_attn=True, train_mlp=True, train_unembed=True)
    assert sorted(facts.adapted_modules) == sorted(adapted)
    client = service.create_lora_training_client(directory, rank=4, seed=0).result()
    parameters = client.engine.weights.parameters(client.model_id)
    assert facts.trained_parameters == sum(p.numel() for p in parameters.values())
    whole = client.engine.base.model.num_parameters()
    assert facts.trained_percent == pytest.approx(100 * facts.trained_parameters / whole, rel=1e-3)


@pytest.mark.parametrize(("name", "flag"), [("Mixtral", "train_mlp"), ("gpt-oss", "train_mlp")])
def test_a_flag_that_would_adapt_a_part_is_refused_by_name(
    name: str, flag: str, model: Callable[[str], str], open_local: Callable[..., Any]
) -> None:
    directory, service = model(name), open_local()
    with pytest.raises(BackendError, match=rf"^lora\.{flag}: .*experts.*gate_up_proj.*lora\.{flag}=false"):
        service.create_lora_training_client(directory, rank=4).result()
    with pytest.raises(BackendError, match=rf"^lora\.{flag}"):
        service.describe_training(directory, 4, train_attn=True, train_mlp=True, train_unembed=True)
    assert service.create_lora_training_client(directory, rank=4, **{flag: False}).result()


def test_a_flag_that_finds_nothing_is_refused_with_what_there_is(
    open_local: Callable[..., Any], tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.local.weights.targets.MLPS", set())
    monkeypatch.setattr("backends.local.weights.targets.MLP_LAYERS", set())
    with pytest.raises(BackendError, match=r"^lora\.train_mlp: .*self_attn\.q_proj.*lm_head"):
        open_local().create_lora_training_client(tiny_model, rank=4).result()


def test_packed_rows_of_a_model_with_a_state_are_refused(
    model: Callable[[str], str], open_local: Callable[..., Any]
) -> None:
    with pytest.raises(BackendError, match=r"local\.packing: .*lfm2.*state"):
        open_local(packing=True).create_lora_training_client(model("LFM2"), rank=4).result()


def test_an_attention_that_a_model_does_not_offer_is_refused_by_its_key(
    model: Callable[[str], str], open_local: Callable[..., Any]
) -> None:
    with pytest.raises(BackendError, match=r"local\.attention: .*sdpa.*local\.attention=auto"):
        open_local(attention="sdpa").create_lora_training_client(model("Gemma-2"), rank=4).result()


def test_flash_attention_that_is_not_installed_is_refused_by_its_key(
    tiny_model: str, open_local: Callable[..., Any]
) -> None:
    with pytest.raises(BackendError, match=r"local\.attention.*flash-attn.*local\.attention=auto"):
        open_local(attention="flash_attention_2").create_lora_training_client(tiny_model, rank=4).result()


def test_a_class_that_only_claims_to_use_the_attention_interface_is_found_out(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    make_model("Nemotron", tmp_path)
    nemotron = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert nemotron._supports_attention_backend and not packed_attention.enable(nemotron)
    assert nemotron.config._attn_implementation == "sdpa"


def test_the_length_of_a_multimodal_model_is_that_of_its_language_part(
    model: Callable[[str], str], open_local: Callable[..., Any]
) -> None:
    client = open_local().create_lora_training_client(model("Gemma-3 (multimodal)"), rank=4).result()
    assert client.engine.base.max_length == check_architectures.COMMON["max_position_embeddings"]
    assert not any("vision" in key for key in client.engine.weights.parameters(client.model_id))


def test_the_cache_is_passed_under_the_name_that_the_forward_pass_has() -> None:
    def old(input_ids: torch.Tensor, past_key_values: Any = None) -> None: ...

    def new(input_ids: torch.Tensor, cache: Any = None) -> None: ...

    assert (cache_argument(old), cache_argument(new)) == ("past_key_values", "cache")


def test_a_name_of_a_target_fits_nothing_else() -> None:
    modules = ["h.0", "h.0.attn", "h.0.attn.c_proj", "h.0.mlp", "h.0.mlp.c_proj", "vision.0.attn.q", "text.0.attn.q"]
    assert shortest_names(["h.0.attn.c_proj", "h.0.mlp.c_proj"], modules) == ["c_proj"]
    assert shortest_names(["h.0.attn.c_proj"], modules) == ["attn.c_proj"]
    assert shortest_names(["text.0.attn.q"], modules) == ["text.0.attn.q"]


def test_prompts_on_both_sides_of_a_long_rope_models_first_context_do_not_change_each_other(
    model: Callable[[str], str], open_local: Any
) -> None:
    sampler = open_local().create_sampling_client(base_model=model("Phi-3, Phi-4 (long rope)")).result()
    prompts = [types.ModelInput.from_ints(tokens) for tokens in check_architectures.rows()]
    together = [future.result() for future in [sampler.compute_logprobs(prompt) for prompt in prompts]]
    alone = [sampler.compute_logprobs(prompt).result() for prompt in prompts]
    for batched, own in zip(together, alone, strict=True):
        # Rows of another number add up in another order.
        assert batched[1:] == pytest.approx(own[1:], abs=1e-4)
