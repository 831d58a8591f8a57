"""`text2sql evaluate` on what exists already: the answers of a run, or a file of predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from backends.paths import written_aside
from text2sql.config import Config
from text2sql.console import console, stage
from text2sql.errors import UserError
from text2sql.evaluation.aggregate import Scored, summarize
from text2sql.evaluation.golds import Gold, GoldFault, check_golds, describe_faults, examine_golds
from text2sql.evaluation.llm_judge import JudgeCase
from text2sql.evaluation.prediction_files import PredictedQuestion, Schemas, read_predictions
from text2sql.evaluation.score import Case, Judgement, ask_judge, judge_answers, judging_steps
from text2sql.evaluation.tables import show_measures
from text2sql.rows import dump_jsonl
from text2sql.runs.directory import RunDirectory, load_run_config
from text2sql.runs.evaluation_summary import EvaluationSummary
from text2sql.runs.models import SIDES
from text2sql.runs.records import Opinion, predictions_file


def score_run(directory: Path, output: Path | None = None) -> None:
    """Judge the saved answers of a run again, with the evaluator as it is now, and print the measures.

    Args:
        directory: Of the run; nothing in it is changed.
        output: Where to write the rows, see `score_file`; the label of the model is put into the name.
    """
    config = load_run_config(RunDirectory(directory))
    # Whether its gold queries are good enough was decided when it was begun.
    config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"max_unusable_golds": 1.0})})
    labels = [label for label in SIDES if (directory / predictions_file(label)).is_file()]
    if not labels:
        raise UserError(f"{directory} has no predictions yet.")
    for label in labels:
        named = output.with_name(f"{output.stem}-{label}{output.suffix}") if output else None
        score_file(directory / predictions_file(label), config, output=named)


def score_file(
    path: Path,
    config: Config,
    *,
    gold: Path | None = None,
    schemas: Schemas | None = None,
    output: Path | None = None,
) -> EvaluationSummary:
    """Judge a file of predictions and print the measures.

    Args:
        path: The predictions; see `prediction_files`.
        config: Its `evaluation` section, `judge` and the seed.
        gold: The gold queries, where they are in another file.
        schemas: Where schemas and databases are.
        output: A .jsonl file to write every row and its verdict to; the summary goes next to it, as .summary.json.

    Returns:
        The summary.

    Raises:
        UserError: A file cannot be read or lacks something, too many gold queries are unusable, or the output cannot
            be written.
    """
    if output is not None and (output.suffix != ".jsonl" or output.resolve() == path.resolve()):
        raise UserError(f"--output: {output} must be another file than the predictions, and end in .jsonl.")
    found = read_predictions(path, gold, schemas or Schemas())
    for note in found.notes:
        console.print(f"Note: {note}", style="bright_black")
    if config.judge:
        _check_questions(path, found.questions)
    faults = _examine_golds(found.questions, config)
    cases = [
        Case(asked.context, asked.gold, asked.predicted, asked.databases, config.data.dialect)
        for asked in found.questions
    ]
    with stage(f"Judging {path.name}", judging_steps(cases)) as bar:
        try:
            judged = judge_answers(cases, config, lambda count: bar.advance(count, 0))
        except KeyboardInterrupt as error:
            error.add_note(
                "The verdicts so far are kept, and the same command goes on from there."
                if config.evaluation.cache
                else "Nothing is kept of it; with evaluation.cache=true the same command would go on from there."
            )
            raise
    summary = summarize([_scored(asked, judgement) for asked, judgement in zip(found.questions, judged, strict=True)])
    opinions: list[Opinion] | None = None
    if config.judge:
        judge_cases = [
            JudgeCase(
                str(asked.question), asked.context, asked.gold, judgement.sql, asked.evidence, config.data.dialect
            )
            for asked, judgement in zip(found.questions, judged, strict=True)
        ]
        opinions, about = ask_judge(judge_cases, [item.verdict for item in judged], "Asking the judge", config.judge)
        summary = summary.model_copy(update={"judge": about})
    if output is not None:
        about_golds = {"notes": found.notes, "gold_faults": [asdict(fault) for fault in faults]}
        about_file = {"file": str(path), **summary.to_json(), **about_golds}
        _write(output, _rows(found.questions, judged, opinions), about_file)
    show_measures(str(path), summary)
    if output is not None:
        console.print(f"Rows: {output}\nSummary: {output.with_suffix('.summary.json')}")
    return summary


def _examine_golds(questions: Sequence[PredictedQuestion], config: Config) -> list[GoldFault]:
    """Says what is wrong with the gold queries; UserError where it is too much."""
    golds = [
        Gold(asked.id, asked.context, asked.gold, next(iter(asked.databases), None), config.data.dialect)
        for asked in questions
    ]
    with stage("Examining gold queries", len(golds)) as bar:
        faults = examine_golds(golds, config.evaluation, config.data.seed, lambda count: bar.advance(count, 0))
    check_golds(faults, len(golds), config.evaluation.max_unusable_golds)
    for sentence in describe_faults(faults, len(golds)):
        console.print(f"Note: {sentence}", style="bright_black", markup=False)
    return faults


def _check_questions(path: Path, questions: Sequence[PredictedQuestion]) -> None:
    """Raise UserError where a question is not in the file: the judge has to see it."""
    for place, asked in enumerate(questions, start=1):
        if asked.question is None:
            raise UserError(f"{path}: row {place} has no question, which the judge has to see; leave `judge` out.")


def _scored(asked: PredictedQuestion, judgement: Judgement) -> Scored:
    return Scored(
        schema=asked.context,
        gold=asked.gold,
        predicted=judgement.sql,
        verdict=judgement.verdict,
        stop_reason=asked.stop_reason,
        cluster=asked.cluster,
        benchmark=judgement.benchmark,
        description=judgement.description,
    )


def _rows(
    questions: Sequence[PredictedQuestion], judged: Sequence[Judgement], opinions: Sequence[Opinion] | None
) -> list[dict[str, object]]:
    """The rows of the file with what is known of them now."""
    found: list[dict[str, object]] = []
    for place, (asked, judgement) in enumerate(zip(questions, judged, strict=True)):
        about = judgement.description
        found.append(
            {
                **asked.to_json(),
                "sql": judgement.sql,
                "labels": about.labels,
                "hardness": about.hardness,
                "checks": about.checks.to_json(),
                "verdict": judgement.verdict.to_dict(),
                **({"benchmark": judgement.benchmark.to_json()} if judgement.benchmark else {}),
                **({"judge": opinions[place].to_json()} if opinions else {}),
            }
        )
    return found


def _write(output: Path, rows: Sequence[Mapping[str, object]], summary: Mapping[str, object]) -> None:
    try:
        with written_aside(output) as aside:
            aside.write_text(dump_jsonl(rows), encoding="utf-8")
        with written_aside(output.with_suffix(".summary.json")) as aside:
            aside.write_text(json.dumps(summary, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output: {error.filename or output} cannot be written: {error.strerror}.") from error
