"""Every tensor that the backend makes is on the model's device: shown on an accelerator made of software.

`tests/support/accelerator.py` refuses to mix tensors of two devices, as a GPU does, and gives the CPU's numbers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]

PROGRAM = """
import json
import sys
from tests.support import accelerator
import torch
from tests.support.datums import random_datums
from tinker import types
from backends import open_backend
from backends.options import LocalOptions

accelerator.install()
here, there = torch.ones(3), torch.ones(3).to("accel")
try:
    here + there
except RuntimeError as error:
    assert "same device" in str(error)
else:
    raise AssertionError("the accelerator lets devices mix")

PROMPTS = [[5, 6, 7], list(range(20, 60)), [9] * 12]
ADAM = types.AdamParams(learning_rate=1e-3, eps=1e-4, grad_clip_norm=0.5)


def squares(data, logprobs):
    return sum((lp**2).sum() for lp in logprobs), {}


def scores_of(sampler):
    # everything that can be asked about a sample
    targets = [types.TensorData.from_torch(torch.arange(len(p) - 1)[:, None]) for p in PROMPTS]
    ways = [{"temperature": 0}, {"seed": 3, "top_p": 0.7, "temperature": 0.8}, {"seed": 4, "top_k": 9}]
    futures = [
        sampler.sample(
            types.ModelInput.from_ints(prompt), 2, types.SamplingParams(max_tokens=9, stop=["x"], **way),
            include_prompt_logprobs=True, topk_prompt_logprobs=2, topk_sample_logprobs=2,
            target_prompt_logprobs=wanted, prompt_alt_tokens_k=3,
        )
        for prompt, way, wanted in zip(PROMPTS, ways, targets)
    ]
    responses = [future.result() for future in futures]
    assert all(len(r.sequences) == 2 and len(r.sequences[0].logprobs) > 0 for r in responses)
    return [[r.prompt_logprobs[1:], r.target_prompt_logprobs.tolist()] for r in responses]  # rounding may move samples


def run(device, **options):
    # two clients on one base: training, custom losses, snapshots, checkpoints, off the device and back
    service = open_backend("local", LocalOptions(device=device, micro_batch_tokens=90, **options))
    client = service.create_lora_training_client(sys.argv[1], rank=4, seed=5).result()
    other = service.create_lora_training_client(sys.argv[1], rank=3, seed=6).result()
    found = []
    for step in range(3):
        data = random_datums(5, 600, seed=step)
        for each in (client, other):
            output = each.forward_backward(data, "cross_entropy").result()
            norm = each.optim_step(ADAM).result().metrics["grad_norm:mean"]
            found += [output.metrics["loss:sum"], norm]
        if step == 0:
            found += [scores_of(client.save_weights_and_get_sampling_client().result())]
            path = client.save_state("first").result().path
        if step == 1:
            client.forward_backward(data, "cross_entropy").result()
            client.attach_state(client.detach_state().result()).result()
    found += [client.forward_backward_custom(data, squares).result().metrics["loss:sum"]]
    client.load_state_with_optimizer(path).result()
    found += [client.forward_backward(data, "cross_entropy").result().metrics["loss:sum"]]
    found += [client.optim_step(ADAM).result().metrics["grad_norm:mean"]]
    found += [scores_of(service.create_sampling_client(base_model=sys.argv[1]).result())]
    saved = other.save_weights_for_sampler("other").result().path
    found += [scores_of(service.create_sampling_client(saved).result())]
    parameters = list(client.engine.base.model.parameters())
    assert {p.device.type for p in parameters} == {device}
    service.close()
    return found


def flat(value):
    return [number for part in value for number in flat(part)] if isinstance(value, list) else [value]


options = {**json.loads(sys.argv[2]), "attention": "eager"}  # the same kernels on both
expected, computed = flat(run("cpu", **options)), len(accelerator.operations)
found = flat(run("accel", **options))
assert len(accelerator.operations) > computed + 1000
assert len(found) == len(expected)
worst = max(abs(a - b) / max(1, abs(a)) for a, b in zip(expected, found))
assert worst < 1e-3, (options, worst, expected[:6], found[:6])
run("accel", lora_dropout=0.1)  # which draws other numbers than the CPU's; and with sdpa
print("the same numbers")
"""


@pytest.mark.parametrize(
    "options",
    [
        {"neftune_alpha": 5.0, "lora_plus_ratio": 4.0, "unscored_logprobs": True},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"gradient_checkpointing": "on"}, marks=pytest.mark.slow),
    ],
)
def test_no_tensor_is_left_on_the_cpu(make_tiny_model: Callable[..., Path], options: dict[str, Any]) -> None:
    # Moving to this device makes new parameters, which unties tied ones.
    model = make_tiny_model(tied=False)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, str(model), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same numbers" in done.stdout
