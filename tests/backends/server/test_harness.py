"""Programs of others on the OpenAI routes: EleutherAI's evaluation harness, and the `llm` command.

Their packages conflict with ours, so they live in another environment: put its ``bin`` into the PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tinker import types

from tests.support.running import KEY, Running

pytestmark = pytest.mark.slow

QUESTIONS = [
    {"question": "How many goods are there?", "right": "SELECT COUNT(*) FROM goods", "wrong": "SELECT name FROM goods"},
    {"question": "Which goods are dear?", "right": "SELECT name FROM goods WHERE price > 9", "wrong": "SELECT 1"},
    {"question": "Name the cities.", "right": "SELECT city FROM shops", "wrong": "SELECT city FROM goods, shops"},
]
PROMPT = "Question: {{question}}\nSQL:"
TASKS = {
    "sql_choice": {
        "output_type": "multiple_choice",
        "doc_to_choice": "{{[right, wrong]}}",
        "doc_to_target": 0,
        "metric_list": [{"metric": "acc"}],
    },
    "sql_text": {
        "output_type": "generate_until",
        "doc_to_target": "{{right}}",
        "generation_kwargs": {"until": ["\n\n"], "max_gen_toks": 16, "temperature": 0},
        "metric_list": [{"metric": "exact_match"}],
    },
}


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found


@pytest.fixture(scope="module")
def served(start_server: Callable[..., Running]) -> Running:
    """A server with a key."""
    return start_server(keys=(KEY,))


def environment(directory: Path) -> dict[str, str]:
    """Nothing is fetched from a hub, and nothing is kept."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(directory / "hub")}
    return {**os.environ, **offline, "OPENAI_API_KEY": KEY, "HOME": str(directory), "PYTHONPATH": ""}


def test_lm_eval_scores_as_the_sampler_does(served: Running, tiny_model: str, tmp_path: Path) -> None:
    harness = program("lm-eval")
    (tmp_path / "questions.json").write_text("".join(json.dumps(row) + "\n" for row in QUESTIONS))
    for name, task in TASKS.items():
        data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(tmp_path / "questions.json")}}}
        # JSON is YAML.
        whole = {"task": name, "test_split": "test", "doc_to_text": PROMPT, "target_delimiter": " ", **data, **task}
        (tmp_path / f"{name}.yaml").write_text(json.dumps(whole))
    arguments = f"model=tiny,base_url={served.url}/v1/completions,tokenizer={tiny_model},num_concurrent=4,max_retries=1"
    command = [harness, "run", "--model", "local-completions", "--model_args", arguments]
    command += ["--tasks", *TASKS, "--include_path", str(tmp_path), "--log_samples"]
    command += ["--output_path", str(tmp_path / "results")]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    samples = {name: read_samples(tmp_path / "results", name) for name in TASKS}
    assert [len(of_task) for of_task in samples.values()] == [len(QUESTIONS)] * 2

    service = served.client()
    sampler = service.create_sampling_client(base_model="tiny").result()
    tokenizer = served.state.residency.loaded("tiny").tokenizer
    for sample in samples["sql_choice"]:
        prompt = f"Question: {sample['doc']['question']}\nSQL:"
        for choice, (scored,) in zip((sample["doc"]["right"], sample["doc"]["wrong"]), sample["resps"], strict=True):
            ids = tokenizer.encode(f"{prompt} {choice}")
            logprobs = sampler.compute_logprobs(types.ModelInput.from_ints(ids)).result()
            assert float(scored[0]) == pytest.approx(sum(logprobs[len(tokenizer.encode(prompt)) :]), abs=1e-3)
    for sample in samples["sql_text"]:
        ids = tokenizer.encode(f"Question: {sample['doc']['question']}\nSQL:")
        greedy = types.SamplingParams(max_tokens=16, temperature=0)
        tokens = sampler.sample(types.ModelInput.from_ints(ids), 1, greedy).result().sequences[0].tokens
        text = tokenizer.decode(tokens, skip_special_tokens=True)
        assert sample["resps"][0][0] == text.partition("\n\n")[0]
    service.close("success").result()


def read_samples(results: Path, task: str) -> list[Any]:
    """What the harness logged of a task."""
    (file,) = results.rglob(f"samples_{task}_*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_llm_asks_the_server(start_server: Callable[..., Running], tiny_chat_model: str, tmp_path: Path) -> None:
    command = program("llm")
    chatty = start_server(base_models={"tiny": tiny_chat_model}, keys=(KEY,))
    model = {"model_id": "mine", "model_name": "tiny", "api_base": f"{chatty.url}/v1", "api_key_name": "mine"}
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([model]))
    (tmp_path / "keys.json").write_text(json.dumps({"mine": KEY}))
    asked = [command, "-m", "mine", "-o", "max_tokens", "12", "-o", "temperature", "0"]
    said = []
    for more in ([], ["--no-stream"]):
        done = subprocess.run(
            [*asked, *more, "How many?"],
            env={**environment(tmp_path), "LLM_USER_PATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    question = [{"role": "user", "content": "How many?"}]
    body = {"model": "tiny", "messages": question, "max_tokens": 12, "temperature": 0}
    with chatty.http() as http:
        expected = http.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]
    assert [text.strip() for text in said] == [expected.strip()] * 2 and expected.strip()
