"""Small data files and configurations for the fake backend, which learns by heart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from text2sql.config import Config
from text2sql.equivalence.processes.tasks import A, T, Work
from text2sql.equivalence.scoring import PairTask, R
from text2sql.evaluation import Pair, Verdict

# Of one query: rows that differ in the answer alone share their prompt.
SPELLINGS = (
    "SELECT COUNT(*) FROM t{i} WHERE a = {i}",
    "select count(*) from t{i} where a = {i}",
    "SELECT  COUNT(*)  FROM t{i} WHERE a = {i}",
    "SELECT COUNT( * ) FROM t{i} WHERE a = {i}",
    "SELECT COUNT(*) FROM t{i}  WHERE  a  =  {i}",
)
# A run with validation, by loss and by accuracy.
VALIDATED = {"data": {"validation_size": 5}, "training": {"validate_every": 1, "validation_questions": 2}}
TIMES = (
    "seconds",
    "tokens_per_second",
    "examples_per_second",
    "created",
    "wall_seconds",
    "peak_memory_bytes",
    "usage",
    "checkpoint_path",
)


def rows(count: int, spellings: int = 1) -> list[dict[str, str]]:
    """Questions on their own tables, each `spellings` times with its answer spelt another way."""
    return [
        {
            "question": f"How many rows have a = {i}?",
            "context": f"CREATE TABLE t{i} (a INTEGER, b VARCHAR)",
            "answer": spelling.format(i=i),
        }
        for i in range(count)
        for spelling in SPELLINGS[:spellings]
    ]


def write_jsonl(path: Path, values: Iterable[Any]) -> Path:
    """One JSON value a line."""
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def read_jsonl(path: Path) -> list[Any]:
    """The values of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def tiny_values(directory: Path) -> dict[str, Any]:
    """A run that takes no time: 6 questions in 5 spellings, so the prompts of its 4 tests are all trained."""
    data = directory / "tiny.jsonl"
    if not data.exists():
        write_jsonl(data, rows(6, spellings=5))
    return {
        "name": "tiny",
        "output_dir": str(directory / "run"),
        "backend": "fake",
        "data": {"source": str(data), "test_size": 4},
        "training": {"batch_size": 8, "learning_rate": 1e-3, "checkpoint_every": 2},
        "evaluation": {"concurrency": 3, "workers": 1, "databases": 2},
    }


def tiny_config(directory: Path, **sections: Any) -> Config:
    """`tiny_values` with keys changed; a section is given as a dict of the keys that change in it."""
    values = tiny_values(directory)
    for key, value in sections.items():
        values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
    return Config.model_validate(values)


def judge_by_words(patch: pytest.MonkeyPatch) -> None:
    """Replaces the evaluator where verdicts are not what is tested: the same words are the same query.

    Nothing is executed and no worker is started; answers are described and gold queries examined in this process.
    """
    patch.setattr("text2sql.evaluation.golds.run_tasks", _work_here)
    patch.setattr("text2sql.evaluation.score.work_on_pairs", _work_by_words)
    patch.setattr("text2sql.inference.strategies.score_pairs", _score_by_words)


def _score_by_words(pairs: Sequence[Pair], **options: Any) -> Iterator[tuple[int, Verdict]]:
    for index, pair in enumerate(pairs):
        same = _words(pair.gold) == _words(pair.predicted)
        yield index, Verdict("equivalent" if same else "different", "by its words", strict=same, lenient=same)


def _work_by_words(work: Work[PairTask, R], pairs: Sequence[Pair], **options: Any) -> Iterator[tuple[int, Verdict, R]]:
    for index, verdict in _score_by_words(pairs):
        task = PairTask(*pairs[index], effort=None, seed=0, timeout=options["timeout"], known=verdict.to_dict())
        yield index, verdict, work(task)


def _work_here(work: Work[T, A], tasks: Sequence[T], **options: Any) -> Iterator[tuple[int, A]]:
    yield from enumerate(map(work, tasks))


def _words(sql: str) -> str:
    return "".join(sql.lower().split())


def timeless(value: Any) -> Any:
    """A record without what differs from run to run: times, memory, and the random names of checkpoints."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value
