"""What the server costs and what it gains: the same steps and samples in this process and through the SDK.

    python scripts/bench_server.py [--model smollm2-135m-instruct] [--batch 32] [--tokens 64] [--steps 3]
    python scripts/bench_server.py --parts neighbours    four users: what a short request waits, and who gets how much
    python scripts/bench_server.py --against DIRECTORY   another version's checkout beside this one, request by request

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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TINKER_TELEMETRY", "0")
os.environ["TINKER_API_KEY"] = "tml-benchmark-0"

import tinker
from tinker import types

KEYS = [f"tml-benchmark-{number}" for number in range(4)]
PORT = 8791
URL = f"http://127.0.0.1:{PORT}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", default="smollm2-135m-instruct")
    arguments.add_argument("--batch", type=int, default=32)
    arguments.add_argument("--tokens", type=int, default=64)
    arguments.add_argument("--steps", type=int, default=5)
    arguments.add_argument("--new-tokens", type=int, default=16)
    arguments.add_argument("--parts", default="steps,samples,tenants")
    arguments.add_argument(
        "--against", type=Path, metavar="DIRECTORY", help="checkout of another version of this project"
    )
    options = arguments.parse_args()
    print(json.dumps(vars(options), default=str))
    with serving(options.model, PORT) as remote:
        if options.against:
            with serving(options.model, PORT + 1, options.against) as other:
                print(json.dumps({"against": compare_versions(remote, other, options)}, indent=2), flush=True)
            return
        for part, measure in PARTS.items():
            if part in options.parts.split(","):
                print(json.dumps({part: measure(remote, options)}, indent=2), flush=True)


@contextmanager
def serving(model: str, port: int, checkout: Path | None = None) -> Iterator[tinker.ServiceClient]:
    """A client of a server in a process of its own, of this version or of another checkout."""
    # Every version has had this entry.
    command = [sys.executable, "-c", "from text2sql.cli import main; main()", "serve", "--base-model", model]
    command += [argument for key in KEYS for argument in ("--api-key", key)]
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())} if checkout else None
    with tempfile.TemporaryDirectory() as directory:
        server = subprocess.Popen(
            [*command, "--data", directory, "--port", str(port)],
            stderr=subprocess.DEVNULL,
            cwd=checkout,
            env=environment,
        )
        try:
            yield connect(f"http://127.0.0.1:{port}")
        finally:
            server.terminate()
            server.wait()


def connect(url: str) -> tinker.ServiceClient:
    """A service client, once the server answers."""
    import httpx

    for _ in range(300):
        try:
            httpx.get(f"{url}/healthz").raise_for_status()
            return tinker.ServiceClient(base_url=url)
        except httpx.HTTPError:
            time.sleep(0.5)
    raise SystemExit("The server did not start.")


def compare_versions(this: Any, other: Any, options: Any) -> dict[str, Any]:
    """How much longer requests take than on another version's server: medians over pairs of neighbouring requests."""
    trained = [client.create_lora_training_client(options.model, rank=16, seed=1).result() for client in (this, other)]
    samplers = [client.create_sampling_client(base_model=options.model).result() for client in (this, other)]
    data, short = datums(options.batch, options.tokens), datums(1, 3)
    params = types.SamplingParams(max_tokens=options.new_tokens, temperature=0, stop=[])
    prompts = [datum.model_input for datum in datums(8, options.tokens, seed=1)]

    def step(which: int) -> None:
        forward = trained[which].forward_backward(data, "cross_entropy")
        trained[which].optim_step(types.AdamParams(learning_rate=1e-4)).result()
        forward.result()

    def sample(which: int) -> None:
        for future in [samplers[which].sample(prompt, 1, params) for prompt in prompts]:
            future.result()

    def forward(which: int) -> None:
        trained[which].forward(short, "cross_entropy").result()

    def longer(work: Callable[[int], None], rounds: int) -> dict[str, Any]:
        ratios = []
        # The first warms up; who begins changes.
        for round_ in range(rounds + 1):
            took = {which: _seconds(partial(work, which)) for which in ((0, 1) if round_ % 2 else (1, 0))}
            ratios += [took[0] / took[1] - 1] * (round_ > 0)
        low, middle, high = statistics.quantiles(ratios, n=4)
        return {"longer": f"{middle:+.1%}", "middle half": f"{low:+.1%} to {high:+.1%}", "pairs": rounds}

    return {
        "training step": longer(step, options.steps),
        "8 samples": longer(sample, 2 * options.steps),
        "forward of 3 tokens": longer(forward, 20 * options.steps),
    }


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

    headers = {"Authorization": f"Bearer {KEYS[0]}"}
    metrics = httpx.get(f"{URL}/metrics", headers=headers).text
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


def measure_neighbours(remote: Any, options: Any) -> dict[str, Any]:
    """What a forward of three tokens waits while three other users sample, and the shares of four who all sample."""
    trained = remote.create_lora_training_client(options.model, rank=16, seed=1).result()
    prompt, short = datums(1, options.tokens)[0].model_input, datums(1, 3)
    alone = [_seconds(lambda: trained.forward(short, "cross_entropy").result()) for _ in range(5)]
    others = [tinker.ServiceClient(base_url=URL, api_key=key) for key in KEYS[1:]]
    samplers = [user.create_sampling_client(base_model=options.model).result() for user in others]
    long = types.SamplingParams(max_tokens=500, temperature=1, seed=1, stop=[])
    running = [sampler.sample(prompt, 64, long) for sampler in samplers]
    # All three are being decoded.
    time.sleep(10)
    waits = [_seconds(lambda: trained.forward(short, "cross_entropy").result()) for _ in range(10)]
    busy = not any(future.done() for future in running)
    for user in others:
        user.close("success").result()
    users = [tinker.ServiceClient(base_url=URL, api_key=key) for key in KEYS]
    samplers = [user.create_sampling_client(base_model=options.model).result() for user in users]
    brief = types.SamplingParams(max_tokens=options.new_tokens, temperature=1, seed=1, stop=[])
    until, tokens = time.monotonic() + 60, [0] * len(users)

    def keep_sampling(number: int) -> None:
        while time.monotonic() < until:
            samplers[number].sample(prompt, 8, brief).result()
            tokens[number] += 8 * options.new_tokens

    with ThreadPoolExecutor(len(users)) as pool:
        list(pool.map(keep_sampling, range(len(users))))
    return {
        "seconds_of_a_short_forward": {
            "alone": round(statistics.median(alone), 3),
            "with 3 who sample": {"median": round(statistics.median(waits), 2), "most": round(max(waits), 2)},
            "they sampled all the time": busy,
        },
        "tokens_of_each_of_4_who_sample": tokens,
        "largest_difference_from_the_mean": f"{max(abs(n / statistics.mean(tokens) - 1) for n in tokens):.1%}",
    }


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


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


PARTS = {
    "steps": compare_steps,
    "samples": measure_samples,
    "tenants": measure_tenants,
    "neighbours": measure_neighbours,
}

if __name__ == "__main__":
    main()
