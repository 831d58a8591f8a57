"""A key that is set and that nothing would read is refused with the reason; what serves two backends is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.config_files import write_config
from text2sql.config import SHIPPED, load_config
from text2sql.errors import UserError


@pytest.mark.parametrize(
    ("text", "key", "needed"),
    [
        ("data: {source: a.jsonl, path: b.jsonl}", "data.path", "data.source=a.jsonl is a file"),
        ("data: {source: a.jsonl, hub_split: dev}", "data.hub_split", "data.source=a.jsonl is a file"),
        ("data: {databases: somewhere}", "data.databases", "data.source=bundled comes with the program"),
        ("data: {test: {path: b.jsonl}}", "data.test.path", "data.test.source=bundled"),
        ("data: {mix: [{source: a.jsonl}], path: b.jsonl}", "data.path", "data.mix"),
        ("data: {mix: [{source: a.jsonl, path: b.jsonl}]}", "data.mix.0.path", "is a file"),
        ("rl: {steps: 5}", "rl.steps", "rl.method"),
        ("rl: {reward: {runs: 0.2}}", "rl.reward", "rl.method"),
        ("rl: {holdout_by: schema}", "rl.holdout_by", "rl.holdout"),
        (
            "rl: {method: rft, cold_start: true, reward: {seconds: 3}}\ntraining: {learning_rate: 1e-4}",
            "rl.reward.seconds",
            "rl.reward.function",
        ),
        ("training: {validate_every: 5}", "training.validate_every", "data.validation_size"),
        ("evaluation: {max_thinking_tokens: 5}", "evaluation.max_thinking_tokens", "prompt.thinking=on"),
        ("evaluation: {transpile: true}", "evaluation.transpile", "data.dialect=sqlite"),
        ("local: {double_quantization: false}", "local.double_quantization", "local.quantization=nf4"),
        ("local: {sampler_directory: /tmp}", "local.sampler_directory", "local.sampler"),
    ],
)
def test_a_key_that_nothing_reads_is_refused(tmp_path: Path, text: str, key: str, needed: str) -> None:
    file = write_config(tmp_path, f"{text}\n")
    with pytest.raises(UserError) as refused:
        load_config(file)
    said = str(refused.value)
    assert said.startswith(f"{file}: {key} is set, and nothing would read it: ") and needed in said
    assert said.count("\n") == 0


def test_what_another_backend_reads_is_no_fault_and_a_method_can_be_taken_back() -> None:
    for backend in ("local", "tinker"):
        load_config(None, [f"backend={backend}", "tinker.max_cost=5", "tinker.base_model=x", "local.matmul=bfloat16"])
    for name in ("quickstart-rl", "smollm2-sql-create-context-rl"):
        load_config(name, ["rl.method=null"])
    for file in SHIPPED.glob("*.yaml"):
        load_config(str(file))
