"""What a run would take: shapes, memory, time, tokens, cost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backends.interface import BackendError
from backends.losses import LOSSES
from backends.options import LocalOptions
from backends.planning.estimate import (
    CPU_OVERHEAD,
    DEVICES,
    Device,
    Load,
    estimate_memory,
    training_seconds,
    weight_bytes,
)
from backends.planning.lineup import lineup
from backends.planning.matmul_rates import Rates
from backends.planning.micro_batch_sizes import Lengths, micro_batch_sizes
from backends.planning.shape import known_shapes, model_shape
from tests.conftest import REPOSITORY
from tests.support.tiny_runs import tiny_config
from text2sql.config import load_config
from text2sql.data.dataset import load_dataset
from text2sql.data.few_shot import choose_few_shot
from text2sql.data.prompts import PromptFormat, messages, tokenize
from text2sql.errors import UserError
from text2sql.estimate.ceiling import memory_ceiling
from text2sql.estimate.devices import unsupported_settings
from text2sql.estimate.forecast import (
    CHARACTERS_PER_TOKEN,
    TOKENS_PER_TURN,
    Forecast,
    QuestionLoad,
    forecast_questions,
    forecast_run,
    forecast_tokens,
    measure_lengths,
)
from text2sql.estimate.memory import USABLE_SHARE, describe_fit, find_remedies, forecast_memory, largest_load
from text2sql.estimate.show import print_estimate
from text2sql.estimate.warning import warn_of_memory
from text2sql.pipeline.preflight import check_device
from text2sql.pipeline.run import run_pipeline
from text2sql.training.batches import Batches, TrainingData, order_keys

# Parameters, as the models' cards and files have them.
PUBLISHED = {
    "smollm2-135m-instruct": 134_515_008,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-3B": 3_212_749_824,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "mistralai/Mistral-7B-v0.1": 7_241_732_096,
    "m-a-p/OpenCodeInterpreter-DS-6.7B": 6_740_512_768,
    "Qwen/Qwen3-8B": 8_190_735_360,
}
GIB = 2**30
LOAD = Load(
    tokens=8192,
    scored=1700,
    forward_only=0,
    prompt=150,
    answer=150,
    sequences=64,
    prefill=8192,
    cache_positions=64 * 299,
)


@pytest.mark.parametrize(("model", "parameters"), PUBLISHED.items())
def test_known_shapes_have_the_published_number_of_parameters(model: str, parameters: int) -> None:
    assert model_shape(model).parameters == pytest.approx(parameters, rel=2e-6)


def test_all_known_shapes_are_complete() -> None:
    assert set(PUBLISHED) <= set(known_shapes())
    assert all(model_shape(name).context >= 2048 for name in known_shapes())


def test_adapters_count_as_tinkers_do() -> None:
    shape = model_shape("meta-llama/Llama-3.2-1B")
    assert shape.lora_parameters(32, attn=True, mlp=True, unembed=True) == 26_714_112
    assert shape.lora_parameters(32, attn=True, mlp=True, unembed=False) == 22_544_384


def test_the_shape_of_a_directory_is_that_of_its_model(tiny_model: str, open_local: Callable[..., Any]) -> None:
    shape = model_shape(tiny_model)
    client = open_local().create_lora_training_client(tiny_model, rank=4).result()
    parts = client.engine.weights.parameters(client.model_id).values()
    assert shape.lora_parameters(4, attn=True, mlp=True, unembed=True) == sum(part.numel() for part in parts)
    assert shape.parameters == sum(p.numel() for p in _unique(client.engine.base.model)) - sum(p.numel() for p in parts)


def _unique(model: Any) -> list[Any]:
    return list({parameter.data_ptr(): parameter for parameter in model.parameters()}.values())


def test_a_model_that_is_nowhere(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_embd": 768}))
    with pytest.raises(BackendError, match="it is no Llama"):
        model_shape(str(tmp_path))


def test_weights_in_each_storage() -> None:
    shape = model_shape("meta-llama/Llama-3.2-1B")
    assert weight_bytes(shape, "none", True, 2) == pytest.approx(2.47e9, rel=0.01)
    assert weight_bytes(shape, "nf4", True, 2) == pytest.approx(1.03e9, rel=0.02)
    single, double = (weight_bytes(shape, "nf4", doubled, 2) for doubled in (False, True))
    assert double < single < weight_bytes(shape, "int8", True, 2)


def test_what_saves_memory_saves_memory() -> None:
    shape, gpu = model_shape("meta-llama/Llama-3.2-1B"), DEVICES["A10G"]
    adapter = shape.lora_parameters(32, attn=True, mlp=True, unembed=True)

    def peak(load: Load = LOAD, device: Device = gpu, **options: Any) -> float:
        return estimate_memory(shape, adapter, 32, load, LocalOptions(**options), device).peak

    assert peak(quantization="nf4") < peak()
    assert peak(gradient_checkpointing="on") < 0.6 * peak()
    assert peak(Load(4096, 850, 0, 150, 150, 64, 4096, 64 * 299)) < peak()
    assert peak(dtype="float32") > peak()
    assert peak(optimizer="paged_adamw_8bit") == peak() - 6 * adapter
    full = estimate_memory(shape, shape.parameters, 32, LOAD, LocalOptions(method="full"), gpu)
    assert full.base["weights"] == 4 * shape.parameters and full.base["Adam's moments"] == 8 * shape.parameters
    assert "adapter" not in full.base and full.sampling["merged weights"] == 0
    cpu = Device("cpu", 16 * GIB, 1e11, 1e10, "float32", CPU_OVERHEAD)
    assert estimate_memory(shape, adapter, 32, LOAD, LocalOptions(), cpu).sampling["merged weights"] > 4 * GIB
    exact, narrow = (
        estimate_memory(shape, adapter, 32, LOAD, LocalOptions(matmul=matmul), cpu)
        for matmul in ("float32", "bfloat16")
    )
    layers = shape.layers * shape.layer_parameters
    assert exact.base["weights"] - narrow.base["weights"] == pytest.approx(2 * layers)
    assert exact.sampling["merged weights"] - narrow.sampling["merged weights"] == pytest.approx(2 * layers)


@pytest.mark.parametrize(
    ("rates", "options", "is_narrow"),
    [
        (Rates(1e11, 2e11), {}, True),
        (Rates(1e11, 5e10), {}, False),
        (Rates(1e11, 2e11), {"matmul": "float32"}, False),
        (Rates(1e11, 2e11), {"quantization": "nf4"}, False),
        (Rates(1e11, 2e11), {"method": "full"}, False),
        (Rates(1e11, 2e11), {"dtype": "bfloat16"}, False),
        (None, {}, False),
    ],
)
def test_with_matmul_auto_memory_and_time_go_by_the_rates_of_the_processor(
    rates: Rates | None, options: dict[str, Any], is_narrow: bool
) -> None:
    shape = model_shape("smollm2-135m-instruct")
    cpu = Device("cpu", 16 * GIB, 7e10, 1e10, "float32", CPU_OVERHEAD, rates)
    auto = LocalOptions(**{"matmul": "auto", **options})
    chosen = LocalOptions(**{**options, "matmul": "bfloat16" if is_narrow else "float32"})

    def estimate(options: LocalOptions) -> tuple[float, float]:
        seconds = training_seconds(shape, 4_884_480, 1e5, 2e4, 120, options, cpu)
        return estimate_memory(shape, 4_884_480, 16, LOAD, options, cpu).peak, seconds

    assert estimate(auto) == estimate(chosen)
    if is_narrow:
        exact = estimate(LocalOptions(matmul="float32"))
        # Attention, adapters and the output layer stay as fast as they were.
        assert 0.5 * exact[1] < estimate(auto)[1] < 0.8 * exact[1]


@pytest.mark.parametrize(("packing", "sharing"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("schemas", [1, 4, 40])
def test_micro_batches_are_cut_as_the_backend_cuts_them(packing: bool, sharing: bool, schemas: int) -> None:
    torch = pytest.importorskip("torch")
    from backends.local.step.micro_batches import make_micro_batches, make_rows
    from text2sql.data.datum import make_batch
    from text2sql.data.prompts import Tokens

    rng = np.random.default_rng(0)
    beginnings = [rng.integers(0, 9, rng.integers(20, 60)) for _ in range(schemas)]
    examples = [
        Tokens(
            np.concatenate([beginnings[k % schemas], [10 + k], rng.integers(0, 9, rng.integers(3, 30))]),
            rng.integers(0, 9, rng.integers(1, 20)),
        )
        for k in range(40)
    ]
    rows = make_rows(make_batch(examples), LOSSES["cross_entropy"], 600, 512)
    cut = make_micro_batches(rows, 256, score_all=False, device=torch.device("cpu"), packing=packing, sharing=sharing)
    lengths = Lengths(
        np.array([len(example.prompt) for example in examples]),
        np.array([len(example.completion) for example in examples]),
        counted=True,
        ids=[np.concatenate([example.prompt, example.completion])[:-1] for example in examples],
    )
    found = micro_batch_sizes(lengths, list(range(40)), budget=256, packing=packing, sharing=sharing)
    assert found == [(b.tokens.numel(), int(b.logits_to_keep.sum())) for b in cut]
    assert any(b.tree is not None for b in cut) == (sharing and schemas < 40)


def test_answers_to_one_prompt_share_no_more_than_the_prompt() -> None:
    lengths = Lengths(np.array([50]), np.array([11]), counted=True, ids=[np.arange(60)])
    # 50 tokens of the prompt, and ten of each answer, whose last is predicted alone.
    assert micro_batch_sizes(lengths, [0] * 4, budget=256, packing=True, sharing=True) == [(50 + 4 * 10, 4 * 11)]


def test_every_strategy_is_counted(tmp_path: Path, tiny_tokenizer: Any) -> None:
    ways = {"few_shot": {"k": 2, "select": "random"}, "self_consistency": {"samples": 3}, "retry": {"attempts": 2}}
    config = tiny_config(tmp_path, evaluation={**ways, "baseline": True, "novel_questions": False, "max_new_tokens": 9})
    dataset = load_dataset(config)
    test, train = dataset.split.test, dataset.split.train
    few, n = config.evaluation.few_shot, len(test)
    assert few is not None
    asked = forecast_questions(config, dataset, tiny_tokenizer)
    assert [(a.times, a.samples, a.only_on_failure) for a in asked] == [
        (1, 1, False),
        (1, 1, False),
        *(again := [(1, 3, False), (1, 1, False), (2, 1, True)]),
        (1, 1, False),
        *again,
    ]
    few_shot = choose_few_shot(test, train, few, config.seed, tiny_tokenizer, PromptFormat.of(config), None)
    solved = tokenize(test, tiny_tokenizer, PromptFormat.of(config), [few_shot[e.id] for e in test])
    assert asked[1].lengths.prompts.tolist() == [len(t.prompt) for t in solved]
    plain = tokenize(test, tiny_tokenizer, PromptFormat.of(config))
    assert asked[0].lengths.prompts.tolist() == [len(t.prompt) for t in plain]
    lengths = measure_lengths(train, tiny_tokenizer, config)
    work = forecast_tokens(config, lengths, Lengths(np.array([], int), np.array([], int), True), asked)
    assert work.questions == n * (2 + 1 + 2 * 3 + 2 + 4)
    assert work.sampled[1] == 9 * work.questions and work.sampled[0] <= 9 * n * (2 + 1 + 2 * 3 + 2)
    assert work.prefilled == sum(len(t.prompt) for t in solved) + 10 * sum(len(t.prompt) for t in plain)
    every = list(range(len(train)))
    load = largest_load(config, Forecast(lengths, [every], lengths, asked, work), DEVICES["T4"])
    assert load.prompt == max(len(t.prompt) for t in solved)
    assert load.sequences == 3 * min(n, config.evaluation.concurrency)


def test_examples_on_one_schema_that_stand_together_take_less_time(
    tmp_path: Path, tiny_model: str, tiny_tokenizer: Any
) -> None:
    computed = {}
    for together, sharing in ((0, True), (4, True), (4, False)):
        config = tiny_config(
            tmp_path,
            backend="local",
            base_model=tiny_model,
            data={"source": "bundled", "limit": 300, "test_size": 5},
            training={"batch_size": 8, "group_by_schema": together},
            local={"share_prefixes": sharing, "packing": True},
        )
        dataset = load_dataset(config)
        seen, examples = forecast_run(config, dataset), dataset.split.train
        keys = order_keys(config, examples, dataset.known)
        tokens = tokenize(examples, tiny_tokenizer, PromptFormat.of(config))
        batches = Batches(config, TrainingData(tokens, [example.id for example in examples], keys))
        assert seen.batches == [batches.indices(step) for step in range(batches.per_epoch)]
        computed[together, sharing] = largest_load(config, seen, DEVICES["T4"]).computed
    assert computed[4, False] == 1 and 0.5 < computed[4, True] < 0.9 * computed[0, True] < 0.9


def test_prompts_are_read_again_behind_what_is_thought(tmp_path: Path) -> None:
    lengths = Lengths(np.array([10, 20]), np.array([3, 3]), counted=True)
    none = Lengths(np.array([], int), np.array([], int), counted=True)
    prefilled = {}
    for thinking in ("off", "on"):
        config = tiny_config(
            tmp_path, prompt={"template": "chat", "thinking": thinking}, evaluation={"max_thinking_tokens": 7}
        )
        prefilled[thinking] = forecast_tokens(config, lengths, none, [QuestionLoad(lengths, 1, samples=2)]).prefilled
    assert prefilled == {"off": 30, "on": 30 + 2 * (10 + 7 + 20 + 7)}


def test_a_conversation_is_guessed_with_its_marks(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, prompt={"template": "chat"})
    example, *few_shot = load_dataset(config).split.train[:3]
    turns = messages(example, PromptFormat("chat"), few_shot)
    guessed = measure_lengths([example], None, config, [few_shot])
    content = sum(len(turn["content"]) for turn in turns[:-1]) / CHARACTERS_PER_TOKEN
    assert guessed.prompts[0] == pytest.approx(content + TOKENS_PER_TURN * len(turns), abs=1)
    assert not guessed.counted


def test_tokens_are_counted_as_the_hosted_model_does_or_it_is_said_whose_they_are(
    tmp_path: Path, tiny_model: str, tiny_chat_model: str, capsys: Any
) -> None:
    said = {}
    for name, tinker in {
        "own": {"tokenizer": tiny_chat_model},
        "other": {},
        "none": {"tokenizer": str(tmp_path / "absent")},
    }.items():
        base = "nobody/nothing" if name == "none" else tiny_model
        options = {"base_model": "Qwen/Qwen3.5-4B:peft:262144", **tinker}
        print_estimate(tiny_config(tmp_path, backend="tinker", base_model=base, tinker=options), "cpu")
        said[name] = " ".join(capsys.readouterr().out.split())
    assert "counted with the model's tokenizer" in said["own"]
    assert f"counted with the tokenizer of {tiny_model}" in said["other"]
    assert "characters a token" in said["none"] and "absent has no tokenizer on this disk" in said["none"]


def test_the_command_says_what_a_local_run_takes(tmp_path: Path, tiny_model: str, capsys: Any) -> None:
    print_estimate(tiny_config(tmp_path, backend="local", base_model=tiny_model), "T4")
    out = " ".join(capsys.readouterr().out.split())
    assert "counted with the model's tokenizer" in out and "Fits: the peak of" in out and "T4" in out
    print_estimate(tiny_config(tmp_path, backend="local", base_model="meta-llama/Llama-3.1-8B"), "T4")
    out = " ".join(capsys.readouterr().out.split())
    assert "Does not fit" in out and "local.quantization=nf4" in out and "characters a token" in out
    assert check_device("t4") == "T4"
    with pytest.raises(UserError, match="T5"):
        check_device("T5")


def test_what_is_named_as_a_remedy_is_one(tmp_path: Path, tiny_model: str, capsys: Any) -> None:
    config = tiny_config(tmp_path, backend="local", base_model="meta-llama/Llama-3.1-8B")
    seen = forecast_run(config, load_dataset(config))
    card = replace(DEVICES["T4"], dtype="bfloat16")
    remedies = find_remedies(config, seen, card)
    assert "local.quantization=nf4" in remedies
    helped = load_config(None, [f"base_model={config.base_model}", f"data.source={config.data.source}", *remedies])
    helped = config.model_copy(update={"local": helped.local})
    assert forecast_memory(config, seen, card)[0].peak > card.memory
    assert forecast_memory(helped, seen, card)[0].peak <= USABLE_SHARE * card.memory
    # None of them can be left out.
    for left_out in remedies:
        others = load_config(None, [way for way in remedies if way != left_out]).local
        assert (
            forecast_memory(config.model_copy(update={"local": others}), seen, card)[0].peak
            > USABLE_SHARE * card.memory
        )


def test_where_nothing_helps_no_setting_is_named(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, backend="local", base_model="meta-llama/Llama-3.1-8B")
    seen = forecast_run(config, load_dataset(config))
    small = replace(DEVICES["T4"], memory=2 * 2**30)
    assert find_remedies(config, seen, small) == []
    said = describe_fit(forecast_memory(config, seen, small)[0], config, seen, small)
    assert "Does not fit" in said and "--processes" in said and "nf4" not in said


@pytest.mark.parametrize(("memory", "warned"), [(2**40, False), (2**20, True)])
def test_a_run_that_will_hardly_fit_says_so_before_its_model_is_loaded(
    tmp_path: Path, tiny_model: str, capsys: Any, monkeypatch: pytest.MonkeyPatch, memory: float, warned: bool
) -> None:
    card = replace(DEVICES["T4"], memory=memory)
    monkeypatch.setattr("text2sql.estimate.warning.device_of", lambda config: card)
    monkeypatch.setattr("text2sql.pipeline.run.open_service", _stop)
    with pytest.raises(UserError, match="loaded"):
        run_pipeline(tiny_config(tmp_path, backend="local", base_model=tiny_model))
    said = " ".join(capsys.readouterr().out.split())
    assert ("Does not fit: the peak of" in said) == warned


def _stop(*arguments: Any) -> None:
    raise UserError("loaded")


@pytest.mark.parametrize(
    ("device", "option", "problem"),
    [
        ("T4", "dtype=bfloat16", "no bfloat16"),
        ("T4", "attention=flash_attention_2", "local.attention=auto"),
        ("T4", "dtype=auto", None),
        ("A10G", "dtype=bfloat16", None),
    ],
)
def test_what_a_device_cannot_compute_is_said(device: str, option: str, problem: str | None) -> None:
    found = unsupported_settings(load_config("llama-3.2-1b", [f"local.{option}"]), DEVICES[device])
    assert [problem in text for text in found if problem] == ([True] if problem else []) and bool(found) == bool(
        problem
    )


def test_the_command_says_what_a_hosted_run_costs(tmp_path: Path, capsys: Any) -> None:
    config = tiny_config(tmp_path, backend="tinker", base_model="Qwen/Qwen3.5-4B", tinker={"max_cost": 1e-9})
    print_estimate(config, "here")
    out = " ".join(capsys.readouterr().out.split())
    assert "at $0.737 (training)" in out and lineup().as_of in out and "will stop the run" in out
    print_estimate(config.model_copy(update={"base_model": "nobody/knows-1b"}), "here")
    assert "No price of nobody/knows-1b is known" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_estimates_are_within_15_percent_of_measured_peaks() -> None:
    subprocess.run([sys.executable, str(REPOSITORY / "scripts" / "check_estimate.py")], check=True, timeout=2400)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"training": {"batch_size": 8}, "data": {"max_tokens": 120}},
        {"evaluation": {"self_consistency": {"samples": 5}, "concurrency": 3}},
        {"prompt": {"template": "chat"}},
        {"local": {"gradient_checkpointing": "on", "micro_batch_tokens": 64}},
    ],
)
def test_no_run_is_foretold_more_memory_than_its_ceiling(
    tmp_path: Path, tiny_model: str, tiny_chat_model: str, settings: dict[str, Any]
) -> None:
    model = tiny_chat_model if "prompt" in settings else tiny_model
    config = tiny_config(tmp_path, backend="local", base_model=model, **settings)
    dataset = load_dataset(config)
    for device in (DEVICES["T4"], Device("cpu", 16 * GIB, 1e11, 1e10, "float32", CPU_OVERHEAD)):
        memory, _ = forecast_memory(config, forecast_run(config, dataset), device)
        assert memory.peak <= memory_ceiling(config, dataset, device)


def test_nothing_is_tokenised_to_say_that_a_run_fits(
    tmp_path: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    config = tiny_config(tmp_path, backend="local", base_model=tiny_model)
    dataset, counted = load_dataset(config), []
    real = forecast_run
    monkeypatch.setattr("text2sql.estimate.warning.forecast_run", lambda *given: counted.append(1) or real(*given))
    for memory, times in ((1000 * GIB, 0), (GIB // 2, 1)):
        device = Device("cpu", memory, 1e11, 1e10, "float32", CPU_OVERHEAD)
        monkeypatch.setattr("text2sql.estimate.warning.device_of", lambda config, device=device: device)
        warn_of_memory(config, dataset)
        assert len(counted) == times
        assert ("Does not fit" in capsys.readouterr().out) == bool(times)


def test_rollouts_and_shared_beginnings_are_part_of_the_load(tmp_path: Path, tiny_model: str) -> None:
    """The samples of a group hold their prompt once where the backend does so, and as often as there are elsewhere."""
    held = {}
    for name, local in (("once", {}), ("copies", {"packing": False})):
        config = tiny_config(
            tmp_path, backend="local", base_model=tiny_model, local=local, evaluation={"max_new_tokens": 9}
        )
        rl = config.rl.model_copy(update={"method": "policy_gradient", "questions": 4, "group": 16})
        config = config.model_copy(update={"rl": rl})
        seen = forecast_run(config, load_dataset(config))
        cpu = Device("cpu", 16 * GIB, 1e11, 1e10, "float32", CPU_OVERHEAD)
        load = largest_load(config, seen, cpu)
        # Three questions in flight.
        assert load.sequences == 3 * 16
        held[name] = load.cache_positions
    assert held["once"] < 0.3 * held["copies"]
