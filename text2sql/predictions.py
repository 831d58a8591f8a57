"""Answer and judge a list of examples, in a file that grows as it goes and that a second start continues."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from backends.interface import SamplingClient
from text2sql import evaluation as room
from text2sql.config import Config
from text2sql.data.examples import Example
from text2sql.generate import Generation, PendingGenerations, cut_at_stop
from text2sql.progress import stage
from text2sql.run_directory import RunDirectory

Row = dict[str, Any]


def predict(
    run: RunDirectory, label: str, title: str, examples: Sequence[Example], sampler: SamplingClient, config: Config
) -> list[Row]:
    """Answer and judge examples into ``predictions-LABEL.jsonl``.

    Examples are taken `evaluation.concurrency` at a time. Only whole groups are kept from an earlier start, so every
    group is sampled in the same company whether or not the run was interrupted, and comes out the same.

    Returns:
        One row per example, in order: id, question, context, gold, prompt, raw, sql, stop_reason, tokens (of the
        answer), cluster, labels, hardness, verdict.
    """
    name, size = f"predictions-{label}.jsonl", config.evaluation.concurrency
    kept = run.rows(name)
    done = len(kept) if len(kept) == len(examples) else len(kept) // size * size
    rows = kept[:done]
    if [row["id"] for row in rows] != [example.id for example in examples[:done]]:
        done, rows = 0, []
    run.replace_rows(name, rows)
    groups = [examples[start : start + size] for start in range(done, len(examples), size)]
    if not groups:
        return rows
    with stage(title, len(examples), done) as bar:
        start, pending = time.monotonic(), _submit(groups[0], sampler, config)
        for index, group in enumerate(groups):
            generations = pending.results()
            if index + 1 < len(groups):  # the device goes on while the queries are executed
                pending = _submit(groups[index + 1], sampler, config)
            judged = judge(group, generations, config)
            rows.extend(judged)
            run.append(name, judged)
            now = time.monotonic()
            run.append("timings.jsonl", [{"stage": label, "seconds": now - start}])
            start = now
            correct = sum(row["verdict"]["correct"] for row in rows)
            tokens = sum(g.tokens + g.prompt_tokens for g in generations)
            bar.advance(len(group), tokens, correct=f"{correct}/{len(rows)}")
    return rows


def _submit(examples: Sequence[Example], sampler: SamplingClient, config: Config) -> PendingGenerations:
    return PendingGenerations(examples, sampler, config.prompt.template, config.evaluation, config.seed)


def judge(examples: Sequence[Example], generations: Sequence[Generation], config: Config) -> list[Row]:
    """Execute and compare answers with their gold queries."""
    answers = [cut_at_stop(g.text, config.evaluation.stop) for g in generations]
    pairs = [room.Pair(e.context, e.answer, answer, e.db) for e, answer in zip(examples, answers, strict=True)]
    settings = config.evaluation
    verdicts = dict(
        room.score_pairs(
            pairs, workers=settings.workers, effort=settings.databases, seed=config.seed, timeout=settings.timeout
        )
    )
    return [
        {
            "id": example.id,
            "question": example.question,
            "context": example.context,
            "gold": example.answer,
            "prompt": generation.prompt,
            "raw": generation.text,
            "sql": room.extract_sql(answer),
            "stop_reason": generation.stop_reason,
            "tokens": generation.tokens,
            "cluster": example.db_id,
            "labels": [] if verdict.correct else room.error_labels(example.context, example.answer, answer, verdict),
            "hardness": room.hardness(example.answer),
            "verdict": verdict.to_dict(),
        }
        for example, generation, answer, verdict in zip(
            examples, generations, answers, (verdicts[i] for i in range(len(pairs))), strict=True
        )
    ]


def summarize(rows: Sequence[Row]) -> dict[str, Any]:
    """Accuracy with its intervals and the other measures of a list of rows."""
    return room.summarize(
        [
            room.Scored(
                schema=row["context"],
                gold=row["gold"],
                predicted=row["sql"],
                verdict=room.Verdict.from_dict(row["verdict"]),
                stop_reason=row["stop_reason"],
                cluster=row["cluster"],
            )
            for row in rows
        ]
    )


def compare(base: Sequence[Row], tuned: Sequence[Row]) -> dict[str, Any]:
    """The paired comparison of two lists of rows over the same examples."""
    from dataclasses import asdict

    result = room.paired_comparison(
        [row["verdict"]["correct"] for row in base], [row["verdict"]["correct"] for row in tuned]
    )
    return asdict(result)
