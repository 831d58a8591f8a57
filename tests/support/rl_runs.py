"""Small runs that learn from verdicts: with the fake backend, whose samples are drawn from what it is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_runs import rows, write_jsonl
from text2sql.config import Config
from text2sql.data.example import Example
from text2sql.data.prompts import PromptFormat, render_prompt
from text2sql.equivalence.match import match_pair
from text2sql.equivalence.scoring import Pair
from text2sql.equivalence.verdict import Verdict
from text2sql.rl.rewards import RewardedAnswer

# Right, running but wrong, not running, and not read-only.
SAMPLED = (" {gold}\n\n", " SELECT a FROM t{i}\n\n", " SELECT nope\n\n", " DROP TABLE t{i}\n\n")


def fake_values(directory: Path, questions: int = 12) -> dict[str, Any]:
    """A run of three steps of 4 questions and 4 answers each; every answer is drawn from `SAMPLED`."""
    made = rows(questions)
    data = write_jsonl(directory / "questions.jsonl", made)
    samples = {}
    for i, row in enumerate(made):
        prompt = render_prompt(Example("", row["question"], row["context"], row["answer"]), PromptFormat("exercise"))
        samples[prompt] = [text.format(gold=row["answer"], i=i) for text in SAMPLED]
    return {
        "name": "rl",
        "output_dir": str(directory / "run"),
        "backend": "fake",
        "data": {"source": str(data), "test_size": 4},
        "training": {"learning_rate": 1e-3, "checkpoint_every": 2},
        "evaluation": {"workers": 1, "databases": 2, "novel_questions": False, "baseline": False},
        "rl": {"method": "policy_gradient", "cold_start": True, "steps": 3, "questions": 4, "group": 4},
        "fake": {"samples": samples},
    }


def fake_config(directory: Path, questions: int = 12, **sections: Any) -> Config:
    """`fake_values` with keys changed; a section is given as a dict of the keys that change in it."""
    values = fake_values(directory, questions)
    for key, value in sections.items():
        values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
    # Other methods have rounds instead.
    if values["rl"].get("method") == "rft" and "steps" not in sections.get("rl", {}):
        del values["rl"]["steps"]
    return Config.model_validate(values)


def judge_here(patch: pytest.MonkeyPatch) -> None:
    """Has answers judged in this process: no worker is started, which takes longer than the verdicts of a small run."""
    patch.setattr("text2sql.rl.rewards.score_pairs", _score_here)


def training_alone(patch: pytest.MonkeyPatch) -> None:
    """Has no gold query examined and no report written, which take longer than the training of a small run."""
    patch.setattr("text2sql.pipeline.stages.with_gold_faults", lambda dataset, config: dataset)
    patch.setattr("text2sql.report.write_report", lambda directory: directory / "report.html")


def _score_here(pairs: Sequence[Pair], *, effort: int, seed: int, **options: Any) -> Iterator[tuple[int, Verdict]]:
    known = {pair: match_pair(*pair[:4], effort=effort, seed=seed) for pair in dict.fromkeys(pairs)}
    yield from enumerate(map(known.__getitem__, pairs))


# Reward functions of a user's own, as a configuration names them.


def brevity(answer: RewardedAnswer) -> float:
    """More for a shorter answer; what a model that knows no SQL can learn."""
    return 1 / (1 + len(answer.answer))


def raises(answer: RewardedAnswer) -> float:
    if answer.outcome == "equivalent":
        raise ZeroDivisionError("of all things")
    return 0.5 if answer.outcome == "runs" else 0.0


def hangs(answer: RewardedAnswer) -> float:
    while answer.outcome == "equivalent":
        pass
    return 0.5 if answer.outcome == "runs" else 0.0


def not_a_number(answer: RewardedAnswer) -> float:
    return float("nan") if answer.outcome == "equivalent" else 0.5 if answer.outcome == "runs" else 0.0
