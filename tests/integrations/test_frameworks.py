"""The evaluator inside other frameworks: the examples are run, with answers that are known to be right or wrong.

The frameworks are not among the project's extras, since their pins exclude some of its versions. In an environment with
`pip install inspect-ai lm-eval` and this project: ``pytest tests/integrations``.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from text2sql.integrations.lm_eval_task import process_results

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = [json.loads(line) for line in (EXAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
# Five right ones, of which two are written otherwise, and five wrong ones.
ANSWERS = [
    "SELECT name FROM staff WHERE NOT age <= 30",
    "SELECT COUNT(id) FROM staff WHERE dept = 'sales'",
    "SELECT dept, AVG(wage) FROM staff GROUP BY dept",
    "SELECT name FROM staff ORDER BY wage DESC LIMIT 1",
    "SELECT dept FROM staff GROUP BY dept HAVING COUNT(*) > 2",
    "SELECT name FROM customer WHERE city <> 'Lisbon'",
    "SELECT customer.name FROM customer",
    "SELECT name FROM customers",
    "DROP TABLE purchase",
    "I do not know.",
]


def test_metrics_of_one_document() -> None:
    assert process_results(ROWS[0], [ANSWERS[0]]) == {
        "execution_accuracy": 1.0,
        "lenient_accuracy": 1.0,
        "undecided": 0.0,
    }
    swapped = process_results(ROWS[2], ["SELECT AVG(wage), dept FROM staff GROUP BY dept"])
    assert (swapped["execution_accuracy"], swapped["lenient_accuracy"]) == (0.0, 1.0)


def test_inspect_runs_the_example_with_its_mock_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inspect_ai = pytest.importorskip("inspect_ai", reason="needs inspect-ai")
    # Inspect estimates a mock model's tokens with a vocabulary that it would download.
    monkeypatch.setattr("tiktoken.get_encoding", lambda name: SimpleNamespace(encode=lambda text, **_: text.split()))
    from inspect_ai.model import ModelOutput, get_model

    module = _load(EXAMPLES / "text_to_sql_inspect.py")
    outputs = {row["question"]: answer for row, answer in zip(ROWS, ANSWERS, strict=True)}

    def reply(messages: list[Any], *_: Any) -> Any:
        asked = messages[-1].text.rpartition("Question: ")[2]
        return ModelOutput.from_content("mockllm/model", outputs[asked])

    model = get_model("mockllm/model", custom_outputs=reply)
    (log,) = inspect_ai.eval(module.text_to_sql(), model=model, log_dir=str(tmp_path), display="none")
    assert log.status == "success", log.error
    scores = {sample.id: sample.scores["execution_match_scorer"] for sample in log.samples}
    assert [scores[row["id"]].value for row in ROWS] == ["C"] * 5 + ["I"] * 5
    (metrics,) = log.results.scores
    assert metrics.metrics["accuracy"].value == 0.5
    different = scores[ROWS[5]["id"]]
    assert different.metadata["status"] == "different"
    assert different.metadata["reason"] == different.explanation
    assert different.metadata["witness"]["tables"]["customer"]["rows"]
    statuses = [scores[row["id"]].metadata["status"] for row in ROWS[6:]]
    assert statuses == ["different", "error", "refused", "error"]


def test_lm_evaluation_harness_runs_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    lm_eval = pytest.importorskip("lm_eval", reason="needs lm-eval")
    from lm_eval.api.model import LM
    from lm_eval.tasks import TaskManager

    monkeypatch.chdir(EXAMPLES.parent)
    # The task's prompt has the first word already.
    outputs = {row["question"]: answer.removeprefix("SELECT") for row, answer in zip(ROWS, ANSWERS, strict=True)}

    class Scripted(LM):
        def generate_until(self, requests: list[Any]) -> list[str]:
            prompts = [request.args[0] for request in requests]
            return [next(text for asked, text in outputs.items() if asked in prompt) for prompt in prompts]

        def loglikelihood(self, requests: list[Any]) -> list[Any]:
            raise NotImplementedError

        def loglikelihood_rolling(self, requests: list[Any]) -> list[Any]:
            raise NotImplementedError

    found = lm_eval.simple_evaluate(
        model=Scripted(),
        tasks=["text_to_sql"],
        task_manager=TaskManager(include_path=str(EXAMPLES / "lm_eval"), include_defaults=False),
        bootstrap_iters=0,
    )
    results = found["results"]["text_to_sql"]
    assert results["execution_accuracy,none"] == 0.5
    assert results["undecided,none"] == 0.0


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
