"""Measures what two programs that compute at once on this machine cost each other, by how idle threads wait.

Usage: python scripts/bench_at_once.py [--processes N] [--rounds N] [--settings SETTING ...] [--data FILE]

Each process trains a step of `--batch` rows and decodes `--prompts` prompts, `--rounds` times, and the median of each
counts: first one process alone, then `--processes` of them at the same time. Settings of libgomp, which PyTorch brings:

    ours       what the command line sets (backends/openmp.py)
    default    libgomp's own: idle threads stay awake for milliseconds
    asleep     OMP_WAIT_POLICY=passive: they sleep at once

Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import bench_common as common

from backends import openmp
from backends.planning.matmul_rates import processor

SETTINGS: dict[str, dict[str, str]] = {
    "ours": {"GOMP_SPINCOUNT": str(openmp.SPIN_COUNT)},
    # Of a program that sets neither.
    "default": {"GOMP_SPINCOUNT": "300000"},
    "asleep": {"OMP_WAIT_POLICY": "passive"},
}
MARK = "figures: "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="packaged name, directory or Hub id")
    parser.add_argument("--data", type=Path, default=common.usual_file(), help=common.QUESTIONS)
    parser.add_argument("--processes", type=int, default=2, help="at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--new-tokens", type=int, default=24)
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args)
        return
    rows = []
    for name in args.settings:
        alone, together = (at_once(args, SETTINGS[name], count) for count in (1, args.processes))
        for kind in ("step", "decoding"):
            one, many = (max(figures[kind] for figures in found) for found in (alone, together))
            rows.append([name, kind, f"{one:.2f}", f"{many:.2f}", f"{many / one:.2f}"])
            print(f"{name}, {kind}: {one:.2f} s alone, {many:.2f} s of {args.processes}", flush=True)
    print(common.table(["", "", "alone, s", f"of {args.processes}, s", "ratio"], rows))
    print(f"{os.cpu_count()} cores of {processor()}")


def at_once(args: argparse.Namespace, setting: dict[str, str], count: int) -> list[dict[str, float]]:
    """The medians of `count` processes that compute at the same time."""
    own = {name: value for name, value in os.environ.items() if name not in openmp.VARIABLES}
    workers = [
        subprocess.Popen(
            [sys.executable, *sys.argv, "--worker"],
            env=own | setting,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    # All are ready before any begins.
    for worker in workers:
        read(worker)
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("\n")
        worker.stdin.flush()
    return [read(worker) for worker in workers]


def read(worker: subprocess.Popen[str]) -> dict[str, float]:
    """The next line of figures."""
    assert worker.stdout
    for line in worker.stdout:
        if line.startswith(MARK):
            found: dict[str, float] = json.loads(line.removeprefix(MARK))
            return found
    raise SystemExit("A process ended before it had measured anything; what it said stands above.")


def work(args: argparse.Namespace) -> None:
    """Be one process: warm up, wait to be asked, then measure."""
    from tinker import types

    from backends import open_backend
    from text2sql.data.datum import make_batch

    client = open_backend("local").create_lora_training_client(args.model, rank=16, seed=0).result()
    tokenizer = client.get_tokenizer()
    rows = make_batch(common.training_tokens(tokenizer, args.batch, "shuffled", 1, args.data))
    sampler = client.save_weights_and_get_sampling_client().result()
    prompts = [t.prompt.tolist() for t in common.shuffled_tokens(tokenizer, args.prompts, data=args.data)]
    params = types.SamplingParams(max_tokens=args.new_tokens, temperature=0, stop=[])

    def step() -> None:
        client.forward_backward(rows, "cross_entropy")
        client.optim_step(types.AdamParams(learning_rate=1e-3, eps=1e-8)).result()

    def decode() -> None:
        futures = [sampler.sample(types.ModelInput.from_ints(prompt), 1, params) for prompt in prompts]
        for future in futures:
            future.result()

    step()
    decode()
    print(f"{MARK}{{}}", flush=True)
    sys.stdin.readline()
    figures = {"step": median_seconds(step, args.rounds), "decoding": median_seconds(decode, args.rounds)}
    print(f"{MARK}{json.dumps(figures)}", flush=True)


def median_seconds(job: Any, rounds: int) -> float:
    """The median time of a few."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
