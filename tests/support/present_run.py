"""A small run directory in format 1, written out by hand as the first version to have it wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VERDICT = {
    "status": "different",
    "correct": False,
    "reason": "The gold query returns 0 rows, the prediction 1.",
    "strict": False,
    "lenient": False,
    "databases": 3,
    "informative": 2,
    "witness": {
        "tables": {"t": {"columns": ["a", "b"], "rows": [[1, {"hex": "00ff"}], [{"float": "inf"}, None]]}},
        "gold": {"columns": ["a"], "rows": []},
        "predicted": {"columns": ["a"], "rows": [[2.5]]},
    },
}
PREDICTION = {
    "id": "tiny/0",
    "question": "How many rows have a = 0?",
    "context": "CREATE TABLE t (a INTEGER, b VARCHAR)",
    "gold": "SELECT COUNT(*) FROM t WHERE a = 0",
    "prompt": "Table schema:\n…\nSQL:",
    "raw": " SELECT a FROM t\n\n",
    "stop_reason": "stop",
    "tokens": 6,
    "prompt_tokens": 40,
    "samples": 1,
    "cluster": None,
    "sql": "SELECT a FROM t",
    "labels": ["missing condition", "missing aggregate"],
    "hardness": "easy",
    "checks": {
        "exact_match": False,
        "canonical_match": False,
        "valid_syntax": True,
        "valid_schema": True,
        "executable": True,
    },
    "verdict": VERDICT,
}
WITH_EVERYTHING = {
    **{key: PREDICTION[key] for key in list(PREDICTION)[:10]},
    "cluster": "shop",
    "evidence": "a counts",
    **{key: PREDICTION[key] for key in ("sql", "labels", "hardness", "checks", "verdict")},
    "benchmark": {
        "spider_ex": True,
        "spider_test_suite": None,
        "bird_ex": False,
        "bird_soft_f1": 0.5,
        "bird_rves": None,
        "time_ratio": None,
        "failure": None,
        "gold_failure": None,
    },
    "judge": {"status": "judged", "correct": False, "error_type": "logic_error", "reason": "It does not count."},
}
STEP = {
    "step": 1,
    "epoch": 0.5,
    "loss": 1.25,
    "learning_rate": 0.001,
    "grad_norm": None,
    "examples": 8,
    "tokens": 731,
    "seconds": 2.5,
    "tokens_per_second": 292.4,
}
CHECKPOINT = {
    "name": "step-000002",
    "step": 2,
    "state_path": "tinker://0a0b:train:0/weights/step-000002",
    "sampler_path": "tinker://0a0b:train:0/sampler_weights/step-000002",
}
START = {"run": "earlier", "directory": "/runs/earlier", "checkpoint": "tinker://x/weights/y", "step": 7, "data": ["a"]}

ROWS: dict[str, list[dict[str, Any]]] = {
    "predictions-tuned.jsonl": [PREDICTION, WITH_EVERYTHING | {"id": "tiny/1"}],
    "metrics.jsonl": [
        STEP,
        STEP | {"step": 2, "grad_norm": 1.5},
        {"step": 2, "validation_loss": 0.75},
        {"step": 3, "validation_loss": 0.5, "validation_accuracy": 0.25},
    ],
    "checkpoints.jsonl": [CHECKPOINT, CHECKPOINT | {"step": 3, "expires": "2026-11-28T20:36:28+00:00"}],
    "training_runs.jsonl": [
        {"training_run": "0a0b:train:0"},
        {"training_run": "0a0b:train:1", "start_from": START},
        {"training_run": "0a0b:train:2", "start_from": {"checkpoint": "tinker://x/weights/y"}},
    ],
    "samples.jsonl": [{**PREDICTION, "step": 2}],
    "usage.jsonl": [{"stage": "base", "train": 0, "prefill": 4618, "sample": 3022}],
    "timings.jsonl": [{"stage": "base", "seconds": 55.898}],
}


def write_present_run(directory: Path) -> Path:
    """Write the JSON Lines files."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, rows in ROWS.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (directory / name).write_text(lines, encoding="utf-8")
    return directory
