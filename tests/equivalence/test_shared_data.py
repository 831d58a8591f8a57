"""The evaluator on labelled pairs and real data sets; skipped where the shared data is absent."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest

from text2sql.evaluation import execution_match


def test_every_trap(traps: list[dict[str, Any]]) -> None:
    wrong = []
    for row in traps:
        start = time.monotonic()
        verdict = execution_match(row["schema"], row["gold_sql"], row["pred_sql"])
        if verdict.correct != (row["label"] == "equivalent") or time.monotonic() - start > 2:
            wrong.append((row["reason"], verdict))
    assert not wrong


def test_labelled_pairs(equivalence_pairs: list[dict[str, Any]]) -> None:
    sample = random.Random(0).sample(equivalence_pairs, 200)
    wrong = [
        (row["id"], verdict.status, verdict.reason)
        for row in sample
        if (verdict := execution_match(row["schema"], row["gold_sql"], row["pred_sql"])).correct
        != (row["label"] == "equivalent")
        and row["policy"] == "core"
    ]
    assert not wrong


@pytest.mark.slow
def test_no_verdict_on_a_labelled_pair_depends_on_the_seed(
    equivalence_pairs: list[dict[str, Any]], traps: list[dict[str, Any]], cases: list[dict[str, Any]]
) -> None:
    turned = []
    for row in (*equivalence_pairs, *traps, *cases):
        pair = row["schema"], row["gold_sql"], row["pred_sql"]
        statuses = [execution_match(*pair, seed=seed).status for seed in range(10)]
        if len(set(statuses)) > 1:
            turned.append((row["gold_sql"], row["pred_sql"], statuses))
    assert not turned


def test_gold_queries_of_sql_create_context_are_themselves(create_context: list[dict[str, str]]) -> None:
    rng = random.Random(3)
    sample = rng.sample(create_context[:4112], 300) + rng.sample(create_context[4112:], 300)
    verdicts = [(row["answer"], execution_match(row["context"], row["answer"], row["answer"])) for row in sample]
    odd = [(sql, verdict.status, verdict.reason) for sql, verdict in verdicts if verdict.status != "equivalent"]
    assert all(status == "undecided" for _, status, _ in odd), odd
    assert len(odd) <= 4, odd


def test_spider_gold_queries_on_their_real_databases(shared_data: Path) -> None:
    import json

    rows = [json.loads(line) for line in (shared_data / "spider_dev.jsonl").read_text().splitlines()]
    checked = 0
    for row in random.Random(1).sample(rows, 150):
        path = shared_data / "spider_databases" / row["db_id"] / f"{row['db_id']}.sqlite"
        if path.is_file():
            verdict = execution_match(row["context"], row["answer"], row["answer"], str(path))
            assert verdict.status in ("equivalent", "undecided"), (row["answer"], verdict)
            checked += 1
    assert checked > 100
