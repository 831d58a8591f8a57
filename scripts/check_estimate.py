"""`text2sql estimate` against measured peaks: random Llamas of several shapes, trained and sampled from on this CPU.

    python scripts/check_estimate.py              # all cases, each in a separate process: about 8 minutes
    python scripts/check_estimate.py CASE ...     # some

The peak is the largest resident size of the process, taken anew in each phase. A difference over 15 % between the
estimated and the measured peak of a case ends with status 1.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 0.15
GIB = 2**30
ROWS, PROMPT, COMPLETION = 12, 100, 28
QUESTIONS, ANSWER = 32, 6
# Width, inner, layers, heads, key/value heads, vocabulary, tied.
SHAPES = {
    "narrow": (384, 1024, 24, 6, 2, 49152, True),
    "smollm2-135m": (576, 1536, 30, 9, 3, 49152, True),
    "wide": (1024, 4096, 8, 16, 4, 32000, False),
    "large vocabulary": (768, 2048, 6, 12, 4, 128256, True),
    "deep": (640, 1728, 36, 10, 5, 16384, False),
}
# Shape, rank, tokens of a micro-batch, options.
CASES = {
    "narrow": ("narrow", 16, 1024, {}),
    "smollm2-135m": ("smollm2-135m", 32, 512, {}),
    "wide": ("wide", 32, 1024, {}),
    "large vocabulary": ("large vocabulary", 16, 1024, {}),
    "deep": ("deep", 8, 1536, {}),
    "bfloat16 products": ("smollm2-135m", 32, 512, {"matmul": "bfloat16"}),
    "nf4": ("smollm2-135m", 16, 1024, {"quantization": "nf4"}),
    "recomputed": ("smollm2-135m", 16, 1536, {"gradient_checkpointing": "on"}),
    "full": ("narrow", 1, 512, {"method": "full"}),
}


def case_of(name):
    """The case's shape as `backends.planning.estimate` takes it, its rank, what is trained, load and options."""
    from backends.options import LocalOptions
    from backends.planning.estimate import Load
    from backends.planning.shape import ModelShape

    shape, rank, budget, options = CASES[name]
    width, inner, layers, heads, kv, vocabulary, tied = SHAPES[shape]
    size = width // heads
    model = ModelShape("llama", width, inner, layers, heads * size, kv * size, vocabulary, tied, 2048)
    length = PROMPT + COMPLETION - 1
    rows = min(ROWS, budget // length)
    columns = QUESTIONS * (PROMPT + ANSWER - 1)
    prefill = min(budget, QUESTIONS * PROMPT)
    load = Load(rows * length, rows * COMPLETION, 0, PROMPT, ANSWER, QUESTIONS, prefill, columns)
    options = LocalOptions(device="cpu", micro_batch_tokens=budget, **options)
    adapter = model.lora_parameters(rank, attn=True, mlp=True, unembed=True)
    return model, rank, adapter if options.method == "lora" else model.parameters, load, options


def estimated(name):
    """Memory, and seconds of one step at this CPU's rate."""
    from backends.planning.estimate import estimate_memory, training_seconds
    from text2sql.estimate.devices import find_device

    shape, rank, trained, load, options = case_of(name)
    device = find_device("cpu")
    tokens, scored = ROWS * (PROMPT + COMPLETION - 1), ROWS * COMPLETION
    seconds = training_seconds(shape, trained, tokens, scored, PROMPT, options, device)
    return estimate_memory(shape, trained, rank, load, options, device), seconds


def write(name, directory):
    """A random model of the case's shape."""
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    width, inner, layers, heads, kv, vocabulary, tied = SHAPES[CASES[name][0]]
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv, tie_word_embeddings=tied, max_position_embeddings=2048,
        bos_token_id=None, eos_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(vocabulary)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="w0", pad_token="w0").save_pretrained(directory)


def measure(name, directory):
    """Train three steps and sample, as a run does; prints the peak of each phase in bytes, and seconds of a step."""
    import numpy as np
    from tinker import types

    import text2sql.pipeline.run  # noqa: F401  (what a run imports)
    from backends import open_backend

    shape, rank, _, _, options = case_of(name)
    rng, found = np.random.default_rng(0), {}

    def note(phase):
        status = Path("/proc/self/status").read_text()
        found[phase] = int(status.split("VmHWM:")[1].split()[0]) * 1024
        # From here on the kernel measures the peak anew.
        Path("/proc/self/clear_refs").write_text("5")

    service = open_backend("local", options)
    client = service.create_lora_training_client(directory, rank=rank, seed=0).result()
    note("loaded")
    weights = np.r_[np.zeros(PROMPT - 1), np.ones(COMPLETION)].astype(np.float32)
    data = []
    for _ in range(ROWS):
        ids = rng.integers(1, shape.vocabulary, PROMPT + COMPLETION)
        inputs = {"target_tokens": ids[1:], "weights": weights}
        data.append(types.Datum(model_input=types.ModelInput.from_ints(ids[:-1].tolist()), loss_fn_inputs=inputs))
    for _ in range(3):
        began = time.perf_counter()
        client.forward_backward(data, "cross_entropy").result()
        client.optim_step(types.AdamParams(learning_rate=1e-3)).result()
        found["step"] = time.perf_counter() - began
    note("trained")
    sampler = client.save_weights_and_get_sampling_client().result()
    params = types.SamplingParams(max_tokens=ANSWER, temperature=0.0, stop=[])
    prompts = [types.ModelInput.from_ints(rng.integers(1, shape.vocabulary, PROMPT).tolist()) for _ in range(QUESTIONS)]
    for future in [sampler.sample(prompt, 1, params) for prompt in prompts]:
        future.result()
    note("sampled")
    service.close()
    print(json.dumps(found))


def check(name):
    """Measure one case, print a line, and say whether the estimate is close enough."""
    with tempfile.TemporaryDirectory() as directory:
        for work in ("write", "measure"):
            command = [sys.executable, __file__, name, "--work", work, "--directory", directory]
            out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found, (memory, seconds) = json.loads(out.splitlines()[-1]), estimated(name)
    base = sum(memory.base.values())
    measured = max(found[phase] for phase in ("loaded", "trained", "sampled"))
    off = memory.peak / measured - 1
    phases = "   ".join(
        f"{phase} {found[phase] / GIB:.2f} / {(base + sum(part.values())) / GIB:.2f}"
        for phase, part in (("trained", memory.training), ("sampled", memory.sampling))
    )
    print(
        f"{name:18} measured {measured / GIB:5.2f} GiB, estimated {memory.peak / GIB:5.2f} ({off:+.0%})   {phases}   "
        f"loaded {found['loaded'] / GIB:.2f}   step {found['step']:.1f} / {seconds:.1f} s",
        flush=True,
    )
    return abs(off) <= LIMIT


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    # Given to the processes that `check` starts.
    parser.add_argument("--work", choices=["write", "measure"], help=argparse.SUPPRESS)
    parser.add_argument("--directory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(unknown)}")
    if options.work:
        (write if options.work == "write" else measure)(options.cases[0], options.directory)
        return
    results = [check(name) for name in (options.cases or CASES)]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
