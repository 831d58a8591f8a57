"""A made-up run directory."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from text2sql.evaluation.breakdown import break_down, groups_of

HOSTILE = "SELECT '</pre><script>alert(1)</script>' --\x00 \u202e <img src=http://evil.example/x onerror=alert(2)>"
SCHEMA = (
    "CREATE TABLE employees (id INTEGER PRIMARY KEY, name TEXT, department TEXT, salary REAL, hired DATE)\n"
    "CREATE TABLE departments (name TEXT PRIMARY KEY, city TEXT)"
)
WITNESS = {
    "tables": {"employees": {"columns": ["id", "name", "salary"], "rows": [[1, "Ada", 100.0], [2, None, 90.5]]}},
    "gold": {"columns": ["name"], "rows": [["Ada"]]},
    "predicted": {"columns": ["name"], "rows": [["Ada"], [None]]},
}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def score(n: int, correct: int) -> dict[str, Any]:
    rate, z = correct / n, 1.96
    centre, scale = rate + z * z / (2 * n), 1 + z * z / n
    spread = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low, high = (centre - spread) / scale, (centre + spread) / scale
    return {"n": n, "correct": correct, "accuracy": rate, "low": low, "high": high}


def predictions(side: str, correct: list[bool]) -> list[dict[str, Any]]:
    rows = []
    for index, right in enumerate(correct):
        hardness = ("easy", "medium", "hard", "extra")[index % 4]
        gold = f"SELECT name FROM employees WHERE salary > {index * 10} ORDER BY hired DESC LIMIT 3"
        status = "equivalent" if right else ("different", "different", "error")[index % 3]
        sql = gold if right else ("SELECT name FROM employees ORDER BY salary", HOSTILE)[index % 7 == 0]
        reason = {
            "equivalent": "Same result on 24 databases.",
            "different": "The gold query returns 1 row, the other 2: the filter on salary is missing.",
            "error": "no such column: wage",
        }[status]
        rows.append(
            {
                "id": f"synthetic/{index:04d}",
                "question": f"Who are the three most recently hired employees earning more than {index * 10}?",
                "context": SCHEMA,
                "gold": gold,
                "prompt": "…",
                "raw": f" {sql}\n\n",
                "sql": sql,
                "stop_reason": "stop",
                "tokens": 17,
                "prompt_tokens": 120,
                "samples": 1,
                "cluster": f"domain-{index % 5}",
                "labels": [] if right else [("missing_where", "wrong_order", "unknown_column")[index % 3]],
                "hardness": hardness,
                "checks": dict.fromkeys(
                    ("exact_match", "canonical_match", "valid_syntax", "valid_schema", "executable"), right
                ),
                "benchmark": {"spider_ex": right, "bird_ex": not right},
                "judge": {"status": "judged", "correct": False, "error_type": "logic_error", "reason": HOSTILE},
                "verdict": {
                    "status": status,
                    "correct": right,
                    "reason": reason,
                    "strict": right,
                    "lenient": right,
                    "witness": WITNESS if status == "different" else None,
                },
            }
        )
    return rows


def judge(n: int, rate: float) -> dict[str, Any]:
    """A second opinion as the evaluation writes it."""
    right = round(n * rate)
    return {
        "model": "<b>big-judge</b>", "n": n, "judged": n - 3, "malformed": 2, "unanswered": 1, "correct": right,
        "accuracy": right / (n - 3), "error_types": {"incomplete": 4, "irrelevant": 1, "logic_error": 9},
        "agreement": {
            "n": n - 3, "kappa": 0.81, "both_right": right, "both_wrong": 5, "judge_only": 6, "execution_only": 7,
        },
        "requests": n, "cached": 0, "prompt_tokens": 100 * n, "completion_tokens": 10 * n, "cost": 0.0123,
    }  # fmt: skip


def make_run(directory: Path, n: int = 200, steps: int = 307) -> Path:
    """Write every file of a run: the base model gets about 37% right, the tuned one about 87%."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    base = [rng.random() < 0.37 for _ in range(n)]
    tuned = [rng.random() < (0.94 if right else 0.83) for right in base]
    wins = sum(t and not b for b, t in zip(base, tuned, strict=True))
    losses = sum(b and not t for b, t in zip(base, tuned, strict=True))
    rows = {"base": predictions("base", base), "tuned": predictions("tuned", tuned)}
    evaluations = {}
    for side, outcomes in (("base", base), ("tuned", tuned)):
        counts = dict.fromkeys(("equivalent", "different", "error", "timeout", "refused", "undecided"), 0)
        labels: dict[str, int] = {}
        for row in rows[side]:
            counts[row["verdict"]["status"]] += 1
            for label in row["labels"]:
                labels[label] = labels.get(label, 0) + 1
        rate = sum(outcomes) / n
        evaluations[side] = {
            **score(n, sum(outcomes)), "lenient_accuracy": rate + 0.02, "counts": counts,
            "truncated": 12 if side == "base" else 0, "exact_match": rate - 0.1, "canonical_match": rate - 0.05,
            "valid_syntax": min(1, rate + 0.12), "valid_schema": min(1, rate + 0.1), "executable": min(1, rate + 0.1),
            "error_labels": labels,
            "by_hardness": {
                level: {"n": n // 4, "correct": n // 8, "accuracy": (n // 8) / (n // 4)}
                for level in ("easy", "medium", "hard", "extra")
            },
            "breakdown": break_down(
                [groups_of(row["gold"]) for row in rows[side]], outcomes, [row["labels"] for row in rows[side]]
            ).to_json(),
            "benchmarks": {"no_database": 3, "gold_failed": 0, "spider_ex": {"value": rate + 0.05, "n": n - 3}},
            "judge": judge(n, rate),
        }  # fmt: skip
    summary = {
        "name": "llama-3.2-1b", "created": "2026-03-04T05:06:07.123456+00:00", "backend": "local",
        "base_model": "meta-llama/Llama-3.2-1B",
        "headline": {
            "metric": "execution_accuracy",
            "base": score(n, sum(base)), "tuned": score(n, sum(tuned)),
            "paired": {
                "wins": wins, "losses": losses, "difference": (wins - losses) / n,
                "low": (wins - losses) / n - 0.08, "high": (wins - losses) / n + 0.08, "p_value": 3e-21, "n": n,
            },
        },
        "evaluations": evaluations,
        "novel": [
            {
                "question": "Which employees work in engineering?", "schema": SCHEMA,
                "gold": "SELECT name FROM employees WHERE department = 'engineering'",
                "base_sql": "SELECT * FROM employees\n\n### Explanation: this", "base_correct": False,
                "base_reason": "Returns every employee.",
                "tuned_sql": "SELECT name FROM employees WHERE department = 'engineering'", "tuned_correct": True,
                "tuned_reason": "Same result on 24 databases.",
            },
            {
                "question": "What is the highest score in the science class?",
                "schema": "CREATE TABLE scores (student TEXT, class TEXT, score INTEGER)",
                "gold": "SELECT MAX(score) FROM scores WHERE class = 'science'",
                "base_sql": HOSTILE, "base_reason": "Refused.",
                "tuned_sql": "SELECT MAX(score) FROM scores WHERE class = 'science'", "tuned_correct": True,
                "tuned_reason": "Same result on 24 databases.",
            },
        ],
        "training": {
            "steps": steps, "epochs": 1, "examples": 78_377, "tokens": 7_412_345, "seconds": 1843.2,
            "examples_per_second": 42.52, "tokens_per_second": 4021.4, "first_loss": 1.9412, "final_loss": 0.1123,
            "learning_rate": 5e-4, "batch_size": 256, "start_from": None, "checkpoint_step": steps,
            "checkpoint_path": "tinker://0123456789ab:train:0/sampler_weights/step", "checkpoint_expires": None,
            "stopped_early": None,
        },
        "data": {
            "source": "sql-create-context", "rows": 78_677, "train": 78_377, "validation": 100, "test": 200,
            "dropped": {"unparsable": 3, "over-long": 0, "empty": 1}, "leaks": {"tables": 0, "questions": 0},
            "split_by": "schema",
        },
        "cost": {
            "wall_seconds": {"baseline": 184.2, "training": 1843.2, "tuned evaluation": 171.9},
            "peak_memory_bytes": 11_811_160_064, "sampled_tokens": 21_345, "trained_tokens": 7_412_345,
            "usage": {"train": 7_412_345, "prefill": 48_000, "sample": 21_345}, "dollars": None,
        },
        "notes": ["The published figures of the exercise are about 37% before and 87% after."],
        "stages": ["baseline", "evaluate", "train"],
    }  # fmt: skip
    (directory / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    metrics = []
    for step in range(1, steps + 1):
        row = {
            "step": step, "epoch": step / steps, "loss": 0.1 + 1.8 * math.exp(-step / 30) + rng.gauss(0, 0.02),
            "learning_rate": 5e-4 * min(1, step / 20), "grad_norm": 1.0, "tokens": 24_000, "examples": 256,
            "seconds": 6.0, "tokens_per_second": 4000.0,
        }  # fmt: skip
        metrics.append(row)
        if step % 50 == 0:
            metrics.append(
                {
                    "step": step,
                    "validation_loss": 0.13 + 1.8 * math.exp(-step / 30),
                    "validation_accuracy": 0.86 - 0.4 * math.exp(-step / 60),
                }
            )
    write_rows(directory / "metrics.jsonl", metrics)
    for side in ("base", "tuned"):
        write_rows(directory / f"predictions-{side}.jsonl", rows[side])
    (directory / "config.yaml").write_text(
        "name: llama-3.2-1b\nbackend: local\nbase_model: meta-llama/Llama-3.2-1B\n"
        "local:\n  hf_token: hf_verysecret\ntraining:\n  batch_size: 256\n  learning_rate: 0.0005\n  max_tokens: 150\n",
        encoding="utf-8",
    )
    (directory / "environment.json").write_text(
        json.dumps(
            {
                "python": "3.11.2",
                "packages": {"torch": "2.9.0", "transformers": "5.23.0"},
                "dtype": "bfloat16",
                "device": "NVIDIA H100",
                "git": {"commit": "3be6234", "dirty": False},
            }
        ),
        encoding="utf-8",
    )
    return directory


def edit_summary(directory: Path, **changes: Any) -> None:
    path = directory / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
