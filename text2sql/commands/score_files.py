"""`text2sql evaluate` on existing answers: those of a run, or a file of predictions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from backends.paths import written_aside
from text2sql.config import Config, EndpointConfig
from text2sql.console import console, progress_bar
from text2sql.engines.dialect import DISPLAY_NAMES, Dialect
from text2sql.errors import UserError
from text2sql.evaluation.aggregate import Scored, summarize
from text2sql.evaluation.golds import Gold, GoldFault, check_golds, describe_faults, examine_golds
from text2sql.evaluation.llm_judge import JudgeCase
from text2sql.evaluation.predicted_question import PredictedQuestion, Schemas, in_dialects
from text2sql.evaluation.prediction_files import PredictionFile, of_run, read_predictions
from text2sql.evaluation.score import ScoredAnswer, ScoringCase, ask_judge, score_answers, scoring_steps
from text2sql.evaluation.tables import show_measures
from text2sql.rows import dump_jsonl, read_jsonl
from text2sql.rows.json_text import parse_json
from text2sql.runs.directory import RunDirectory, load_run_config
from text2sql.runs.evaluation_summary import EvaluationSummary, JudgeSummary
from text2sql.runs.models import SIDES
from text2sql.runs.outputs import Output, check_outputs
from text2sql.runs.records import Opinion, predictions_file


def score_run(directory: Path, output: Path | None = None) -> None:
    """Score the saved answers of a run again, with the current version of the evaluator, and print the summaries.

    Args:
        directory: The run's directory; nothing in it is changed.
        output: Where to write the rows, see `score_file`; the label of the model is added to the name.
    """
    run = RunDirectory(directory)
    config = load_run_config(run)
    # The share of unusable gold queries was checked when the run was begun.
    config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"max_unusable_golds": 1.0})})
    answers = {label: of_run(rows) for label in SIDES if (rows := run.predictions(label))}
    if not answers:
        raise UserError(f"{directory} has no predictions yet.")
    for label in SIDES:
        if label not in answers and run.file(predictions_file(label)).exists():
            console.print(f"Note: {predictions_file(label)} has no answers, and is left out.", style="bright_black")
    outputs = {label: output and output.with_name(f"{output.stem}-{label}{output.suffix}") for label in answers}
    # All before the first is judged.
    check_outputs([part for file in outputs.values() for part in _outputs(file)], ())
    for label, file in answers.items():
        _score_questions(run.file(predictions_file(label)), file, config, outputs[label])


def score_file(
    path: Path,
    config: Config,
    *,
    gold: Path | None = None,
    schemas: Schemas | None = None,
    output: Path | None = None,
) -> EvaluationSummary:
    """Score a file of predictions and print the summary.

    Args:
        path: The predictions; see `prediction_files`.
        config: Its sections `evaluation` and `judge`, the dialect and the seed are used.
        gold: The gold queries, where they are in another file.
        schemas: Source of schemas and databases.
        output: A .jsonl file to write every row and its verdict to; the summary goes next to it, as .summary.json.

    Returns:
        The summary.

    Raises:
        UserError: A file cannot be read or lacks something, too many gold queries are unusable, or the output cannot
            be written or would replace another file, which is checked first.
    """
    schemas = schemas or Schemas()
    check_outputs(_outputs(output), [file for file in (path, gold, schemas.tables_file) if file])
    file = read_predictions(path, gold, schemas)
    return _score_questions(path, file, config, output)


def _score_questions(path: Path, file: PredictionFile, config: Config, output: Path | None) -> EvaluationSummary:
    """Score the predictions of a file, print the summary, and write the output."""
    questions = in_dialects(path, file.questions, config.data.dialect)
    notes = [*file.notes, *_dialect_notes(questions, config.data.dialect)]
    for note in notes:
        console.print(f"Note: {note}", style="bright_black", markup=False)
    if config.judge:
        _check_questions(path, questions)
    faults = _examine_golds(questions, config)
    answers = _score(path, questions, config)
    scored = [_to_scored(question, answer) for question, answer in zip(questions, answers, strict=True)]
    summary = summarize(scored)
    opinions: list[Opinion] | None = None
    if config.judge:
        opinions, judge_summary = _ask_judge(questions, answers, config.judge)
        summary = summary.model_copy(update={"judge": judge_summary})
    if output is not None:
        gold_notes = {"notes": notes, "gold_faults": [asdict(fault) for fault in faults]}
        record = {"file": str(path), **summary.to_json(), **gold_notes}
        rows = _output_rows(questions, answers, opinions)
    # Before the files are written: a disk that has become full must not cost the result.
    show_measures(str(path), summary)
    if output is not None:
        _write(output, rows, record)
        console.print(f"Rows: {output}\nSummary: {output.with_suffix('.summary.json')}")
    return summary


def _dialect_notes(questions: Sequence[PredictedQuestion], default: Dialect) -> list[str]:
    """A sentence on the rows that name another dialect than the one that was chosen."""
    others = Counter(question.engine for question in questions if question.engine != default)
    if not others:
        return []
    counts = ", ".join(f"{count:,} as {DISPLAY_NAMES[dialect]}" for dialect, count in others.most_common())
    return [f"Judged in the dialect that their rows name: {counts}; the others as {DISPLAY_NAMES[default]}."]


def _score(path: Path, questions: Sequence[PredictedQuestion], config: Config) -> list[ScoredAnswer]:
    """Score the predictions; an interruption gets a note that says what is kept."""
    cases = [
        ScoringCase(question.context, question.gold, question.predicted, question.databases, question.engine)
        for question in questions
    ]
    with progress_bar(f"Judging {path.name}", scoring_steps(cases)) as bar:
        try:
            return score_answers(cases, config, lambda count: bar.advance(count, 0))
        except KeyboardInterrupt as error:
            error.add_note(
                "The verdicts so far are kept, and the same command goes on from there."
                if config.evaluation.cache
                else "Nothing is kept of it; with evaluation.cache=true the same command would go on from there."
            )
            raise


def _ask_judge(
    questions: Sequence[PredictedQuestion], answers: Sequence[ScoredAnswer], judge: EndpointConfig
) -> tuple[list[Opinion], JudgeSummary]:
    cases = [
        JudgeCase(
            str(question.question), question.context, question.gold, answer.sql, question.evidence, question.engine
        )
        for question, answer in zip(questions, answers, strict=True)
    ]
    return ask_judge(cases, [answer.verdict for answer in answers], "Asking the judge", judge)


def _examine_golds(questions: Sequence[PredictedQuestion], config: Config) -> list[GoldFault]:
    """Print the faults of the gold queries; UserError if too many are unusable."""
    golds = [
        Gold(
            id=question.id,
            schema=question.context,
            sql=question.gold,
            database=next(iter(question.databases), None),
            dialect=question.engine,
        )
        for question in questions
    ]
    with progress_bar("Examining gold queries", len(golds)) as bar:
        faults = examine_golds(golds, config.evaluation, config.data.seed, lambda count: bar.advance(count, 0))
    check_golds(faults, len(golds), config.evaluation.max_unusable_golds)
    for sentence in describe_faults(faults, len(golds)):
        console.print(f"Note: {sentence}", style="bright_black", markup=False)
    return faults


def _check_questions(path: Path, questions: Sequence[PredictedQuestion]) -> None:
    """Raise UserError if a row has no question, which the LLM judge must see."""
    for row, question in enumerate(questions, start=1):
        if question.question is None:
            raise UserError(f"{path}: row {row} has no question, which the judge has to see; leave `judge` out.")


def _to_scored(question: PredictedQuestion, answer: ScoredAnswer) -> Scored:
    return Scored(
        schema=question.context,
        gold=question.gold,
        predicted=answer.sql,
        verdict=answer.verdict,
        stop_reason=question.stop_reason,
        cluster=question.cluster,
        benchmark=answer.benchmark,
        description=answer.analysis,
    )


def _output_rows(
    questions: Sequence[PredictedQuestion], answers: Sequence[ScoredAnswer], opinions: Sequence[Opinion] | None
) -> list[dict[str, object]]:
    """The rows of the output: those of the file with query, labels, verdict and opinion."""
    rows: list[dict[str, object]] = []
    for index, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        analysis = answer.analysis
        rows.append(
            {
                **question.to_json(),
                "sql": answer.sql,
                "labels": analysis.labels,
                "hardness": analysis.hardness,
                "checks": analysis.checks.to_json(),
                "verdict": answer.verdict.to_dict(),
                **({"benchmark": answer.benchmark.to_json()} if answer.benchmark else {}),
                **({"judge": opinions[index].to_json()} if opinions else {}),
            }
        )
    return rows


def _outputs(output: Path | None) -> list[Output]:
    """The two files that `score_file` writes, none without an output."""
    if output is None:
        return []
    return [
        Output("--output", output, _has_verdicts, ".jsonl"),
        Output("--output", output.with_suffix(".summary.json"), _is_summary),
    ]


def _has_verdicts(path: Path) -> bool:
    """Whether a file holds nothing but rows of `_output_rows`."""
    required = {"id", "gold", "sql", "labels", "hardness", "checks", "verdict"}
    known = {*required, *(field.name for field in fields(PredictedQuestion)), "benchmark", "judge"}
    return all(required <= row.keys() <= known for _, row in read_jsonl(path))


def _is_summary(path: Path) -> bool:
    """Whether a file is a summary that `score_file` has written."""
    return {"file", "n", "correct", "notes", "gold_faults"} <= parse_json(path.read_text(encoding="utf-8")).keys()


def _write(output: Path, rows: Sequence[Mapping[str, object]], summary: Mapping[str, object]) -> None:
    try:
        with written_aside(output) as aside:
            aside.write_text(dump_jsonl(rows), encoding="utf-8")
        with written_aside(output.with_suffix(".summary.json")) as aside:
            aside.write_text(json.dumps(summary, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--output: {error.filename or output} cannot be written: {error.strerror}.") from error
