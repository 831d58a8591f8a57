"""The rows of a report: what is read of them, what is counted, what is kept in memory."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from tests.support.report_pages import read
from tests.support.synthetic import edit_summary, write_rows
from text2sql.errors import UserError
from text2sql.report import write_report
from text2sql.report.comparison import Limits, both_right, groups
from text2sql.report.load import load_run


def test_rows_of_another_shape_are_counted_and_the_first_is_named(run_dir: Path) -> None:
    odd = [
        {"id": 1},
        {"verdict": "right"},
        {"id": None, "sql": 5, "labels": "x", "hardness": 7, "verdict": {"status": 3}},
    ]
    with (run_dir / "predictions-tuned.jsonl").open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in odd))
    text = read(run_dir).text
    assert "predictions-tuned.jsonl: 3 unreadable lines skipped (the first: line 201 has no question, context," in text
    for name in ("summary.json", "metrics.jsonl", "predictions-base.jsonl"):
        (run_dir / name).unlink()
    write_rows(run_dir / "predictions-tuned.jsonl", odd)
    with pytest.raises(UserError, match="Nothing to report"):
        write_report(run_dir)


def test_types_of_error_left_out_are_counted(run_dir: Path) -> None:
    summary = json.loads((run_dir / "summary.json").read_text())
    summary["evaluations"]["tuned"]["error_labels"] = {f"kind_{index}": 1 for index in range(20)}
    edit_summary(run_dir, evaluations=summary["evaluations"])
    assert "The 12 most frequent of 23" in read(run_dir).text


def test_of_many_answers_only_the_shown_ones_are_kept_in_memory(run_dir: Path) -> None:
    for side in ("base", "tuned"):
        path = run_dir / f"predictions-{side}.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        long = [rows[i % len(rows)] | {"id": f"many/{i}", "prompt": "x" * 20_000} for i in range(400)]
        write_rows(path, long)
    size = sum((run_dir / f"predictions-{side}.jsonl").stat().st_size for side in ("base", "tuned"))
    tracemalloc.start()
    try:
        run = load_run(run_dir)
        groups(run, Limits())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 16e6 and peak < size / 4
    assert sum(group.total for group in groups(run, Limits())) + (both_right(run) or 0) == 400


def test_what_equivalent_rests_on_has_columns(run_dir: Path) -> None:
    assert "How sure the right answers are" not in read(run_dir).text
    summary = json.loads((run_dir / "summary.json").read_text())
    summary["evaluations"]["tuned"]["evidence"] = {
        "canonical": 1200,
        "tested": 31,
        "bounded": 9,
        "median_telling": 37.5,
        "fewest_telling": 6,
    }
    (run_dir / "summary.json").write_text(json.dumps(summary))
    page = read(run_dir)
    heads = [text for tag, text in page.texts if tag == "th"]
    assert "|".join(["Equivalent", "Same query", "Proven in a bound", "Tested"]) in "|".join(heads)
    cells = [text for tag, text in page.texts if tag == "td"]
    assert "|".join(["1,240", "1,200", "9", "31", "37.5", "6"]) in "|".join(cells)
