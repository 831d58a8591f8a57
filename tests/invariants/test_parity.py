"""The same program in this process and through the SDK and the server: the same numbers, to the bit on a CPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tinker import types
from transformers import AutoTokenizer

from tests.conftest import REPOSITORY
from tests.support.datums import random_datums
from tests.support.running import KEY, Running
from tests.support.tiny_runs import read_jsonl, rows, tiny_config, write_jsonl
from text2sql.pipeline.run import run_pipeline

BATCHES = [random_datums(6, 600, seed=s) for s in range(4)]
PROMPTS = [types.ModelInput.from_ints(list(range(3, 3 + n))) for n in (4, 9, 17)]
GREEDY = types.SamplingParams(max_tokens=12, temperature=0)
SEEDED = types.SamplingParams(max_tokens=12, temperature=0.8, top_p=0.9, seed=7)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Iterator[Running]:
    """A server of the tiny model under its directory's name, which the local backend takes too."""
    running = Running(tmp_path_factory.mktemp("parity"), {tiny_model: tiny_model})
    yield running
    running.stop()


class Record:
    """What a program got to see."""

    def __init__(self) -> None:
        self.metrics: list[Any] = []
        self.logprobs: list[np.ndarray] = []
        self.samples: list[Any] = []

    def output(self, output: types.ForwardBackwardOutput) -> None:
        self.metrics.append(output.metrics)
        self.logprobs += [out["logprobs"].to_numpy().copy() for out in output.loss_fn_outputs]

    def sampled(self, response: types.SampleResponse) -> None:
        sequences = [(s.tokens, s.logprobs, s.stop_reason, s.topk_logprobs) for s in response.sequences]
        self.samples.append((sequences, response.prompt_logprobs, response.topk_prompt_logprobs))


Program = Callable[[Any, Any, Record], Any]


def scheduled(service: Any, client: Any, record: Record) -> Any:
    """A learning-rate schedule, clipping, decay, and two calls for each step."""
    for step, data in enumerate(BATCHES):
        parts = [client.forward_backward(data[:2], "cross_entropy"), client.forward_backward(data[2:], "cross_entropy")]
        params = types.AdamParams(
            learning_rate=1e-2 * (1 - step / 4), eps=1e-8, weight_decay=0.01, grad_clip_norm=(0, 5)[step % 2]
        )
        done = client.optim_step(params)
        for part in parts:
            record.output(part.result())
        record.metrics.append(done.result().metrics)
    return client


def _steps(client: Any, batches: Any, record: Record) -> None:
    for data in batches:
        future = client.forward_backward(data, "cross_entropy")
        done = client.optim_step(types.AdamParams(learning_rate=1e-2))
        record.output(future.result())
        record.metrics.append(done.result().metrics)


def resumed(service: Any, client: Any, record: Record) -> Any:
    """Saved in the middle and continued by a new client, optimiser included."""
    _steps(client, BATCHES[:2], record)
    path = client.save_state("middle").result().path
    client = service.create_training_client_from_state_with_optimizer(path).result()
    _steps(client, BATCHES[2:], record)
    return client


def weights_alone(service: Any, client: Any, record: Record) -> Any:
    """Continued with a fresh optimiser."""
    _steps(client, BATCHES[:2], record)
    client = service.create_training_client_from_state(client.save_state("middle").result().path).result()
    _steps(client, BATCHES[2:], record)
    return client


def custom(service: Any, client: Any, record: Record) -> Any:
    """A loss of the caller's own."""

    def squares(data: Any, logprobs: list[torch.Tensor]) -> Any:
        loss = sum(((lp + 1) ** 2).sum() for lp in logprobs)
        return loss, {"examples:sum": float(len(data))}

    for data in BATCHES[:2]:
        record.output(client.forward_backward_custom(data, squares).result())
        client.optim_step(types.AdamParams(learning_rate=1e-2)).result()
    return client


def several_targets(service: Any, client: Any, record: Record) -> Any:
    """Three weighted targets at each position, sparse on the wire, and a shape that changes within a call."""
    rng = np.random.default_rng(0)
    data = []
    for length, k in ((9, 3), (7, 3), (8, 5)):
        weights = torch.tensor(rng.uniform(0.1, 1, (length, k)) * (rng.uniform(size=(length, k)) < 0.3))
        targets = torch.tensor(rng.integers(1, 600, (length, k))) * (weights > 0)
        inputs: Any = {"target_tokens": targets, "weights": weights.float()}
        data.append(types.Datum(types.ModelInput.from_ints(rng.integers(0, 600, length).tolist()), inputs))
    assert data[0].loss_fn_inputs["weights"].sparse_crow_indices is not None
    _steps(client, [data, data], record)
    return client


def reinforced(service: Any, client: Any, record: Record) -> Any:
    """The losses of reinforcement learning, with settings."""
    rng = np.random.default_rng(1)
    for loss_fn, config in (
        ("importance_sampling", None),
        ("ppo", {"clip_low_threshold": 0.9, "clip_high_threshold": 1.1}),
        ("cispo", {"clip_high_threshold": 2.0}),
        ("dro", {"beta": 0.1}),
        ("gspo", {"clip_low_threshold": 0.5, "clip_high_threshold": 2.0}),
        ("reinforce_kl", {"kl_coeff": 0.1}),
    ):
        data = []
        for datum in BATCHES[0]:
            length = datum.model_input.length
            inputs: Any = {
                "target_tokens": datum.loss_fn_inputs["target_tokens"],
                "logprobs": rng.uniform(-8, -1, length).astype(np.float32),
                "advantages": rng.normal(size=length).astype(np.float32),
            }
            data.append(types.Datum(datum.model_input, inputs))
        record.output(client.forward_backward(data, loss_fn, config).result())
        client.optim_step(types.AdamParams(learning_rate=1e-3)).result()
    return client


def sampled(service: Any, client: Any, record: Record) -> Any:
    """Samples of a trained adapter and of the base model, with everything that can be asked of them."""
    _steps(client, BATCHES[:2], record)
    tuned = client.save_weights_and_get_sampling_client().result()
    named = service.create_sampling_client(model_path=client.save_weights_for_sampler("end").result().path).result()
    base = service.create_sampling_client(base_model=client.get_info().model_name).result()
    targets = types.TensorData.from_numpy(np.array([[5, -1]] * 3))
    for sampler in (tuned, named, base):
        for prompt in PROMPTS:
            record.sampled(sampler.sample(prompt, 1, GREEDY).result())
            record.samples.append(sampler.compute_logprobs(prompt).result())
        extras = {"include_prompt_logprobs": True, "topk_prompt_logprobs": 2, "topk_sample_logprobs": 2}
        record.sampled(sampler.sample(PROMPTS[0], 3, SEEDED, **extras).result())
        scored = sampler.sample(PROMPTS[0], 1, GREEDY, target_prompt_logprobs=targets, prompt_alt_tokens_k=2).result()
        record.samples.append(scored.target_prompt_logprobs.tolist())
        assert scored.prompt_alt_tokens.tokens.shape == [3, 2]
        last = sampler.sample(PROMPTS[1], 1, GREEDY, include_prompt_logprobs=True, prompt_logprobs_last_n=2).result()
        record.sampled(last)
    return client


@pytest.mark.parametrize(
    "program",
    [scheduled, resumed, weights_alone, custom, several_targets, reinforced, sampled],
    ids=lambda p: p.__name__,
)
def test_same_numbers(open_local: Any, server: Running, tiny_model: str, program: Program) -> None:
    here = open_local(unscored_logprobs=True)
    there = server.client()
    records, weights = [], []
    for service, store in ((here, here.store), (there, server.state.residency.store)):
        record = Record()
        client = service.create_lora_training_client(tiny_model, rank=4, seed=5, train_unembed=True).result()
        end = program(service, client, record)
        weights.append(store.read(end.save_state("end").result().path, optimizer=True))
        records.append(record)
    there.close("success").result()
    local, remote = records
    assert local.metrics == remote.metrics
    assert len(local.logprobs) == len(remote.logprobs)
    for one, other in zip(local.logprobs, remote.logprobs, strict=True):
        np.testing.assert_array_equal(one, other)
    # To the bit, too: a batch of the server may hold others than in this process, and products of other sizes round
    # otherwise, but here each answer is waited for, and who finds a batch empty is answered as if alone.
    assert local.samples == remote.samples
    for kind in ("weights", "optimizer"):
        one, other = (getattr(checkpoint, kind) for checkpoint in weights)
        assert one.keys() == other.keys() and one
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_whole_runs_agree(server: Running, tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One configuration, `backend` local and tinker: the same losses and answers, to the last digit."""
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    _agree(tmp_path, server.url, tiny_model)


@pytest.fixture(scope="module")
def thinker(tiny_chat_model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model whose chat template can open a block of thinking: Qwen3's."""
    directory = tmp_path_factory.mktemp("thinker") / "model"
    shutil.copytree(tiny_chat_model, directory)
    template = Path(str(files("trl"))) / "chat_templates" / "qwen3.jinja"
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.chat_template = template.read_text(encoding="utf-8")
    tokenizer.save_pretrained(directory)
    return str(directory)


@pytest.mark.parametrize("thinking", ["off", "on"])
def test_whole_runs_of_a_model_that_can_think_agree(
    thinker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thinking: str
) -> None:
    """Chat prompts, with the block of thinking closed in front of the answer, and with one that is sampled."""
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    running = Running(tmp_path / "server", {thinker: thinker})
    try:
        local, remote = _agree(
            tmp_path,
            running.url,
            thinker,
            prompt={"template": "chat", "thinking": thinking},
            data={"source": str(_reasoned(tmp_path)), "test_size": 4},
            evaluation={"max_new_tokens": 12, "max_unusable_golds": 1, "max_thinking_tokens": 9},
        )
    finally:
        running.stop()
    for run in (local, remote):
        row = read_jsonl(run / "predictions-tuned.jsonl")[0]
        assert bool(row.get("thought")) == (thinking == "on")
        assert ("</think>" in row["prompt"]) == (thinking == "off")


def _reasoned(directory: Path) -> Path:
    """Rows with reasoning, which training with thinking needs."""
    made = [{**row, "reasoning": f"Count {n}."} for n, row in enumerate(rows(6, spellings=5))]
    return write_jsonl(directory / "reasoned.jsonl", made)


def _agree(tmp_path: Path, url: str, model: str, **sections: Any) -> list[Path]:
    runs = {}
    for backend in ("local", "tinker"):
        config = tiny_config(
            tmp_path,
            **{
                "output_dir": str(tmp_path / backend),
                "backend": backend,
                "base_model": model,
                "local": {"device": "cpu", "unscored_logprobs": True},
                "tinker": {"base_url": url},
                "lora": {"rank": 4},
                "evaluation": {"max_new_tokens": 12, "max_unusable_golds": 1},
                "training": {"learning_rate": 1e-2, "epochs": 2},
                **sections,
            },
        )
        runs[backend] = run_pipeline(config)
    volatile = ("seconds", "per_second", "created", "path", "memory", "usage", "cost", "wall")
    for file in ("metrics.jsonl", "predictions-base.jsonl", "predictions-tuned.jsonl"):
        local, remote = (read_jsonl(runs[backend] / file) for backend in ("local", "tinker"))
        assert [_lasting(row, volatile) for row in local] == [_lasting(row, volatile) for row in remote], file
        assert local
    headlines = [json.loads((runs[b] / "summary.json").read_text())["headline"] for b in ("local", "tinker")]
    assert headlines[0] == headlines[1]
    return [runs["local"], runs["tinker"]]


@pytest.mark.slow
def test_another_version_of_the_sdk_gets_the_same_numbers(server: Running, tiny_model: str, tmp_path: Path) -> None:
    """A client of an older version, beside the installed one; `scripts/check_sdk.sh` asks every minor version."""
    other = tmp_path / "other"
    fetched = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(other), "tinker==0.36.0"]
    if subprocess.run(fetched, capture_output=True).returncode:
        pytest.skip("the package index has no tinker 0.36.0, or cannot be reached")
    answers = []
    for path in ("", str(other)):
        environment = {**os.environ, "PYTHONPATH": path, "TINKER_API_KEY": KEY, "TINKER_TELEMETRY": "0"}
        command = [sys.executable, str(REPOSITORY / "scripts" / "sdk_client.py"), server.url, tiny_model]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        answers.append(json.loads(done.stdout.splitlines()[-1]))
    installed, older = answers
    assert older["version"] == "0.36.0" != installed["version"]
    assert older["numbers"] == installed["numbers"]


def _lasting(row: Any, volatile: tuple[str, ...]) -> Any:
    if isinstance(row, dict):
        return {k: _lasting(v, volatile) for k, v in row.items() if not any(word in k for word in volatile)}
    return row
