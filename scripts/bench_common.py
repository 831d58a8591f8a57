"""What the benchmarks share: the data, the machine's own rates, the arithmetic that is needed, a table."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from backends import openmp
from text2sql.config import SourceConfig
from text2sql.data.example import Example
from text2sql.data.prompts import PromptFormat, Tokens, tokenize
from text2sql.data.sources import load_examples
from text2sql.errors import UserError

# As the command line does it, and for every contender.
openmp.limit_spin()
# bitsandbytes says at every start that it did not find kernels which nothing here uses.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

GEMMS = [(2048, 2048, 2048), (1024, 576, 1536), (512, 576, 1536), (512, 1536, 576), (512, 2048, 8192), (256, 576, 1536)]


# What the rows of a batch may have in common.
# The help of --data.
QUESTIONS = "file of questions, schemas and queries; by default what `text2sql data fetch sql-create-context` brought"
ALIKE = ("shuffled", "spider", "rl", "rl-tables")


def training_tokens(tokenizer: Any, count: int, alike: str, group: int, data: Path | None = None) -> list[Tokens]:
    """Examples to train on.

    Args:
        tokenizer: The model's.
        count: Examples.
        alike: ``shuffled``: as `shuffled_tokens` has them. ``spider``: `group` questions on one schema, which has the
            tables of half of them, as Spider's databases have several. ``rl``: `group` answers to one prompt.
            ``rl-tables``: to one prompt with such a schema.
        group: How many belong together.
        data: File of them.
    """
    if alike == "shuffled":
        return shuffled_tokens(tokenizer, count, data=data)
    examples = shuffled_examples(count, data=data)
    groups = [examples[start : start + group] for start in range(0, count, group)]
    made = []
    for members in groups:
        tables = "\n".join(dict.fromkeys(example.context for example in members[: max(1, group // 2)]))
        for example in members:
            asked = example if alike == "spider" else replace(members[0], answer=example.answer)
            made.append(asked if alike == "rl" else replace(asked, context=tables))
    return tokenize(made, tokenizer, PromptFormat("exercise"))


def shuffled_tokens(tokenizer: Any, count: int, seed: int = 0, data: Path | None = None) -> list[Tokens]:
    """Examples of sql-create-context, or of a file, in a random order, as the exercise's prompts and completions."""
    return tokenize(shuffled_examples(count, seed, data), tokenizer, PromptFormat("exercise"))


def shuffled_examples(count: int, seed: int = 0, data: Path | None = None) -> list[Example]:
    """Examples of sql-create-context, or of a file, in a random order."""
    try:
        rows = load_examples(SourceConfig(source="sql-create-context", path=data and str(data)))
    except UserError as error:
        raise SystemExit(
            f"{error} `text2sql data fetch sql-create-context` brings them; --data names a file."
        ) from error
    random.Random(seed).shuffle(rows)
    return [replace(row, id=str(place)) for place, row in enumerate(rows[:count])]


def usual_file() -> Path | None:
    """The file of questions where the tests look for real data too, if there is any."""
    directory = os.environ.get("TEXT2SQL_DATA")
    path = Path(directory) / "sql_create_context.json" if directory else None
    return path if path and path.is_file() else None


def random_llama(directory: Path, layers: int) -> str:
    """A directory with random weights of Llama-3.2-1B's shape, less some of its layers, and SmolLM2's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from backends.base_models import locate

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    # A machine without the packaged model is given its tokenizer.
    tokenizer = os.environ.get("TEXT2SQL_TOKENIZER") or locate("smollm2-135m-instruct")
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(directory)
    return str(directory)


def plain_base(location: str, dtype: Any, device: str, *, nf4: bool) -> Any:
    """A base model as transformers loads it; in NF4 as QLoRA's tutorials do, but for recomputed activations."""
    from peft import prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if not nf4:
        return AutoModelForCausalLM.from_pretrained(location, dtype=dtype).to(device)
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    model = AutoModelForCausalLM.from_pretrained(
        location, dtype=dtype, quantization_config=config, device_map={"": device}
    )
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


def gemm_rate(dtype: Any = None, device: str = "cpu", seconds: float = 0.15) -> float:
    """The best rate of a matrix product over several shapes and both layouts, in FLOP/s."""
    import torch

    best = 0.0
    for m, k, n in GEMMS:
        a = torch.randn(m, k, dtype=dtype, device=device)
        for b in (torch.randn(k, n, dtype=dtype, device=device), torch.randn(n, k, dtype=dtype, device=device).t()):
            out, until = torch.mm(a, b), time.perf_counter() + seconds
            while time.perf_counter() < until:
                start = time.perf_counter()
                torch.mm(a, b, out=out)
                if device != "cpu":
                    torch.cuda.synchronize()
                best = max(best, 2 * m * k * n / (time.perf_counter() - start))
    return best


def read_rate(device: str = "cpu", repeats: int = 5) -> float:
    """Bytes a second read from memory, by a matrix-vector product over 256 MB (the best of several)."""
    import torch

    matrix, vector = torch.randn(8192, 8192, device=device), torch.randn(8192, device=device)
    best = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        matrix @ vector
        if device != "cpu":
            torch.cuda.synchronize()
        best = max(best, matrix.numel() * 4 / (time.perf_counter() - start))
    return best


def linear_shapes(config: Any) -> list[tuple[str, int, int]]:
    """Name, inputs and outputs of the linear layers of one Llama decoder layer."""
    hidden, inner = config.hidden_size, config.intermediate_size
    head = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
    query, key = config.num_attention_heads * head, config.num_key_value_heads * head
    return [
        ("q_proj", hidden, query),
        ("k_proj", hidden, key),
        ("v_proj", hidden, key),
        ("o_proj", query, hidden),
        ("gate_proj", hidden, inner),
        ("up_proj", hidden, inner),
        ("down_proj", inner, hidden),
    ]


def training_flops(config: Any, rank: int, rows: Iterable[tuple[int, int]], *, head_adapter: bool = False) -> float:
    """FLOPs that forward and backward of LoRA on every linear layer need; nothing for padding or recomputation.

    A frozen weight costs a product forward and one for the input's gradient; an adapter's matrices two and four
    (their own gradients too); attention is causal. The first layer's input needs no gradient; the output layer is
    needed where a token is scored.

    Args:
        config: A Llama configuration.
        rank: LoRA's rank.
        rows: Tokens that are fed, and positions that are scored, of each row.
        head_adapter: Whether the output layer has an adapter.
    """
    layers, shapes = config.num_hidden_layers, linear_shapes(config)
    first = [(i, o) for name, i, o in shapes if name in ("q_proj", "k_proj", "v_proj")]
    token = sum(4 * i * o + 6 * rank * (i + o) for _, i, o in shapes) * layers
    token -= sum(2 * i * o + 2 * rank * i for i, o in first)
    width, vocabulary = config.hidden_size, config.vocab_size
    scored = 4 * width * vocabulary + head_adapter * 6 * rank * (width + vocabulary)
    query = shapes[0][2]
    return float(sum(t * token + n * scored + 6 * query * t * (t + 1) * layers for t, n in rows))


def forward_flops(config: Any, tokens: float, past: float, logits: float) -> float:
    """FLOPs of a forward pass over `tokens`, which attend to `past` positions in all, with `logits` rows of logits."""
    shapes = linear_shapes(config)
    body = sum(2 * i * o for _, i, o in shapes) * config.num_hidden_layers
    attention = 4 * shapes[0][2] * config.num_hidden_layers
    return tokens * body + past * attention + logits * 2 * config.hidden_size * config.vocab_size


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns in line, the first to the left and the others to the right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]

    def aligned(line: list[str]) -> str:
        first, *others = zip(line, widths, strict=True)
        return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])

    return "\n".join(map(aligned, lines))


def peak_memory() -> float:
    """The most memory that this process has held, in bytes: of the GPU if it used one, else resident."""
    import resource
    import sys

    import torch

    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return float(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
