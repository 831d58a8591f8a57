"""`text2sql evaluate` on what exists already: the answers of a run, or a file of predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from text2sql.config import Config
from text2sql.console import console, stage
from text2sql.errors import UserError
from text2sql.evaluation.prediction_files import Schemas, read_predictions
from text2sql.evaluation.score import Row, ask_judge, judge_rows, summarize
from text2sql.evaluation.tables import show_measures
from text2sql.runs.directory import RunDirectory, load_run_config


def score_run(directory: Path, output: Path | None = None) -> None:
    """Judge the saved answers of a run again, with the evaluator as it is now, and print the measures.

    Args:
        directory: Of the run; nothing in it is changed.
        output: Where to write the rows, see `score_file`; the label of the model is put into the name.
    """
    config = load_run_config(RunDirectory(directory))
    labels = [label for label in ("base", "tuned") if (directory / f"predictions-{label}.jsonl").is_file()]
    if not labels:
        raise UserError(f"{directory} has no predictions yet.")
    for label in labels:
        named = output.with_name(f"{output.stem}-{label}{output.suffix}") if output else None
        score_file(directory / f"predictions-{label}.jsonl", config, output=named)


def score_file(
    path: Path,
    config: Config,
    *,
    gold: Path | None = None,
    schemas: Schemas | None = None,
    output: Path | None = None,
) -> Row:
    """Judge a file of predictions and print the measures.

    Args:
        path: The predictions; see `prediction_files`.
        config: Its `evaluation` section, `judge` and the seed.
        gold: The gold queries, where they are in a file of their own.
        schemas: Where schemas and databases are.
        output: A .jsonl file to write every row and its verdict to; the summary goes beside it, as .summary.json.

    Returns:
        The summary.

    Raises:
        UserError: A file cannot be read or lacks something, or the output cannot be written.
    """
    if output is not None and (output.suffix != ".jsonl" or output.resolve() == path.resolve()):
        raise UserError(f"--output: {output} must be another file than the predictions, and end in .jsonl.")
    found = read_predictions(path, gold, schemas or Schemas())
    for note in found.notes:
        console.print(f"Note: {note}", style="bright_black")
    with stage(f"Judging {path.name}", len(found.rows)) as bar:
        rows = judge_rows(found.rows, found.answers, found.databases, config, lambda count: bar.advance(count, 0))
    judged: Row | None = None
    if config.judge:
        rows, judged = ask_judge(rows, "Asking the judge", config.judge)
    summary = {"file": str(path), **summarize(rows), "judge": judged, "notes": found.notes}
    if output is not None:
        _write(output, rows, summary)
    show_measures(str(path), summary)
    if output is not None:
        console.print(f"Rows: {output}\nSummary: {output.with_suffix('.summary.json')}")
    return summary


def _write(output: Path, rows: list[Row], summary: Mapping[str, Any]) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        beside = output.with_suffix(".summary.json")
        beside.write_text(json.dumps(summary, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output: {error.filename or output} cannot be written: {error.strerror}.") from error
