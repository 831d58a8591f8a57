"""Speed and memory of training: this project, TRL's SFTTrainer and a plain PEFT loop on the same data.

Usage: python scripts/bench_train.py [--rounds N] [--steps N] [--contenders NAME …] [--json FILE]
       python scripts/bench_train.py --alike rl --group 8 --contenders ours separate bfloat16
       python scripts/bench_train.py --shape llama-3.2-1b --layers 4 --batch 8 --contenders ours plain

Every contender lives in a separate process, so that each has its own memory peak, and they take turns: round by
round, `--steps` optimiser steps each, never two at a time. All train the same LoRA (rank 16 on the seven linear
layers; TRL takes no adapter on the output layer) on the same rows in the same order, `--batch` rows a step, AdamW at
the same rate, loss per completion token; their losses are printed side by side. Contenders:

    ours          the local backend
    separate      the same, but what rows begin with alike is computed for each (local.share_prefixes=false)
    bfloat16      ours with products of frozen weights in bfloat16 (local.matmul=bfloat16)
    plain         transformers and PEFT: micro-batches of 8 padded to the longest, the loss as in every tutorial
    plain-autocast    the same under bfloat16 autocast
    trl           TRL's SFTTrainer with its defaults (micro-batches of 8, activations recomputed) in the same dtype
    trl-best      the same without recomputation: the fastest of its settings that was found here

With `--alike spider`, `rl` or `rl-tables`, `--group` rows share a schema of several tables, their whole prompt on one
table, or that on several.

`needed` is the arithmetic without padding, recomputation or unscored logits, but for every row, over the step's time,
as a share of the best rate that a matrix product reached between the rounds of the same run. `CPU` compares seconds of
CPU time, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import bench_common as common

from backends.planning.matmul_rates import processor

CONTENDERS = ("ours", "separate", "bfloat16", "plain", "plain-autocast", "trl", "trl-best")
OURS = {"ours": {}, "separate": {"share_prefixes": False}, "bfloat16": {"matmul": "bfloat16"}}
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RANK, ALPHA, RATE, MICRO = 16, 32.0, 5e-4, 8
# It precedes a contender's report: libraries print to the same stream.
MARK = "bench:"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct", help="packaged name, directory or Hub id")
    parser.add_argument("--shape", choices=("llama-3.2-1b",), help="random weights of this shape instead of a model")
    parser.add_argument("--layers", type=int, default=4, help="decoder layers of --shape (the real one has 16)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--nf4", action="store_true", help="base weights in NF4 (QLoRA), for all; needs bitsandbytes")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as PyTorch takes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1, help="optimiser steps of a round")
    parser.add_argument("--batch", type=int, default=32, help="rows of an optimiser step")
    parser.add_argument("--data", type=Path, default=common.usual_file(), help=common.QUESTIONS)
    parser.add_argument("--alike", choices=common.ALIKE, default="shuffled", help="what rows have in common")
    parser.add_argument("--group", type=int, default=8, help="rows that belong together, with spider and rl")
    parser.add_argument("--option", action="append", default=[], help="KEY=VALUE of the local backend, for ours")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=["ours", "plain", "trl", "trl-best"])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--worker", choices=CONTENDERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args)
    else:
        with tempfile.TemporaryDirectory() as directory:
            if args.shape:
                args.model = common.random_llama(Path(directory), args.layers)
            report(compare(args), args)


def compare(args: argparse.Namespace) -> dict[str, Any]:
    """Let the contenders take turns; returns every figure."""
    environment = {**os.environ, "TRANSFORMERS_VERBOSITY": "error"}
    workers: dict[str, subprocess.Popen[str]] = {}
    try:
        for name in args.contenders:
            command = [sys.executable, "-W", "ignore", __file__, *sys.argv[1:], "--model", args.model, "--worker", name]
            workers[name] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
            # The answer says that the contender is loaded.
            answer(workers[name], name)
        return take_turns(workers, args)
    finally:
        for worker in workers.values():
            worker.kill()


def take_turns(workers: dict[str, subprocess.Popen[str]], args: argparse.Namespace) -> dict[str, Any]:
    """The rounds of contenders that are loaded."""
    set_threads(args)
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    gemm = common.gemm_rate(dtype(args), args.device)
    # The first round warms up.
    for number in range(args.rounds + 1):
        for name, worker in workers.items():
            done = ask(worker, name)
            if number:
                rounds[name].append(done)
            else:
                print(f"{name}: warmed up in {done['seconds']:.1f} s", flush=True)
        gemm = max(gemm, common.gemm_rate(dtype(args), args.device))
    return {"gemm_flops_per_second": gemm, "threads": set_threads(args), "rounds": rounds}


def ask(worker: subprocess.Popen[str], name: str) -> dict[str, Any]:
    """Let a contender do a round (SystemExit with its name if it has died)."""
    # `answer` says what has become of one that is gone.
    with suppress(BrokenPipeError):
        print("go", file=worker.stdin, flush=True)
    return answer(worker, name)


def answer(worker: subprocess.Popen[str], name: str) -> dict[str, Any]:
    """The next answer of a contender (SystemExit with its name if it has died)."""
    assert worker.stdout is not None
    for line in worker.stdout:
        if line.startswith(MARK):
            return dict(json.loads(line.removeprefix(MARK)))
    status = worker.wait()
    if status >= 0:
        raise SystemExit(f"{name} ended with status {status}; its message is above.")
    memory = " Was the memory full? Try fewer --contenders, or a smaller --batch." if status == -signal.SIGKILL else ""
    raise SystemExit(f"{name} was ended by {signal.Signals(-status).name}.{memory}")


def set_threads(args: argparse.Namespace) -> int:
    """Use the threads that were asked for; returns how many there are."""
    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    return torch.get_num_threads()


def dtype(args: argparse.Namespace) -> Any:
    """The dtype of the matrix products."""
    import torch

    return getattr(torch, args.dtype)


def report(figures: dict[str, Any], args: argparse.Namespace) -> None:
    """Print the table, and write the figures if asked."""
    rounds = figures["rounds"]
    first = next(iter(rounds))
    rows = []
    for name, turns in rounds.items():
        seconds = statistics.median(turn["seconds"] for turn in turns)
        ratios = [a["seconds"] / b["seconds"] for a, b in zip(turns, rounds[first], strict=True)]
        cpu = [a["cpu_seconds"] / b["cpu_seconds"] for a, b in zip(turns, rounds[first], strict=True)]
        needed = statistics.median(t["flops"] / t["seconds"] for t in turns) / figures["gemm_flops_per_second"]
        rows.append(
            [
                name,
                f"{args.batch * args.steps / seconds:.2f}",
                f"{statistics.median(t['tokens'] / t['seconds'] for t in turns):.0f}",
                f"{turns[-1]['peak_bytes'] / 1e9:.2f}",
                f"{needed:.0%}",
                f"{statistics.median(ratios):.2f}",
                f"{statistics.median(cpu):.2f}",
                " ".join(f"{loss:.4f}" for turn in turns for loss in turn["losses"]),
            ]
        )
    header = ["contender", "examples/s", "tokens/s", "peak GB", "needed", f"time / {first}", f"CPU / {first}", "losses"]
    print(common.table(header, rows))
    rate = f"best matrix product {figures['gemm_flops_per_second'] / 1e9:.0f} GFLOP/s"
    print(f"{rate}, {figures['threads']} threads of {processor()}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))


def work(args: argparse.Namespace) -> None:
    """Be one contender: train when asked to, and report what it took."""
    from transformers import AutoConfig, AutoTokenizer

    from backends.base_models import locate

    set_threads(args)
    location = locate(args.model)
    count = args.batch * args.steps * (args.rounds + 1)
    tokens = common.training_tokens(AutoTokenizer.from_pretrained(location), count, args.alike, args.group, args.data)
    batches = [tokens[i : i + args.batch] for i in range(0, len(tokens), args.batch)]
    config = AutoConfig.from_pretrained(location)

    def turns() -> Iterator[Callable[[list[float]], None]]:
        """Wait for a turn; what it gives is called with the losses of its steps."""
        for number in range(args.rounds + 1):
            rows = [
                (len(t) - 1, len(t.completion))
                for b in batches[number * args.steps : (number + 1) * args.steps]
                for t in b
            ]
            # An empty line means that the process which asks has ended.
            if not sys.stdin.readline():
                raise SystemExit
            start, cpu = time.perf_counter(), time.process_time()

            def done(
                losses: list[float], start: float = start, cpu: float = cpu, rows: list[tuple[int, int]] = rows
            ) -> None:
                figures = {
                    "seconds": time.perf_counter() - start,
                    "cpu_seconds": time.process_time() - cpu,
                    "losses": losses,
                    "tokens": sum(t for t, _ in rows),
                    "flops": common.training_flops(config, RANK, rows),
                    "peak_bytes": common.peak_memory(),
                }
                print(f"{MARK}{json.dumps(figures)}", flush=True)

            yield done

    trainers = {**dict.fromkeys(OURS, ours), "plain": plain, "plain-autocast": plain, "trl": trl, "trl-best": trl}
    trainers[args.worker](args, location, batches, turns())


def ours(args: argparse.Namespace, location: str, batches: list[Any], turns: Iterator[Any]) -> None:
    """The local backend, called as the training loop calls it."""
    from tinker import types

    from backends import open_backend
    from backends.options import LocalOptions
    from text2sql.data.datum import make_batch

    chosen: dict[str, Any] = {**OURS[args.worker], **dict(item.split("=", 1) for item in args.option)}
    if args.nf4:
        chosen["quantization"] = "nf4"
    service = open_backend("local", LocalOptions(device=args.device, dtype=args.dtype, lora_alpha=ALPHA, **chosen))
    client = service.create_lora_training_client(location, rank=RANK, seed=0, train_unembed=False).result()
    print(f"{MARK}{{}}", flush=True)
    step = iter(batches)
    for done in turns:
        losses = []
        for _ in range(args.steps):
            output = client.forward_backward(make_batch(next(step)), "cross_entropy")
            client.optim_step(types.AdamParams(learning_rate=RATE, eps=1e-8)).result()
            losses.append(output.result().metrics["loss:sum"])
        done(losses)


def peft_model(args: argparse.Namespace, location: str) -> Any:
    """The base model with the same adapter, through PEFT."""
    import torch
    from peft import LoraConfig, get_peft_model

    base = common.plain_base(location, dtype(args), args.device, nf4=args.nf4)
    torch.manual_seed(0)
    config = LoraConfig(r=RANK, lora_alpha=int(ALPHA), target_modules=MODULES, task_type="CAUSAL_LM")
    return get_peft_model(base, config)


def plain(args: argparse.Namespace, location: str, batches: list[Any], turns: Iterator[Any]) -> None:
    """What a tutorial does: padded micro-batches, masked labels, the model's own loss, AdamW."""
    import torch

    model = peft_model(args, location)
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    print(f"{MARK}{{}}", flush=True)
    step = iter(batches)
    for done in turns:
        losses = []
        for _ in range(args.steps):
            batch = next(step)
            scored = sum(len(tokens.completion) for tokens in batch)
            total = 0.0
            for start in range(0, len(batch), MICRO):
                part = batch[start : start + MICRO]
                width = max(len(tokens) for tokens in part)
                ids = torch.zeros(len(part), width, dtype=torch.long)
                labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
                for row, tokens in enumerate(part):
                    ids[row, : len(tokens)] = torch.tensor([*tokens.prompt.tolist(), *tokens.completion.tolist()])
                    labels[row, len(tokens.prompt) : len(tokens)] = ids[row, len(tokens.prompt) : len(tokens)]
                    mask[row, : len(tokens)] = 1
                inputs = {"input_ids": ids, "attention_mask": mask, "labels": labels}
                inputs = {name: tensor.to(args.device) for name, tensor in inputs.items()}
                with torch.autocast(args.device, torch.bfloat16, enabled=args.worker == "plain-autocast"):
                    loss = model(**inputs, num_items_in_batch=scored).loss
                loss.backward()
                total += float(loss.detach())
            optimizer.step()
            optimizer.zero_grad()
            losses.append(total)
        done(losses)


def trl(args: argparse.Namespace, location: str, batches: list[Any], turns: Iterator[Any]) -> None:
    """TRL's SFTTrainer on the tokenised rows; it is held back and timed by a callback."""
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    rows = [
        {
            "input_ids": [*tokens.prompt.tolist(), *tokens.completion.tolist()],
            "completion_mask": [0] * len(tokens.prompt) + [1] * len(tokens.completion),
        }
        for batch in batches
        for tokens in batch
    ]
    best = {"gradient_checkpointing": False} if args.worker == "trl-best" else {}
    with tempfile.TemporaryDirectory() as directory:
        config = SFTConfig(
            output_dir=directory,
            per_device_train_batch_size=MICRO,
            gradient_accumulation_steps=args.batch // MICRO,
            max_steps=len(batches),
            learning_rate=RATE,
            lr_scheduler_type="constant",
            adam_beta2=0.95,
            max_grad_norm=0.0,
            completion_only_loss=True,
            train_sampling_strategy="sequential",
            bf16=args.dtype == "bfloat16",
            use_cpu=args.device == "cpu",
            logging_steps=1,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            **best,
        )

        class Turns(TrainerCallback):
            """Waits before the first step of a turn, and reports after the last."""

            def __init__(self) -> None:
                self.losses: list[float] = []

            def on_step_begin(self, arguments: Any, state: Any, control: Any, **others: Any) -> None:
                if state.global_step % args.steps == 0:
                    self.done = next(turns)

            def on_log(self, arguments: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
                if "loss" in (logs or {}):
                    self.losses = [*self.losses, float(logs["loss"])]
                    if len(self.losses) == args.steps:
                        self.done(self.losses)
                        self.losses = []

        trainer = SFTTrainer(
            model=peft_model(args, location),
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(location),
            callbacks=[Turns()],
        )
        print(f"{MARK}{{}}", flush=True)
        trainer.train()


if __name__ == "__main__":
    main()
