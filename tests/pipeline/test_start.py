"""The start of a run: from the cache, without it, and with a damaged one it comes to the same first steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_runs import judge_by_words, read_jsonl, rows, tiny_config, write_jsonl
from text2sql.data.dataset import load_dataset
from text2sql.data.golds import describe_training_golds
from text2sql.evaluation import golds
from text2sql.pipeline.run import run_pipeline


def test_cold_warm_and_damaged_caches_give_the_same_steps(
    tmp_path: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_by_words(monkeypatch)
    cache = tmp_path / "cache"
    monkeypatch.setenv("TEXT2SQL_CACHE", str(cache))
    for module in ("text2sql.data.cache", "text2sql.data.facts", "text2sql.evaluation.golds"):
        monkeypatch.setattr(f"{module}.CACHE_FROM", 1)
    found: dict[str, Any] = {}
    for name in ("cold", "warm", "damaged"):
        kept = [path for path in cache.rglob("*") if path.is_file()] if name != "cold" else []
        if name == "damaged":
            assert {path.parent.name for path in kept} == {"tokens", "facts", "verdicts"}
            for path in kept:
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        config = tiny_config(
            tmp_path, backend="local", base_model=tiny_model, output_dir=str(tmp_path / name), training={"max_steps": 3}
        )
        run = run_pipeline(config, ("train",))
        steps = [(row["step"], row["loss"]) for row in read_jsonl(run / "metrics.jsonl") if "loss" in row]
        found[name] = (steps, (run / "inputs.json").read_text())
    assert len(found["cold"][0]) >= 2
    assert found["cold"] == found["warm"] == found["damaged"]


def test_whether_training_queries_run_is_found_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of queries that are undecided against themselves, about which nothing is kept."""
    judge_by_words(monkeypatch)
    monkeypatch.setenv("TEXT2SQL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("text2sql.evaluation.golds.CACHE_FROM", 1)
    asked: list[int] = []
    real = golds.run_tasks

    def counted(work: Any, tasks: Any, **options: Any) -> Any:
        asked.append(len(tasks))
        return real(work, tasks, **options)

    monkeypatch.setattr("text2sql.evaluation.golds.run_tasks", counted)
    made = rows(20)
    made[10]["answer"] = "SELECT a FROM t10 WHERE b = 1 AND b < 0"
    made[12]["answer"] = "SELECT STR_TO_DATE(a, 'x') FROM t12"
    source = write_jsonl(tmp_path / "rows.jsonl", made)
    config = tiny_config(tmp_path, data={"source": str(source)})
    dataset = load_dataset(config)
    first, second = describe_training_golds(dataset, config), describe_training_golds(dataset, config)
    assert first == second and len(asked) == 1


ALONE = """
import sys
from backends import open_backend
from backends.options import LocalOptions
from tinker import types

def train(**options):
    service = open_backend("local", LocalOptions(device="cpu", **options))
    client = service.create_lora_training_client(sys.argv[1], rank=4, seed=0).result()
    ids = types.ModelInput.from_ints([1, 2, 3])
    data = types.Datum(model_input=ids, loss_fn_inputs={"target_tokens": [2, 3, 4], "weights": [1.0, 1.0, 1.0]})
    client.forward_backward([data], "cross_entropy").result()
    kinds = {type(module).__name__ for module in client.engine.base.model.modules()}
    service.close()
    return kinds

train()
assert not {"bitsandbytes", "torch._inductor.compile_fx"} & {*sys.modules}, "the compiler was loaded in vain"
import importlib.util
if importlib.util.find_spec("bitsandbytes"):
    assert "Linear4bit" in train(quantization="nf4")
    assert "bitsandbytes" in sys.modules
    train()
"""


def test_what_only_quantised_models_need_is_loaded_for_them_alone(tiny_model: str, tmp_path: Path) -> None:
    """In one process, a plain model, then a quantised one, then a plain one."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE, tiny_model], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
