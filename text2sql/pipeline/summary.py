"""summary.json: what a run came to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from text2sql.config import Config
from text2sql.data.dataset import Dataset
from text2sql.data.exercise_questions import NOVEL_QUESTIONS
from text2sql.evaluation.score import summarize
from text2sql.inference.predict import compare
from text2sql.report.load import WAYS
from text2sql.report.wording import beginning
from text2sql.runs.budget import TokenBudget
from text2sql.runs.directory import RunDirectory
from text2sql.runs.environment import peak_memory

Row = dict[str, Any]


@dataclass
class Summary:
    """Puts the summary of a run together.

    Attributes:
        config: The run's configuration.
        run: Its directory.
        dataset: What it trained and tested on.
        ledger: What it spent.
        described: What the backend says of itself.
    """

    config: Config
    run: RunDirectory
    dataset: Dataset
    budget: TokenBudget
    described: Row

    def of(
        self, answers: dict[str, list[Row]], training: Row | None, opinions: dict[str, Row], problems: list[str]
    ) -> Row:
        """The summary.

        Args:
            answers: Judged rows by label.
            training: What training says of itself, if there was any.
            opinions: The judge's, by label.
            problems: Further notes.
        """
        config, split = self.config, self.dataset.split
        evaluations = {
            label: summarize(rows) | {"judge": opinions.get(label), "cost": self._cost_of(label, rows)}
            for label, rows in answers.items()
            if not label.startswith("novel")
        }
        both = "base" in answers and "tuned" in answers
        headline: Row = {"metric": "execution_accuracy", "base": None, "tuned": None, "paired": None}
        for label, summary in ((label, evaluations[label]) for label in ("base", "tuned") if label in evaluations):
            counts = {key: summary[key] for key in ("n", "correct", "accuracy", "low", "high")}
            headline[label] = counts | summary.get("clustered", {})  # its low and high, where questions share schemas
        if both:
            headline["paired"] = compare(answers["base"], answers["tuned"])
        return {
            "name": config.name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "backend": config.backend,
            "base_model": config.trained_model,
            "headline": headline,
            "evaluations": evaluations,
            "novel": _side_by_side(answers.get("novel-base"), answers.get("novel-tuned")),
            "training": training,
            "data": {
                "source": config.data.source,
                "rows": self.dataset.rows,
                "train": len(split.train),
                "validation": len(split.validation),
                "test": len(split.test),
                "dropped": self.dataset.dropped,
                "leaks": self.dataset.leaks,
                "split_by": "domain" if config.data.source == "bundled" else config.data.split_by,
            },
            "cost": self._cost(answers, training),
            "notes": [*_notes(config, evaluations, training or {}), *problems],
        }

    def _cost_of(self, label: str, rows: list[Row]) -> Row:
        """What the answers of an evaluation took."""
        return {
            "samples": sum(row.get("samples", 1) for row in rows),
            "prompt_tokens": sum(row.get("prompt_tokens", 0) for row in rows),
            "sampled_tokens": sum(row["tokens"] for row in rows),
            "seconds": sum(row["seconds"] for row in self.run.rows("timings.jsonl") if row["stage"] == label),
        }

    def _cost(self, answers: dict[str, list[Row]], training: Row | None) -> Row:
        before = self.run.read_json("summary.json").get("cost", {})  # a run that goes on forgets no peak
        seconds: dict[str, float] = {}
        titles = {way: way for way in WAYS} | {
            "base": "baseline",
            "tuned": "tuned evaluation",
            "novel-base": "new schemas",
            "novel-tuned": "new schemas",
        }
        for row in self.run.rows("timings.jsonl"):
            title = titles.get(row["stage"])
            if title is None:  # an adapter's answers, made after the run
                continue
            seconds[title] = seconds.get(title, 0.0) + row["seconds"]
        if training:
            seconds["training"] = training["seconds"]
        return {
            "wall_seconds": seconds,
            "peak_memory_bytes": max(peak_memory(self.described), before.get("peak_memory_bytes", 0)),
            "sampled_tokens": sum(row.get("tokens", 0) for rows in answers.values() for row in rows),
            "trained_tokens": training["tokens"] if training else 0,
            **self.budget.summary(),
        }


def _side_by_side(base: list[Row] | None, tuned: list[Row] | None) -> list[Row]:
    """The new-schema answers of both models, question by question."""
    merged: list[Row] = []
    for index, example in enumerate(NOVEL_QUESTIONS if base or tuned else []):
        row: Row = {"question": example.question, "schema": example.context, "gold": example.answer}
        for label, rows in (("base", base), ("tuned", tuned)):
            if rows:
                answer = rows[index]
                row |= {
                    f"{label}_sql": answer["sql"],
                    f"{label}_correct": answer["verdict"]["correct"],
                    f"{label}_reason": answer["verdict"]["reason"],
                }
        merged.append(row)
    return merged


def _notes(config: Config, evaluations: dict[str, Row], training: Row) -> list[str]:
    notes = []
    if start := training.get("start_from"):
        notes.append(
            f"Training began with the weights of {beginning(start)}. The base model is the untuned one: what the tuned "
            "model has gained on it comes from both trainings."
        )
    for clustered in {summary["clustered"]["clusters"] for summary in evaluations.values() if "clustered" in summary}:
        notes.append(
            f"The intervals of the two accuracies treat questions on one domain or database as dependent "
            f"({clustered} of these); the paired comparison counts each question for itself."
        )
    if config.data.source == "bundled":
        notes.append(
            "The bundled set is for teaching and smoke tests: these are not sql-create-context results, nor those of "
            "any other benchmark."
        )
    return notes
