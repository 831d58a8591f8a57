"""The pairs of files that Spider's and BIRD's scripts take.

Spider's gold file has ``SQL<tab>db_id`` on each line, its prediction file one query on each. BIRD's gold file is the
same; its predictions are a JSON object ``{"0": "SQL<tab>----- bird -----<tab>db_id", ...}``. Either gold may also be
given as the benchmark's ``dev.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from text2sql.errors import UserError
from text2sql.evaluation.predicted_question import COLUMNS, PredictedQuestion, column_text, first_text, row_dialect
from text2sql.rows import SourceRow, read_rows
from text2sql.rows.encodings import read_text
from text2sql.rows.json_text import parse_json
from text2sql.rows.values import json_kind, replace_lone_surrogates

_BIRD_MARK = "\t----- bird -----\t"
# The layouts, as messages describe them.
_SPIDER_LINE = "SQL<tab>db_id"
_BIRD_VALUE = '{"0": "SQL<tab>----- bird -----<tab>db_id", ...}'


def read_golds(path: Path) -> list[PredictedQuestion]:
    """The questions of a gold file, without predictions."""
    if path.suffix in (".json", ".jsonl"):
        return [_gold_of_row(row, index, path) for index, row in enumerate(read_rows(path, "--gold"))]
    questions: list[PredictedQuestion] = []
    for number, line in enumerate(_lines(path, "--gold"), start=1):
        # Empty lines separate the interactions of SParC and CoSQL.
        if not line.strip():
            continue
        sql, tab, db_id = line.rpartition("\t")
        if not tab or not sql.strip() or not db_id.strip() or " " in db_id.strip():
            raise UserError(f"--gold: {path}: line {number} must be {_SPIDER_LINE}; it is {line[:100]!r}.")
        questions.append(PredictedQuestion(id=str(len(questions)), gold=sql.strip(), db_id=db_id.strip()))
    return questions


def _gold_of_row(row: SourceRow, index: int, path: Path) -> PredictedQuestion:
    where = f"--gold: {path}: row {index + 1}"
    sql, db_id = first_text(row, COLUMNS["gold"], where), column_text(row, "db_id", where)
    if not sql or not db_id:
        raise UserError(f"{where} must have db_id and one of {', '.join(COLUMNS['gold'])}.")
    question, evidence = (column_text(row, name, where) or None for name in ("question", "evidence"))
    return PredictedQuestion(
        id=str(index), gold=sql, db_id=db_id, question=question, evidence=evidence, dialect=row_dialect(row)
    )


def read_answers(path: Path, golds: Sequence[PredictedQuestion], gold_path: Path) -> list[str]:
    """The predictions next to a gold file, as many as it has questions."""
    answers = (_read_bird if path.suffix == ".json" else _read_lines)(path, golds)
    if len(answers) != len(golds):
        raise UserError(
            f"{path} has {len(answers)} predictions, {gold_path} {len(golds)} gold queries: they must be the same "
            "questions in the same order."
        )
    return answers


def _read_lines(path: Path, golds: Sequence[PredictedQuestion]) -> list[str]:
    """Read one query a line; what follows a tab is ignored.

    Empty lines are empty answers if that gives as many lines as gold queries, else they are skipped.
    """
    lines = [line.split("\t")[0].strip() for line in _lines(path, "predictions")]
    return lines if len(lines) == len(golds) else [line for line in lines if line]


def _read_bird(path: Path, golds: Sequence[PredictedQuestion]) -> list[str]:
    try:
        values = parse_json("\n".join(_lines(path, "predictions")))
    except (ValueError, RecursionError) as error:
        raise UserError(f"predictions: {path} is malformed: {error}; it must be {_BIRD_VALUE}.") from error
    if not isinstance(values, dict):
        raise UserError(f"predictions: {path} is {json_kind(values)}; with --gold it must be {_BIRD_VALUE}.")
    wrong = sorted(set(values) ^ {str(index) for index in range(len(values))})
    if wrong:
        raise UserError(
            f'predictions: {path}: the keys must be "0" to "{len(values) - 1}", one for each question; at fault: '
            f"{', '.join(wrong[:5])}."
        )
    answers = []
    for index in range(len(values)):
        text = values[str(index)]
        if text is not None and not isinstance(text, str):
            raise UserError(f'predictions: {path}: "{index}" is {json_kind(text)}; it must be a text or null.')
        sql, mark, db_id = replace_lone_surrogates(text or "").partition(_BIRD_MARK)
        expected = golds[index].db_id if index < len(golds) else None
        if mark and expected and db_id.strip() != expected:
            raise UserError(
                f'predictions: {path}: "{index}" is for {db_id.strip()}, its gold query for {expected}: the files '
                "are not of the same questions."
            )
        answers.append(sql.strip())
    return answers


def _lines(path: Path, what: str) -> list[str]:
    try:
        # Not splitlines(): a query may hold U+2028.
        lines = read_text(path).split("\n")
    except FileNotFoundError as error:
        raise UserError(f"{what}: there is no file {path}.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{what}: {path} cannot be read: {error}") from error
    return lines[:-1] if not lines[-1] else lines
