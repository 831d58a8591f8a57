"""Ten questions in Inspect, scored by execution match: inspect eval examples/text_to_sql_inspect.py --model MODEL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import Sample, json_dataset
from inspect_ai.solver import generate, system_message

from text2sql.integrations.inspect_scorer import execution_match_scorer

QUESTIONS = Path(__file__).parent / "questions.jsonl"


def to_sample(row: dict[str, Any]) -> Sample:
    """A row as Inspect has it: the gold query is the target, the schema is in the metadata."""
    asked = f"{row['context']}\n\nQuestion: {row['question']}"
    return Sample(input=asked, target=row["answer"], id=row["id"], metadata={"schema": row["context"]})


@task
def text_to_sql() -> Task:
    """The task."""
    return Task(
        dataset=json_dataset(str(QUESTIONS), to_sample),
        solver=[system_message("Answer with one SQLite query and nothing else."), generate()],
        scorer=execution_match_scorer(),
    )
