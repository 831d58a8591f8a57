"""A run goes on with the inputs it was made from, or says which are others."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from backends.base_models import weights_digest
from backends.byte_tokenizer import ByteTokenizer
from tests.support.tiny_runs import read_jsonl, rows, tiny_config, write_jsonl
from text2sql.config.templates import TEMPLATES, Plain
from text2sql.data import prompts
from text2sql.data.example import Example
from text2sql.errors import UserError
from text2sql.pipeline.inputs import _examples_fingerprint
from text2sql.pipeline.run import run_pipeline
from text2sql.runs.inputs import fingerprint

pytestmark = pytest.mark.usefixtures("quick")


def _contents(directory: Path) -> dict[str, bytes]:
    return {str(f.relative_to(directory)): f.read_bytes() for f in directory.rglob("*") if f.is_file()}


def _without_a_row(data: Path) -> None:
    write_jsonl(data, read_jsonl(data)[1:])


def _with_other_answers(data: Path) -> None:
    write_jsonl(data, [{**row, "answer": row["answer"] + " AND b = 1"} for row in read_jsonl(data)])


@pytest.mark.parametrize("stages", [("baseline",), ("train",), ("baseline", "train", "evaluate")])
@pytest.mark.parametrize(
    ("change", "match"),
    [(_without_a_row, r"the training examples \(26, now 25\)"), (_with_other_answers, "26, other contents")],
)
def test_other_data_are_refused_and_nothing_is_touched(
    tmp_path: Path, stages: tuple[str, ...], change: Callable[[Path], None], match: str
) -> None:
    config = tiny_config(tmp_path, on_existing="resume")
    directory = run_pipeline(config, stages)
    before = _contents(directory)
    change(tmp_path / "tiny.jsonl")
    for again in (("baseline", "train", "evaluate"), stages):
        with pytest.raises(UserError, match=rf"{match}.*Restore what has changed.*on_existing=new"):
            run_pipeline(config, again)
    assert _contents(directory) == before
    assert run_pipeline(config.model_copy(update={"on_existing": "new"})).name == "run-2"


def test_the_same_rows_in_another_file_are_no_change(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, on_existing="resume")
    run_pipeline(config, ("train",))
    data = tmp_path / "tiny.jsonl"
    data.write_text("\n".join(json.dumps(row, indent=None, separators=(",", ":")) for row in read_jsonl(data)))
    run_pipeline(config)


def test_other_data_are_taken_where_nothing_has_come_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path, on_existing="resume")
    with monkeypatch.context() as patch:
        patch.setattr("text2sql.pipeline.stages._introduce", lambda *a, **k: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_pipeline(config)
    assert (tmp_path / "run" / "inputs.json").is_file()
    _without_a_row(tmp_path / "tiny.jsonl")
    run_pipeline(config)


def test_another_prompt_or_tokenizer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path, on_existing="resume")
    run_pipeline(config, ("train",))
    changes: list[tuple[Any, str, Any, str]] = [
        (prompts, "VERSION", 99, "the prompt template or its version"),
        (ByteTokenizer, "chat_template", "another", "the tokenizer"),
    ]
    for owner, name, value, match in changes:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            with pytest.raises(UserError, match=match):
                run_pipeline(config)
    with monkeypatch.context() as patch:
        patch.setitem(TEMPLATES, "exercise", Plain("{context}{question}", "{answer}\n\n"))
        with pytest.raises(UserError, match="the prompt template"):
            run_pipeline(config)


def test_another_database_is_refused(tmp_path: Path) -> None:
    database = tmp_path / "real.sqlite"
    with sqlite3.connect(database) as connection:
        connection.executescript("".join(f"{row['context']};" for row in rows(6)))
    data = write_jsonl(tmp_path / "db.jsonl", [{**row, "db": str(database)} for row in rows(6, spellings=5)])
    config = tiny_config(tmp_path, on_existing="resume", data={"source": str(data), "test_size": 4})
    run_pipeline(config, ("baseline",))
    run_pipeline(config, ("baseline",))
    with sqlite3.connect(database) as connection:
        connection.execute("INSERT INTO t1 VALUES (1, 'x')")
    connection.close()
    with pytest.raises(UserError, match=r"the databases of the test examples \(1, other contents\)"):
        run_pipeline(config)


def test_a_run_without_recorded_inputs_goes_on_and_says_so_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(tmp_path, on_existing="resume")
    directory = run_pipeline(config, ("train",))
    (directory / "inputs.json").unlink()
    capsys.readouterr()
    run_pipeline(config)
    assert "There is no record of what this run was made from" in " ".join(capsys.readouterr().out.split())
    run_pipeline(config)
    assert "no record of what" not in " ".join(capsys.readouterr().out.split())


def test_answers_to_other_questions_are_never_mixed_in(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, on_existing="resume")
    directory = run_pipeline(config, ("baseline",))
    (directory / "inputs.json").unlink()
    _with_other_answers(tmp_path / "tiny.jsonl")
    before = (directory / "predictions-base.jsonl").read_bytes()
    with pytest.raises(UserError, match=r"predictions-base.jsonl answers other questions.* is not the same any more"):
        run_pipeline(config)
    assert (directory / "predictions-base.jsonl").read_bytes() == before


def test_the_digest_of_weights_is_of_all_their_files_and_their_shape(tmp_path: Path) -> None:
    weights, settings = tmp_path / "model.safetensors", tmp_path / "config.json"
    assert weights_digest(str(tmp_path)) is None
    weights.write_bytes(bytes(70_000_000))
    settings.write_text('{"layers": 2, "transformers_version": "5.0"}')
    first = weights_digest(str(tmp_path))
    settings.write_text('{"transformers_version": "6.0", "layers": 2}')
    assert weights_digest(str(tmp_path)) == first
    settings.write_text('{"layers": 3}')
    second = weights_digest(str(tmp_path))
    with weights.open("r+b") as file:
        # A change of one tensor in the middle.
        file.seek(30_000_000)
        file.write(b"\1" * 200_000)
    assert len({first, second, weights_digest(str(tmp_path))}) == 3
    assert weights_digest("nobody/nothing") is None


def test_the_fingerprint_of_examples_is_that_of_their_json() -> None:
    """Runs that were begun keep theirs, however it is computed."""
    examples = [
        Example("a/1", 'Wie heißt "es"?\n', "CREATE TABLE t (a TEXT)", "SELECT a FROM t\t", db="/somewhere/x.sqlite"),
        Example("a/2", "\u2028 \x00 𝄞", "c", "d", db_id="x", evidence="e", reasoning="r", shown="s", problem="p"),
    ]
    names = [None if field.name == "db" else field.name for field in fields(Example)]
    texts = [json.dumps([name and getattr(example, name) for name in names]) for example in examples]
    assert _examples_fingerprint(examples) == fingerprint(texts, 2)
