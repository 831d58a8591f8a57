"""Gold queries that most answers of a model contradict, where the answers agree with one another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from text2sql import evaluation
from text2sql.data.audit.smell import Smell
from text2sql.data.example import Example
from text2sql.equivalence.processes.process_pool import Workers
from text2sql.equivalence.verdict import Verdict
from text2sql.errors import UserError
from text2sql.evaluation import extract_sql
from text2sql.rows import read_rows
from text2sql.runs.directory import RunDirectory

# Columns that hold an answer, and those that hold several.
_ONE, _MANY = ("predicted", "prediction", "sql", "answer_text", "text"), ("predictions", "samples", "candidates")


def read_samples(place: Path) -> dict[str, list[str]]:
    """Answers by question, from a run's directory or a file of predictions.

    Raises:
        UserError: There is no such place, or its rows have no question with an answer.
    """
    files = sorted(place.glob("predictions-*.jsonl")) if place.is_dir() else [place]
    if not files or not all(file.is_file() for file in files):
        raise UserError(f"--samples: there are no predictions in {place}; give a run's directory, or a file of them.")
    if place.is_dir():
        RunDirectory(place).saved_config()
    found: defaultdict[str, list[str]] = defaultdict(list)
    for file in files:
        for row in read_rows(file, "--samples"):
            question = row.get("question")
            texts = [row[name] for name in _ONE if isinstance(row.get(name), str)][:1]
            texts += [text for name in _MANY for text in row.get(name) or [] if isinstance(text, str)]
            if isinstance(question, str):
                found[question] += [sql for text in texts if (sql := extract_sql(text))]
    if not any(found.values()):
        raise UserError(f"--samples: {place} has no rows with a question and an answer ({', '.join((*_ONE, *_MANY))}).")
    return dict(found)


def majorities(
    examples: Sequence[Example], samples: Mapping[str, Sequence[str]], workers: Workers
) -> dict[str, tuple[Smell, list[str]]]:
    """By id, examples whose samples mostly agree with each other and not with the gold query; with a witness.

    Args:
        examples: With their gold queries.
        samples: Answers by question.
        workers: Processes that judge.
    """
    asked = [e for e in examples if len(samples.get(e.question, ())) > 1]
    against = [(e, sql) for e in asked for sql in samples[e.question]]
    verdicts = _judged([(e, e.answer, sql) for e, sql in against], workers)
    wrong: defaultdict[str, list[tuple[str, Verdict]]] = defaultdict(list)
    for (example, sql), verdict in zip(against, verdicts, strict=True):
        if verdict.status == "different":
            wrong[example.id].append((sql, verdict))
    disputed = [e for e in asked if 2 * len(wrong[e.id]) > len(samples[e.question])]
    pairs = [(e, wrong[e.id][0][0], sql) for e in disputed for sql, _ in wrong[e.id][1:]]
    agreed: defaultdict[str, int] = defaultdict(int)
    for (example, _, _), verdict in zip(pairs, _judged(pairs, workers), strict=True):
        agreed[example.id] += verdict.status == "equivalent"
    found = {}
    for example in disputed:
        votes, total = 1 + agreed[example.id], len(samples[example.question])
        if 2 * votes > total:
            sql, verdict = wrong[example.id][0]
            said = f"{votes} of {total} samples agree on another query: {sql}"
            found[example.id] = Smell("most samples disagree", said), _witness(verdict)
    return found


def _judged(pairs: Sequence[tuple[Example, str, str]], workers: Workers) -> list[Verdict]:
    listed = [evaluation.Pair(e.context, gold, sql, e.db, e.dialect) for e, gold, sql in pairs]
    found = dict(evaluation.score_pairs(listed, workers=workers))
    return [found[place] for place in range(len(listed))]


def _witness(verdict: Verdict) -> list[str]:
    return verdict.reason.splitlines()[:6]
