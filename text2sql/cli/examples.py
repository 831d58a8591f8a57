"""The examples at the end of each command's help."""

from __future__ import annotations

import typer

EXAMPLES = {
    "run": (
        "text2sql run quickstart",
        "text2sql run llama-3.2-1b --processes 4",
        "text2sql run configs/qwen3.5-4b.yaml backend=tinker seed=1",
    ),
    "sweep": ("text2sql sweep quickstart seed=0,1,2 training.learning_rate=1e-3,5e-4",),
    "train": ("text2sql train quickstart training.epochs=2",),
    "evaluate": (
        "text2sql evaluate runs/quickstart",
        "text2sql evaluate predictions.jsonl evaluation.databases=80",
        "text2sql evaluate pred.sql --gold dev_gold.sql --databases database",
        "text2sql evaluate quickstart --adapter downloads/adapter --base smollm2-135m-instruct",
    ),
    "match": ("text2sql match --schema 'CREATE TABLE t (a INT)' --gold 'SELECT a FROM t' --predicted 'SELECT 1'",),
    "ask": (
        "text2sql ask 'How many customers live in Lisbon?' --database shop.sqlite --execute",
        "text2sql ask 'How many orders?' --database 'postgresql://reader:${PASSWORD}@localhost/shop' --execute",
    ),
    "report": ("text2sql report runs/quickstart",),
    "compare": ("text2sql compare runs/quickstart:base runs/quickstart --json comparison.json",),
    "view": ("text2sql view runs",),
    "download": (
        "text2sql download runs/qwen3.5-4b",
        "text2sql download tinker://RUN/weights/NAME --output adapter",
    ),
    "bill": ("text2sql bill runs/qwen3.5-4b",),
    "estimate": ("text2sql estimate llama-3.2-1b --device T4",),
    "example": ("text2sql example shop",),
    "export": ("text2sql export runs/quickstart --format merged",),
    "merge": ("text2sql merge downloads/adapter --base Qwen/Qwen3.5-4B --output merged",),
    "demo": (
        "text2sql demo runs/quickstart --port 7861",
        "text2sql demo runs/quickstart --database sales.duckdb",
    ),
    "serve": ("text2sql serve --base-model smollm2-135m-instruct --port 8787",),
    "models": ("text2sql models --remote",),
    "env": ("text2sql env",),
    "runs list": ("text2sql runs list runs/quickstart-sweep",),
    "runs remove": ("text2sql runs remove runs/quickstart-2",),
    "config list": ("text2sql config list",),
    "config new": ("text2sql config new mine.yaml --from quickstart data.source=mine.jsonl",),
    "config show": ("text2sql config show quickstart training.batch_size=32",),
    "config validate": ("text2sql config validate mine.yaml", "text2sql config validate mine.yaml lora.rank=64"),
    "config schema": ("text2sql config schema",),
    "data list": ("text2sql data list",),
    "data inspect": ("text2sql data inspect quickstart data.source=mine.jsonl data.limit=null",),
    "data stats": ("text2sql data stats quickstart",),
    "data fetch": ("text2sql data fetch sql-create-context",),
    "data export": ("text2sql data export quickstart --output exported --format messages",),
    "data reason": ("text2sql data reason quickstart --model gpt --endpoint http://localhost:8000/v1",),
    "data make": ("text2sql data make --database shop.sqlite --output mine.jsonl --count 1000",),
    "data audit": (
        "text2sql data audit mine.jsonl --top 20",
        "text2sql data audit mine.jsonl --samples runs/mine",
        "text2sql data audit mine.jsonl --model runs/mine",
    ),
    "cache list": ("text2sql cache list",),
    "cache size": ("text2sql cache size",),
    "cache prune": ("text2sql cache prune data --older-than 30",),
}


def add_examples(app: typer.Typer, prefix: str = "") -> None:
    """Add each command's examples to the end of its help; `prefix` is the name of the command group."""
    for command in app.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "")
        # Rich joins the lines of a paragraph.
        command.epilog = "\n\n".join(["Examples:", *EXAMPLES[f"{prefix}{name}"]])
    for group in app.registered_groups:
        assert group.typer_instance is not None
        add_examples(group.typer_instance, f"{group.name} ")
