"""What the server costs and what it gains: the same steps and samples in this process and through the SDK.

    python scripts/bench_server.py [--model smollm2-135m-instruct] [--batch 32] [--tokens 64] [--steps 3]

The server runs in a separate process. Steps alternate between the two, so that both see the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

os.environ.setdefault("TINKER_TELEMETRY", "0")
os.environ.setdefault("TINKER_API_KEY", "tml-benchmark-key")

import tinker
from tinker import types

PORT = 8791


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", default="smollm2-135m-instruct")
    arguments.add_argument("--batch", type=int, default=32)
    arguments.add_argument("--tokens", type=int, default=64)
    arguments.add_argument("--steps", type=int, default=5)
    arguments.add_argument("--new-tokens", type=int, default=16)
    arguments.add_argument("--parts", default="steps,samples,tenants")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "text2sql.cli", "serve", "--base-model", options.model]
        server = subprocess.Popen([*command, "--data", directory, "--port", str(PORT)], stderr=subprocess.DEVNULL)
        try:
            remote = connect()
            print(json.dumps(vars(options)))
            for part, measure in PARTS.items():
                if part in options.parts.split(","):
                    print(json.dumps({part: measure(remote, options)}, indent=2), flush=True)
        finally:
            server.terminate()
            server.wait()


def connect() -> tinker.ServiceClient:
    """A service client, once the server answers."""
    import httpx

    url = f"http://127.0.0.1:{PORT}"
    for _ in range(300):
        try:
            httpx.get(f"{url}/healthz").raise_for_status()
            return tinker.ServiceClient(base_url=url)
        except httpx.HTTPError:
            time.sleep(0.5)
    raise SystemExit("The server did not start.")


def compare_steps(remote: Any, options: Any) -> dict[str, Any]:
    """Seconds of a training step here and there, in turns, and whether the losses agree.

    The overhead is the median over pairs of neighbouring steps: the machine's speed changes while it is measured.
    """
    from backends import open_backend
    from backends.options import LocalOptions

    local = open_backend("local", LocalOptions(unscored_logprobs=True))
    clients = {
        "in_process": local.create_lora_training_client(options.model, rank=16, seed=1).result(),
        "server": remote.create_lora_training_client(options.model, rank=16, seed=1).result(),
    }
    data = datums(options.batch, options.tokens)
    seconds: dict[str, list[float]] = {name: [] for name in clients}
    losses: dict[str, list[float]] = {name: [] for name in clients}
    outside = []
    for round_ in range(options.steps + 1):
        # Who begins changes.
        for name in sorted(clients, reverse=round_ % 2 == 0):
            device = device_seconds()
            start = time.perf_counter()
            forward = clients[name].forward_backward(data, "cross_entropy")
            clients[name].optim_step(types.AdamParams(learning_rate=1e-4)).result()
            losses[name].append(forward.result().metrics["loss:sum"])
            took = time.perf_counter() - start
            # The first warms up.
            if round_:
                seconds[name].append(took)
                outside += [took - (device_seconds() - device)] * (name == "server")
    local.close()
    pairs = [there / here - 1 for here, there in zip(seconds["in_process"], seconds["server"], strict=True)]
    return {
        "seconds_per_step": {name: round(statistics.median(values), 3) for name, values in seconds.items()},
        "overhead": f"{statistics.median(pairs):+.1%}",
        "overhead_of_each_pair": [f"{pair:+.1%}" for pair in pairs],
        "milliseconds_of_the_protocol": round(1000 * statistics.median(outside), 1),
        "same_losses": losses["in_process"] == losses["server"],
    }


def device_seconds() -> float:
    """How long the server's device has worked so far."""
    import httpx

    metrics = httpx.get(f"http://127.0.0.1:{PORT}/metrics").text
    return float(re.findall(r"^text2sql_server_device_busy_seconds (\S+)", metrics, re.MULTILINE)[0])


def measure_samples(remote: Any, options: Any) -> dict[str, Any]:
    """Samples a second with several callers that each wait for their answer, against one."""
    sampler = remote.create_sampling_client(base_model=options.model).result()
    params = types.SamplingParams(max_tokens=options.new_tokens, temperature=0, stop=[])
    prompts = [datum.model_input for datum in datums(64, options.tokens, seed=1)]
    rates = {}
    for callers, requests in ((1, 6), (8, 24), (64, 64)):
        with ThreadPoolExecutor(callers) as pool:
            start = time.perf_counter()
            list(pool.map(lambda prompt: sampler.sample(prompt, 1, params).result(), prompts[:requests]))
        rates[callers] = requests / (time.perf_counter() - start)
    return {
        **{f"{callers} callers": round(rate, 2) for callers, rate in rates.items()},
        "64 against 1": f"{rates[64] / rates[1]:.1f}x",
    }


def measure_tenants(remote: Any, options: Any) -> dict[str, Any]:
    """Tokens a second of one training client, and of two and four at once, with the seconds that each took.

    With separate keys they would be separate users; here they are models of one user, served in turn as well.
    """
    data = datums(max(1, options.batch // 4), options.tokens)
    tokens = sum(datum.model_input.length for datum in data)
    clients = [remote.create_lora_training_client(options.model, rank=16, seed=seed).result() for seed in range(4)]

    def train(client: Any) -> float:
        start = time.perf_counter()
        for _ in range(options.steps):
            client.forward_backward(data, "cross_entropy")
            client.optim_step(types.AdamParams(learning_rate=1e-4)).result()
        return time.perf_counter() - start

    train(clients[0])
    found = {}
    for count in (1, 2, 4, 1):
        start = time.perf_counter()
        with ThreadPoolExecutor(count) as pool:
            each = list(pool.map(train, clients[:count]))
        rate = count * options.steps * tokens / (time.perf_counter() - start)
        name = f"{count} at once" if count > 1 else "alone" if "alone" not in found else "alone again"
        found[name] = {"tokens_per_second": round(rate), "seconds_of_each": [round(s, 2) for s in each]}
    return found


def datums(count: int, length: int, seed: int = 0) -> list[types.Datum]:
    """Random sequences; the last half of each is trained on."""
    rng = np.random.default_rng(seed)
    weights = np.r_[np.zeros(length // 2), np.ones(length - length // 2)].astype(np.float32)
    made = []
    for _ in range(count):
        # In every vocabulary.
        ids = rng.integers(100, 500, length + 1)
        inputs: Any = {"target_tokens": ids[1:], "weights": weights}
        made.append(types.Datum(types.ModelInput.from_ints(ids[:-1].tolist()), inputs))
    return made


PARTS = {"steps": compare_steps, "samples": measure_samples, "tenants": measure_tenants}

if __name__ == "__main__":
    main()
