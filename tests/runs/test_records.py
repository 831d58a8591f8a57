"""Lines of a run's files: the present format is read and written again byte by byte, anything else is one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.present_run import PREDICTION, ROWS, VERDICT, write_present_run
from tests.support.synthetic import make_run, predictions, write_rows
from text2sql.compare import compare_runs
from text2sql.errors import UserError
from text2sql.runs.directory import RunDirectory
from text2sql.runs.records import FORMAT, Prediction, Record, StepMetrics, Validation
from text2sql.runs.summary import Summary

READERS: dict[str, Callable[[RunDirectory], list[Any]]] = {
    "predictions-tuned.jsonl": lambda run: run.predictions("tuned"),
    "metrics.jsonl": RunDirectory.metrics,
    "checkpoints.jsonl": RunDirectory.checkpoints,
    "training_runs.jsonl": RunDirectory.training_runs,
    "samples.jsonl": RunDirectory.samples,
    "usage.jsonl": RunDirectory.usage,
    "timings.jsonl": RunDirectory.timings,
}
OPTIONAL = {"evidence", "benchmark", "judge", "validation_accuracy", "expires", "start_from"}
REQUIRED = [(name, key) for name, rows in ROWS.items() for key in rows[0] if key not in OPTIONAL]
REQUIRED += [("metrics.jsonl", "validation_loss")]


@pytest.mark.parametrize("name", ROWS)
def test_the_present_format_is_read_and_written_again_byte_by_byte(tmp_path: Path, name: str) -> None:
    run = RunDirectory(write_present_run(tmp_path))
    before = (tmp_path / name).read_bytes()
    records = READERS[name](run)
    assert len(records) == len(ROWS[name]) and all(isinstance(record, Record) for record in records)
    run.replace_rows(name, records)
    assert (tmp_path / name).read_bytes() == before
    run.append(name, records[:1])
    # An answer that is there twice is counted once.
    assert READERS[name](run) == (records if name.startswith("predictions") else [*records, records[0]])


def test_what_the_records_say(tmp_path: Path) -> None:
    run = RunDirectory(write_present_run(tmp_path))
    first, second = run.predictions("tuned")
    assert first.verdict.status == "different" and not first.correct and first.verdict.databases == 3
    assert first.verdict.witness and first.verdict.witness.tables["t"].rows[0] == (1, b"\x00\xff")
    assert first.benchmark is None and second.benchmark and second.benchmark.bird_soft_f1 == 0.5
    assert second.judge and second.judge.error_type == "logic_error" and second.evidence == "a counts"
    assert [type(row) for row in run.metrics()] == [StepMetrics, StepMetrics, Validation, Validation]
    assert run.training_runs()[2].start_from and run.training_runs()[2].start_from.data is None
    with pytest.raises(ValueError, match="frozen"):
        first.sql = "SELECT 1"  # type: ignore[misc]


def _spoil(directory: Path, name: str, change: Callable[[dict[str, Any]], object]) -> str:
    """Change the last line with the kind of the first, and say what reading the file comes to."""
    rows = json.loads(json.dumps(ROWS[name]))
    change(rows[-1])
    (directory / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError) as raised:
        READERS[name](RunDirectory(directory))
    message = str(raised.value)
    assert message.startswith(f"{directory / name}") and f"line {len(rows)}" in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("name", "key"), REQUIRED)
def test_a_missing_key_is_one_sentence_with_file_line_key_and_format(tmp_path: Path, name: str, key: str) -> None:
    write_present_run(tmp_path)
    rows = [row for row in ROWS[name] if key in row]
    spoilt = {other: value for other, value in rows[0].items() if other != key}
    (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in (*rows, spoilt)))
    with pytest.raises(UserError) as raised:
        READERS[name](RunDirectory(tmp_path))
    wanted = (
        rf"{re.escape(str(tmp_path / name))} is damaged \(line {len(rows) + 1} has no {key}, which format 1 needs\)"
    )
    assert re.match(wanted, str(raised.value))


@pytest.mark.parametrize("key", ["status", "reason", "strict", "lenient"])
def test_a_verdict_is_never_wrong_by_default(tmp_path: Path, key: str) -> None:
    message = _spoil(tmp_path, "predictions-tuned.jsonl", lambda row: row["verdict"].pop(key))
    assert f"is not of format 1: verdict has no {key}" in message


@pytest.mark.parametrize(
    ("name", "key", "value", "wanted"),
    [
        ("predictions-tuned.jsonl", "tokens", "6", "tokens must be a whole number"),
        ("predictions-tuned.jsonl", "labels", "none", "labels"),
        ("predictions-tuned.jsonl", "hardness", "huge", "hardness must be"),
        ("predictions-tuned.jsonl", "checks", {"exact_match": True}, "checks.canonical_match must be given"),
        ("predictions-tuned.jsonl", "verdict", "right", "verdict must hold keys and values"),
        ("predictions-tuned.jsonl", "verdict", VERDICT | {"status": "fine"}, "verdict has a status that is none of"),
        ("predictions-tuned.jsonl", "verdict", VERDICT | {"strict": 1}, "must have true or false for strict"),
        ("predictions-tuned.jsonl", "verdict", VERDICT | {"witness": {"a": 1}}, "a witness that cannot be read"),
        ("usage.jsonl", "train", None, "train must be a whole number"),
        ("checkpoints.jsonl", "step", 2.5, "step must be a whole number"),
    ],
)
def test_a_value_of_another_type_is_one_sentence(
    tmp_path: Path, name: str, key: str, value: object, wanted: str
) -> None:
    assert wanted in _spoil(tmp_path, name, lambda row: row.update({key: value}))


@pytest.mark.parametrize("name", ROWS)
def test_a_newer_format_is_refused_by_its_number(tmp_path: Path, name: str) -> None:
    message = _spoil(tmp_path, name, lambda row: (row.clear(), row.update(format=FORMAT + 1)))
    assert f"is of format {FORMAT + 1}; text2sql " in message and f"reads formats up to {FORMAT}" in message


def test_keys_that_a_later_version_added_are_kept(tmp_path: Path) -> None:
    write_rows(tmp_path / "predictions-tuned.jsonl", [PREDICTION | {"thoughts": ["a", {"b": 1}]}])
    run = RunDirectory(tmp_path)
    run.replace_rows("predictions-tuned.jsonl", run.predictions("tuned"))
    (line,) = (tmp_path / "predictions-tuned.jsonl").read_text().splitlines()
    assert json.loads(line) == PREDICTION | {"thoughts": ["a", {"b": 1}]}


def test_a_record_of_a_later_format_would_be_written_with_its_number() -> None:
    prediction = Prediction.model_validate(PREDICTION)
    assert "format" not in prediction.to_json()
    assert prediction.model_copy(update={"format": 2}).to_json()["format"] == 2


def test_summary_and_environment(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.summary() is None and run.environment() is None and run.stages() == set()
    make_run(tmp_path, n=8, steps=3)
    summary = run.summary()
    assert summary and summary.headline.tuned and summary.headline.tuned.n == 8
    assert run.stages() == {"baseline", "evaluate", "train"}
    before = (tmp_path / "summary.json").read_text()
    run.write_json("summary.json", summary)
    assert json.loads((tmp_path / "summary.json").read_text()) == json.loads(before)
    (tmp_path / "summary.json").write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(UserError, match=rf"summary\.json: it is of format {FORMAT + 1}"):
        run.summary()


@pytest.mark.parametrize("key", [name for name, field in Summary.model_fields.items() if field.is_required()])
def test_a_summary_that_lacks_a_key_is_one_sentence(tmp_path: Path, key: str) -> None:
    make_run(tmp_path, n=8, steps=3)
    value = json.loads((tmp_path / "summary.json").read_text())
    del value[key]
    (tmp_path / "summary.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match=rf"summary\.json is damaged \(it has no {key}, which format 1 needs\)"):
        RunDirectory(tmp_path).summary()


@pytest.mark.parametrize("key", ["verdict", "gold", "question"])
def test_runs_with_a_renamed_key_are_not_compared(tmp_path: Path, key: str) -> None:
    """A verdict that cannot be read is no wrong answer: nothing may be claimed of it."""
    make_run(tmp_path / "run", n=8, steps=3)
    make_run(tmp_path / "copy", n=8, steps=3)
    rows = predictions("tuned", [True] * 8)
    for row in rows:
        row[f"{key}_renamed"] = row.pop(key)
    write_rows(tmp_path / "copy" / "predictions-tuned.jsonl", rows)
    with pytest.raises(UserError, match=rf"predictions-tuned\.jsonl is damaged \(line 1 has no {key}"):
        compare_runs([str(tmp_path / "copy"), str(tmp_path / "run")], tmp_path / "page.html", 3)
    assert not (tmp_path / "page.html").exists()


# Keys of a summary that are data, not names of fields.
DATA = {"counts", "error_labels", "by_hardness", "tables", "labels", "error_types", "dropped", "wall_seconds"}
LEFT_OUT = {"base_correct", "base_reason", "base_sql", "tuned_correct", "tuned_reason", "tuned_sql", "benchmarks"}
LEFT_OUT |= {"judge", "spider_ex"}


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every key of a JSON value that names a field; of a list the first item stands for all."""
    if isinstance(value, list):
        return _paths(value[0], (*path, 0)) if value else []
    if not isinstance(value, dict):
        return []
    named = [] if path and path[-1] in DATA | {"evaluations"} else [(*path, key) for key in value]
    return [*named, *(found for key, item in value.items() for found in _paths(item, (*path, key)))]


def test_every_nested_key_of_a_summary_is_named_when_it_is_missing(tmp_path: Path) -> None:
    make_run(tmp_path, n=40, steps=3)
    file = tmp_path / "summary.json"
    text = file.read_text()
    accepted = set()
    for path in _paths(json.loads(text)):
        value = json.loads(text)
        place = value
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]
        file.write_text(json.dumps(value))
        try:
            RunDirectory(tmp_path).summary()
        except UserError as error:
            message = str(error)
            dotted = ".".join(map(str, path))
            assert f"{dotted} must be given" in message or f"has no {dotted}, which" in message
            assert message.startswith(str(file)) and "format 1" in message and "\n" not in message
        else:
            accepted.add(path[-1])
    assert accepted == LEFT_OUT
